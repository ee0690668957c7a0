// Converts filters between the device's layout and torchvision's.
import { expect, test } from "vitest";
import { fromStored, toStored } from "../../lib/run-folder/layout.js";
import { layout } from "./layout.js";

test("filters change between OIHW and padded KRSC", () => {
  const filter = { ...layout("conv", [2, 3, 2, 2], "convolution"), stored: [2, 2, 2, 4] };
  const plain = Float32Array.from({ length: 24 }, (_, i) => i + 1);
  const stored = toStored(filter, plain);
  for (let k = 0; k < 2; k++) {
    for (let r = 0; r < 2; r++) {
      for (let s = 0; s < 2; s++) {
        for (let c = 0; c < 4; c++) {
          const expected = c < 3 ? plain[((k * 3 + c) * 2 + r) * 2 + s] : 0;
          expect(stored[((k * 2 + r) * 2 + s) * 4 + c]).toBe(expected);
        }
      }
    }
  }
  expect(fromStored(filter, stored)).toEqual(plain);
});
