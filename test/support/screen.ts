// A terminal of so many columns, as far as a live line uses one: rows, the cursor, and what was folded.
import { width } from "../../lib/terminal/columns.js";

const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });

export class Screen {
  readonly isTTY = true;
  /** What was written. */
  written = "";
  /** Rows that were begun because a line was too long. */
  folds = 0;
  private readonly cells: string[][] = [[]];
  private row = 0;
  private column = 0;
  private readonly listeners = new Set<() => void>();

  constructor(public columns: number) {}

  readonly write = (text: string): boolean => {
    this.written += text;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape codes are what it reads
    for (const [part] of text.matchAll(/\x1b\[[\d;?]*[a-zA-Z]|[^\x1b]+|\x1b/g)) {
      if (part === "\x1b[J") this.eraseBelow();
      else if (part.startsWith("\x1b")) this.requireColor(part);
      else for (const { segment } of segmenter.segment(part)) this.put(segment);
    }
    return true;
  };

  on(_: "resize", listener: () => void): void {
    this.listeners.add(listener);
  }

  off(_: "resize", listener: () => void): void {
    this.listeners.delete(listener);
  }

  /** Folds the rows anew, as most terminals do, and tells who listens. */
  resize(columns: number): void {
    this.columns = columns;
    const rows = this.cells.splice(0);
    const at = this.row;
    for (const [i, row] of rows.entries()) {
      if (i === at) this.row = this.cells.length;
      do this.cells.push(row.splice(0, columns));
      while (row.length > 0);
    }
    for (const listener of this.listeners) listener();
  }

  /** The rows without blanks at their ends; empty ones at the end of the screen are left out. */
  get rows(): string[] {
    const texts = this.cells.map((row) =>
      Array.from(row, (cell) => cell ?? " ")
        .join("")
        .trimEnd(),
    );
    while (texts.at(-1) === "") texts.pop();
    return texts;
  }

  private requireColor(code: string): void {
    if (!code.endsWith("m")) throw new Error(`unexpected escape code ${JSON.stringify(code)}`);
  }

  private eraseBelow(): void {
    this.cells.length = this.row + 1;
    this.cells[this.row]!.length = Math.min(this.cells[this.row]!.length, this.column);
  }

  private put(segment: string): void {
    if (segment === "\r") this.column = 0;
    else if (segment === "\n" || segment === "\r\n") this.newRow();
    else {
      const columns = width(segment);
      if (this.column + columns > this.columns) {
        this.folds++;
        this.newRow();
      }
      const row = this.cells[this.row]!;
      while (row.length < this.column) row.push(" ");
      row.splice(
        this.column,
        columns,
        segment,
        ...new Array<string>(Math.max(0, columns - 1)).fill(""),
      );
      this.column += columns;
    }
  }

  private newRow(): void {
    this.row++;
    this.column = 0;
    this.cells[this.row] ??= [];
  }
}
