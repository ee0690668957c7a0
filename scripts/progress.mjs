// Shows the progress of a native build, read from the lines of Ninja or Make: on a terminal one
// line that is redrawn, elsewhere a line every ten seconds.
const secondsBetweenLines = 10;

/** The progress that a line of Ninja ("[3/57] …") or Make ("[ 12%] …") reports. */
function readStatus(line) {
  const [, done, total, percent] =
    /^\[(?:(\d+)\/(\d+)| *(\d+)%)\] (?:Building|Linking)/.exec(line) ?? [];
  if (percent !== undefined) return { done: Number(percent), total: 100, unit: " %" };
  return done === undefined ? undefined : { done: Number(done), total: Number(total), unit: "" };
}

/** "about 40 s left", by the pace so far. Empty until enough is done to measure a pace. */
function timeLeft({ done, total }, seconds) {
  if (done < 3 || seconds < 3 || done >= total) return "";
  const left = (seconds * (total - done)) / done;
  const text = left < 60 ? `${5 * Math.ceil(left / 5)} s` : `${Math.ceil(left / 60)} min`;
  return `, about ${text} left`;
}

/** Reads a build tool's output and writes its progress to `stream`. `title` names what is built. */
export class Progress {
  #title;
  #stream;
  #now;
  #started;
  #reported = Number.NEGATIVE_INFINITY;
  #rest = "";
  #drawn = false;

  /** `now` counts seconds. */
  constructor(title, stream = process.stderr, now = () => performance.now() / 1000) {
    this.#title = title;
    this.#stream = stream;
    this.#now = now;
    this.#started = now();
  }

  /** Takes a piece of output, which may end within a line. */
  take(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    for (const line of lines) {
      const status = readStatus(line);
      if (status) this.#report(status);
    }
  }

  #report(status) {
    const seconds = this.#now() - this.#started;
    const { done, total, unit } = status;
    const text = `${this.#title}: ${done} of ${total}${unit}${timeLeft(status, seconds)}`;
    if (this.#stream.isTTY) {
      this.#stream.write(`\r\x1b[K${text}`);
      this.#drawn = true;
    } else if (seconds - this.#reported >= secondsBetweenLines) {
      this.#stream.write(`${text}\n`);
      this.#reported = seconds;
    }
  }

  /** Clears the line on a terminal. */
  end() {
    if (this.#drawn) this.#stream.write("\r\x1b[K");
  }
}
