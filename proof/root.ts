// The folder of the repository, or of an unpacked bundle: the proof runs from dist/proof.
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
