// What a run meets in its data: images that are not as they should be, and how long reading takes.

import { OnehourError } from "../errors.js";
import type { Flaw, Pictures, Timing } from "./pictures.js";

const mostNamed = 10;

export class Inspection {
  /** Images that were damaged or lost so far, each counted once. */
  count = 0;
  private readonly known = new Set<string>();
  private fresh: string[] = [];

  /** Where `strict`, the first flaw ends the run. */
  constructor(
    private readonly strict: boolean,
    private readonly pictures: Pictures,
  ) {}

  /** Throws ERR_ONEHOUR_DATA where strict. */
  note(path: string, { lost, reason }: Flaw): void {
    if (this.known.has(path)) return;
    const text = `${path} ${lost ? "cannot be decoded" : "is damaged"} (${reason})`;
    if (this.strict) {
      throw new OnehourError(
        "ERR_ONEHOUR_DATA",
        `${text}; with --strict that ends the run. Mend or remove the file, or leave --strict out`,
      );
    }
    this.known.add(path);
    if (this.count++ < mostNamed) this.fresh.push(text);
  }

  /** Texts about the flaws since the last call; of ten images in all. */
  takeNames(): string[] {
    return this.fresh.splice(0);
  }

  get timing(): Timing {
    return this.pictures.timing;
  }
}
