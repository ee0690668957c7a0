// Length-limited JSON frames over a socket: four bytes of length, big-endian, then UTF-8 text.
import type { Socket } from "node:net";
import { plural } from "../text/words.js";

export type Frame = Readonly<Record<string, unknown>>;

/** Thrown for bytes that are not a frame of ours; their sender is disconnected. */
class FrameError extends Error {}

/** Cuts a stream of bytes into frames and refuses lengths above `limit` before they are stored. */
export class FrameReader {
  /** The longest text in bytes; may grow once the peer is known. */
  limit: number;
  private parts: Buffer[] = [];
  private buffered = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  /**
   * The frames that are complete with these bytes.
   * @throws FrameError for a length above the limit, or text that is not a JSON object.
   */
  *push(bytes: Buffer): Generator<Frame> {
    this.parts.push(bytes);
    this.buffered += bytes.length;
    while (this.buffered >= 4) {
      if (this.parts[0]!.length < 4) this.parts = [Buffer.concat(this.parts)];
      const length = this.parts[0]!.readUInt32BE(0);
      if (length > this.limit)
        throw new FrameError(`a frame of ${plural(length, "byte")}, the limit is ${this.limit}`);
      if (this.buffered < 4 + length) return;
      const all = this.parts.length === 1 ? this.parts[0]! : Buffer.concat(this.parts);
      this.parts = [all.subarray(4 + length)];
      this.buffered -= 4 + length;
      yield parse(all.toString("utf8", 4, 4 + length));
    }
  }
}

function parse(text: string): Frame {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new FrameError("a frame that is not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new FrameError("a frame that is not a JSON object");
  return value as Frame;
}

/** Sends one frame. */
export function sendFrame(socket: Socket, frame: Frame): void {
  const text = Buffer.from(JSON.stringify(frame));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(text.length);
  socket.write(Buffer.concat([length, text]));
}
