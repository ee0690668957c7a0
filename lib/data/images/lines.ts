// Lines of an index, each a record with tabs between its fields.

const lineFeed = 0x0a;

/** Kept as bytes, since there may be millions. */
export class Lines {
  readonly length: number;
  private readonly starts: Uint32Array;

  /** `bytes`: UTF-8, each line ending in a line feed. */
  constructor(private readonly bytes: Buffer) {
    let length = 0;
    for (let at = bytes.indexOf(lineFeed); at >= 0; at = bytes.indexOf(lineFeed, at + 1)) length++;
    this.length = length;
    this.starts = new Uint32Array(length + 1);
    for (let i = 0; i < length; i++) {
      this.starts[i + 1] = bytes.indexOf(lineFeed, this.starts[i]) + 1;
    }
  }

  fields(index: number): string[] {
    const { bytes, starts } = this;
    return bytes.toString("utf8", starts[index]!, starts[index + 1]! - 1).split("\t");
  }
}
