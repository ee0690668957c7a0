// Measures a device's peak: the rate of the fastest of some large matrix products.
import { bytesOf } from "../arrays/bytes-of.js";
import type { Device, DeviceProperties } from "../device/device.js";
import { type Precision, storedTypes } from "../graph/compiled.js";
import { bf16FromFloat32, elementBytes, f16FromFloat32 } from "../graph/tensor.js";

/** Both sides of the matrices, large enough to keep all units of the device busy. */
function sideFor({ kind, threads }: DeviceProperties): number {
  if (kind === "cuda") return 8192;
  return threads > 8 ? 2048 : 1024;
}

/** How long each product is repeated, roughly. */
const secondsEach = 0.3;

const pieceLength = 2 ** 20;

/** Random numbers of a type: products of zeros would take less power. */
function piece(type: keyof typeof elementBytes): Uint8Array {
  const numbers = Float32Array.from({ length: pieceLength }, () => 2 * Math.random() - 1);
  if (type === "bf16") return bytesOf(bf16FromFloat32(numbers));
  return bytesOf(type === "f16" ? f16FromFloat32(numbers) : numbers);
}

/** A fully connected layer and a 1×1 convolution, each a product of two square matrices. */
function programs(side: number, precision: Precision) {
  const type = storedTypes[precision];
  const bytes = side * side * elementBytes[type];
  const rows = side / 16;
  const x = (shape: string) => `x=param+0:${type}[${shape}]`;
  const w = (shape: string) => `w=param+${bytes}:${type}[${shape}]`;
  const attributes = precision === "tf32" ? " precision=tf32" : "";
  const lines = {
    linear:
      `compute linear${attributes} | ${x(`${side},${side}`)} ${w(`${side},${side}`)} ` +
      `b=param+${2 * bytes}:f32[${side}] -> y=temp+0:f32[${side},${side}]`,
    convolution:
      `compute conv2d stride=1,1 padding=0,0${attributes} | ${x(`16,1,${rows},${side}`)} ` +
      `${w(`${side},1,1,${side}`)} -> y=temp+0:${type}[16,1,${rows},${side}]`,
  };
  const biasBytes = side * elementBytes.f32;
  const arenas = { param: 2 * bytes + biasBytes, temp: side * side * elementBytes.f32 };
  const head = Object.entries(arenas).map(([name, size]) => `arena ${name} ${size}\n`);
  const texts = Object.entries(lines).map(([name, line]) => ({
    name,
    text: `onehour-program 1\nname ${name}\n${head.join("")}${line}\n`,
  }));
  return { texts, type, bytes, biasBytes };
}

/**
 * The largest rate of matrix products that a device reaches at a precision, with its threads, in
 * floating-point operations a second (a multiply-add being two). Takes about a second, and on a GPU
 * less than 1 GB of its memory.
 *
 * @throws NativeError where the device has no kernel for the precision, or no memory for the matrices
 */
export async function matrixRate(device: Device, precision: Precision): Promise<number> {
  const side = sideFor(device.properties);
  const { texts, type, bytes, biasBytes } = programs(side, precision);
  using executor = await device.load(texts);
  const numbers = piece(type);
  for (let at = 0; at < 2 * bytes; at += numbers.length) await executor.write("param", at, numbers);
  await executor.write("param", 2 * bytes, new Uint8Array(biasBytes));
  let fastest = Number.POSITIVE_INFINITY;
  for (const { name } of texts) {
    const seconds = async (repeats: number) => {
      const timings = await executor.measure(name, 0, repeats);
      return Math.min(...timings.flatMap(({ milliseconds }) => milliseconds)) / 1000;
    };
    const first = await seconds(2);
    const repeats = Math.max(2, Math.min(200, Math.round(secondsEach / first)));
    fastest = Math.min(fastest, first, await seconds(repeats));
  }
  return (2 * side ** 3) / fastest;
}
