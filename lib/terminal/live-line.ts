// The live line: the last line of a terminal, redrawn in place while whole lines are printed above it.
import { stripVTControlCharacters } from "node:util";
import { interpretsCodes, type LineStream, type Paint, paintFor } from "./color.js";
import { width } from "./columns.js";

/** A text that takes at most so many columns. */
export type Draw = (columns: number) => string;

type Write = (chunk: string | Uint8Array, ...rest: unknown[]) => unknown;

/** What a stream of Node has besides. */
interface Terminal extends LineStream {
  on?(event: "resize", listener: () => void): unknown;
  off?(event: "resize", listener: () => void): unknown;
}

/** Where the size of a terminal is not known. */
const usualColumns = 80;

/** Those by which people end a command. */
const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

const newline = 10;
const endsLine = (chunk: string | Uint8Array) =>
  typeof chunk === "string" ? chunk.endsWith("\n") : chunk.at(-1) === newline;

/**
 * Draws at the cursor's line and leaves the cursor at its beginning: where a terminal that became narrower has
 * folded the line, it is still there. Between two drawings anybody may print to the terminal, by whichever of the
 * process' streams: the line makes room, and is drawn again below. Nothing is to be restored at the end, and what
 * is left of it then is cleared.
 */
export class LiveLine {
  /** Whether the stream is a terminal on which a line can be redrawn. */
  readonly isLive: boolean;
  /** Colors a text for the stream. */
  readonly color: Paint;
  private readonly codes: boolean;
  private draw: Draw | undefined;
  /** Columns that the drawn text takes; 0 for none. */
  private drawn = 0;
  /** Whether somebody has begun a line and not ended it. */
  private isInterrupted = false;
  private isPrinting = false;
  private release: (() => void) | undefined;

  constructor(
    private readonly stream: Terminal,
    env: Readonly<Record<string, string | undefined>> = process.env,
  ) {
    this.isLive = stream.isTTY === true && env.TERM !== "dumb";
    this.codes = interpretsCodes(env);
    this.color = paintFor(stream, env);
  }

  /** Columns of the terminal that may be drawn on. The last stays free: in it some terminals begin a new row. */
  private get columns(): number {
    return (this.stream.columns || usualColumns) - 1;
  }

  /** Puts a text in the place of the live line; without a live terminal nothing happens. */
  update(draw: Draw): void {
    if (!this.isLive) return;
    this.draw = draw;
    this.release ??= this.share();
    this.paint();
  }

  /** Prints whole lines. The live line goes, until it is updated. */
  line(text: string): void {
    this.clear();
    this.stream.write(`${this.isInterrupted ? "\n" : ""}${text}\n`);
    this.isInterrupted = false;
  }

  /** Removes the live line. */
  clear(): void {
    this.draw = undefined;
    this.erase();
    this.release?.();
    this.release = undefined;
  }

  private readonly paint = (): void => {
    if (this.draw === undefined || this.isInterrupted) return;
    const text = this.draw(this.columns);
    const columns = width(stripVTControlCharacters(text));
    const before = this.unfold();
    const rest = this.codes ? "\x1b[J" : " ".repeat(Math.max(0, this.drawn - columns));
    this.drawn = columns;
    this.print(`${before}${text}${rest}\r`);
  };

  private erase(): void {
    if (this.drawn === 0) return;
    const before = this.unfold();
    this.print(before + (this.codes ? "\x1b[J" : `${" ".repeat(this.drawn)}\r`));
    this.drawn = 0;
  }

  /** Without codes: blank rows in place of those into which a narrower terminal has folded the line, but the last. */
  private unfold(): string {
    const row = this.columns + 1;
    if (this.codes || this.drawn <= row) return "";
    const folds = Math.ceil(this.drawn / row) - 1;
    this.drawn -= folds * row;
    return `${" ".repeat(row)}\n`.repeat(folds);
  }

  private print(text: string): void {
    this.isPrinting = true;
    try {
      this.stream.write(text);
    } finally {
      this.isPrinting = false;
    }
  }

  /**
   * Lets others print to the terminal, draws anew when its size changes, and clears at the process' end, also where
   * a signal ends it that nobody else listens to.
   */
  private share(): () => void {
    const { stream, paint } = this;
    const standard: readonly LineStream[] = [process.stdout, process.stderr];
    const shared = standard.includes(stream) ? standard.filter(({ isTTY }) => isTTY) : [stream];
    const restore = shared.map((each) => this.giveWay(each));
    const clear = () => this.clear();
    const interrupt = (signal: NodeJS.Signals) => {
      this.clear(); // this listener goes too
      if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
    };
    stream.on?.("resize", paint);
    process.once("exit", clear);
    for (const signal of signals) process.prependListener(signal, interrupt);
    return () => {
      for (const each of restore) each();
      stream.off?.("resize", paint);
      process.off("exit", clear);
      for (const signal of signals) process.off(signal, interrupt);
    };
  }

  /** Has what others write to a stream printed in the place of the live line, and the line drawn below. */
  private giveWay(stream: LineStream): () => void {
    const write = stream.write as Write;
    const give: Write = (chunk, ...rest) => {
      if (this.isPrinting) return write.call(stream, chunk, ...rest);
      this.erase();
      const isTaken = write.call(stream, chunk, ...rest);
      if (chunk.length > 0) this.isInterrupted = !endsLine(chunk);
      this.paint();
      return isTaken;
    };
    stream.write = give;
    return () => {
      if (stream.write === give) stream.write = write;
    };
  }
}
