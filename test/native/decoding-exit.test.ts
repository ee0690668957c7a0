// Terminates a Worker while images are decoded for it: the process goes on.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../support/folder.js";
import { compiled, start } from "../support/process.js";

const folder = temporaryFolder();

const script = `
import { Worker, isMainThread, parentPort } from "node:worker_threads";
import { ImageDecoder } from ${compiled("data/images/image-decoder")};
const files = [${JSON.stringify(join(import.meta.dirname, "../fixtures/images/small.jpg"))}];
const request = () => ({ files, target: new Uint8Array(16 * 16 * 3), size: 16, shortSide: 18 });
if (isMainThread) {
  for (let round = 0; round < 8; round++) {
    const worker = new Worker(new URL(import.meta.url));
    await new Promise((resolve) => worker.once("message", resolve));
    await new Promise((resolve) => setTimeout(resolve, 5 * round));
    await worker.terminate();
  }
  const images = new ImageDecoder(1);
  console.log("flaws", (await images.decode(request())).length);
} else {
  const images = new ImageDecoder(2);
  parentPort.postMessage("begun");
  const again = () => images.decode(request()).then(again);
  for (let i = 0; i < 64; i++) again();
}
`;

test("and the process goes on decoding", async () => {
  const file = join(folder, "terminate.mjs");
  writeFileSync(file, script);
  expect(await start([process.execPath, file]).ended).toMatchObject({
    ...{ status: 0, signal: null, stdout: "flaws 0\n", stderr: "" },
  });
});
