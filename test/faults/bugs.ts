// Known bugs that can be put back, to see that the seeds find them.
import { syncBuiltinESMExports } from "node:module";
import zlib from "node:zlib";
import { Disk } from "./disk.js";

const bugs = {
  /** Files take their names before their bytes are on the disk. */
  "no sync": () => {
    const { synced } = Disk.prototype;
    Disk.prototype.synced = function (this: Disk, path) {
      if (path === this.folder) synced.call(this, path);
    };
  },
  /** Whatever a file holds has the checksum that it was saved with. */
  "no checksum": () => {
    Object.assign(zlib, { crc32: () => 0 });
    syncBuiltinESMExports();
  },
};
export type Bug = keyof typeof bugs;

export function putBack(bug: Bug): void {
  bugs[bug]();
}
