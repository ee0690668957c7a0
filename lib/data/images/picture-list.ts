// What lists of pictures are, be they files or members of archives.

import type { PictureRequest } from "../../device/addon.js";

/** Where the bytes of some pictures lie. */
export type PictureSources = Pick<PictureRequest, "files" | "offsets" | "lengths">;

export interface PictureList {
  /** i32[pictures]. */
  readonly labels: Int32Array;
  /** What the user finds picture `index` by. */
  name(index: number): string;
  sources(indices: Uint32Array): PictureSources;
}

/** The training and the validation pictures of a folder. */
export interface PictureParts {
  classes: number;
  train: PictureList;
  test: PictureList;
  /** Changes when the lists do. */
  digest: string;
  /** See `Dataset`. */
  shards?: readonly number[];
  notes?: readonly string[];
}
