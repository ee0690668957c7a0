// A network of your own: the default export builds it.
//   npx onehour train synthetic:16x16x3 --model examples/net.ts
import { globalAveragePool, network } from "onehour";

/** A stem, two convolutions that halve the image, and a residual block that begins as the identity. */
export default network((layers, x, { classes }) => {
  let y = layers.convNorm("stem", x, { filters: 16, window: 3 });
  y = layers.convNorm("down1", y, { filters: 32, window: 3, stride: 2 });
  y = layers.convNorm("down2", y, { filters: 64, window: 3, stride: 2 });
  const shortcut = y;
  y = layers.convNorm("block1", y, { filters: 64, window: 3 });
  y = layers.convNorm("block2", y, { filters: 64, window: 3, residual: shortcut, gamma: 0 });
  return layers.linear("fc", globalAveragePool(y), classes);
});
