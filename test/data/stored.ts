// Opens a data set whose images are at hand.
import { type Dataset, openDataset, type StoredSplit } from "../../lib/data/dataset.js";

type StoredDataset = Dataset & { train: StoredSplit; test: StoredSplit };

export async function openStored(name: string): Promise<StoredDataset> {
  return (await openDataset(name)) as StoredDataset;
}
