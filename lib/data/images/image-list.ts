// The types of lists of images, of files or of members of archives.

import type { ImageRequest } from "../../device/addon.js";

/** Where the bytes of some images lie. */
export type ImageSources = Pick<ImageRequest, "files" | "offsets" | "lengths">;

export interface ImageList {
  /** i32[images]. */
  readonly labels: Int32Array;
  /** What the user finds image `index` by. */
  name(index: number): string;
  sources(indices: Uint32Array): ImageSources;
}

/** The training and the validation images of a folder. */
export interface ImageParts {
  classes: number;
  train: ImageList;
  test: ImageList;
  /** Changes when the lists do. */
  digest: string;
  /** See `Dataset`. */
  shards?: readonly number[];
  notes?: readonly string[];
}
