// Collects what a run finds in its data: damaged images, and how long reading takes.

import { OnehourError } from "../../errors.js";
import { setting } from "../../recipe/voice.js";
import { oneLine } from "../../text/words.js";
import type { Flaw, ImageDecoder, Timing } from "./image-decoder.js";

/** An image that was damaged or lost. */
export interface FlawedImage {
  path: string;
  /** The path, and what is wrong. */
  text: string;
}

export class Inspection {
  private readonly known = new Set<string>();
  private fresh: FlawedImage[] = [];

  /** Where `strict`, the first flaw ends the run. */
  constructor(
    private readonly strict: boolean,
    private readonly decoder: ImageDecoder,
  ) {}

  /** Throws ERR_ONEHOUR_DATA where strict. */
  note(path: string, { lost, reason }: Flaw): void {
    if (this.known.has(path)) return;
    const text = `${path} ${lost ? "cannot be decoded" : "is damaged"} (${oneLine(reason)})`;
    if (this.strict) {
      throw new OnehourError(
        "ERR_ONEHOUR_DATA",
        `${text}; with ${setting("strict", true)} that ends the run. Go on with ${setting("resume")} ` +
          `${setting("strict", false)}, or mend or remove the file and start another run`,
      );
    }
    this.known.add(path);
    this.fresh.push({ path, text });
  }

  /** Flaws since the last call, each image once. */
  takeNew(): FlawedImage[] {
    return this.fresh.splice(0);
  }

  get timing(): Timing {
    return this.decoder.timing;
  }
}
