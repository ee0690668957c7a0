// A file that grows piece by piece, each on its way to the system as it is written. What the disk does not
// take waits for the next attempt, after one warning.

import { closeSync, fdatasync, fstatSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { promisify } from "node:util";
import { native } from "../device/native.js";
import { plural } from "../text/words.js";

/** Words of the warnings. */
interface Names {
  /** What the file is, e.g. "the log". */
  file: string;
  /** What a piece of it is, e.g. "line". */
  piece: string;
}

export class GrowingFile {
  private readonly descriptor: number;
  /** Bytes of whole pieces in the file. */
  private end: number;
  /** Pieces that are not in the file yet, the first perhaps in part, which the next attempt overwrites. */
  private readonly waiting: Uint8Array[] = [];
  private isWarned = false;

  /** Appends to a file that is there; throws the system's error where it cannot be opened. */
  constructor(
    path: string,
    private readonly names: Names,
    private readonly warn: (text: string) => void,
  ) {
    this.descriptor = openSync(path, "r+");
    this.end = fstatSync(this.descriptor).size;
  }

  write(piece: Uint8Array): void {
    this.waiting.push(piece);
    this.flush();
  }

  private flush(): void {
    try {
      for (let piece = this.waiting[0]; piece; piece = this.waiting[0]) {
        this.put(piece);
        this.end += piece.length;
        this.waiting.shift();
      }
      this.isWarned = false;
    } catch (error) {
      if (!this.isWarned)
        this.warnOf(error as Error, `; its ${this.names.piece}s wait until that is possible`);
      this.isWarned = true;
    }
  }

  private put(piece: Uint8Array): void {
    for (let at = 0; at < piece.length; ) {
      const written = writeSync(this.descriptor, piece, at, piece.length - at, this.end + at);
      if (written === 0) throw new Error("the disk is full");
      at += written;
    }
  }

  /** Writes the pieces so far to the disk. */
  async sync(): Promise<void> {
    this.flush();
    await promisify(fdatasync)(this.descriptor).catch((error) => this.warnOf(error));
    native.advanceProgress(); // as after each sync of files.ts
  }

  private warnOf({ message }: Error, consequence = ""): void {
    this.warn(`cannot write to ${this.names.file} (${message})${consequence}`);
  }

  /** Never throws; pieces that the disk does not take now are lost, and a part of one is cut off. */
  close(): void {
    this.flush();
    const { length } = this.waiting;
    const { file, piece } = this.names;
    if (length > 0) this.warn(`the last ${plural(length, piece)} of ${file} could not be written`);
    try {
      if (length > 0) ftruncateSync(this.descriptor, this.end);
    } catch {} // whoever reads the file finds a part at its end
    try {
      closeSync(this.descriptor);
    } catch (error) {
      this.warnOf(error as Error); // a network disk may say here that it took no piece
    }
  }
}
