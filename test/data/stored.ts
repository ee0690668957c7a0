// Opens a data set whose images are in memory.

import type { Dataset, StoredSplit } from "../../lib/data/dataset.js";
import { openDataset } from "../../lib/data/datasets.js";

type StoredDataset = Dataset & { train: StoredSplit; test: StoredSplit };

export async function openStored(name: string): Promise<StoredDataset> {
  return (await openDataset(name)) as StoredDataset;
}
