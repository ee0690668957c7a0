// Puts known bugs back, so that a test can check that the seeds find them.
import { syncBuiltinESMExports } from "node:module";
import zlib from "node:zlib";
import { Disk } from "./disk.js";

const bugs = {
  /** Renames a file before its bytes are on the disk. */
  "no sync": () => {
    const { synced } = Disk.prototype;
    Disk.prototype.synced = function (this: Disk, path) {
      if (path === this.folder) synced.call(this, path);
    };
  },
  /** Accepts any contents as matching the checksum. */
  "no checksum": () => {
    Object.assign(zlib, { crc32: () => 0 });
    syncBuiltinESMExports();
  },
};
export type Bug = keyof typeof bugs;

export function putBack(bug: Bug): void {
  bugs[bug]();
}
