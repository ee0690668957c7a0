// Tells how far a native build is, from the lines of Ninja or Make: on a terminal one line that is drawn
// anew, elsewhere a line every ten seconds.
const secondsBetweenLines = 10;

/** A share of the build that is done, from a line of Ninja ("[3/57] …") or Make ("[ 12%] …"). */
function readStatus(line) {
  const [, done, total, percent] =
    /^\[(?:(\d+)\/(\d+)| *(\d+)%)\] (?:Building|Linking)/.exec(line) ?? [];
  if (percent !== undefined) return { done: Number(percent), total: 100, unit: " %" };
  return done === undefined ? undefined : { done: Number(done), total: Number(total), unit: "" };
}

/** "about 40 s left": the rest takes as long as what is done did. Nothing while little is known. */
function timeLeft({ done, total }, seconds) {
  if (done < 3 || seconds < 3 || done >= total) return "";
  const left = (seconds * (total - done)) / done;
  const text = left < 60 ? `${5 * Math.ceil(left / 5)} s` : `${Math.ceil(left / 60)} min`;
  return `, about ${text} left`;
}

/** Takes what a build tool prints and tells on `stream` how far it is. `title` says what is built. */
export class Progress {
  #title;
  #stream;
  #now;
  #started;
  #told = Number.NEGATIVE_INFINITY;
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
      if (status) this.#tell(status);
    }
  }

  #tell(status) {
    const seconds = this.#now() - this.#started;
    const { done, total, unit } = status;
    const text = `${this.#title}: ${done} of ${total}${unit}${timeLeft(status, seconds)}`;
    if (this.#stream.isTTY) {
      this.#stream.write(`\r\x1b[K${text}`);
      this.#drawn = true;
    } else if (seconds - this.#told >= secondsBetweenLines) {
      this.#stream.write(`${text}\n`);
      this.#told = seconds;
    }
  }

  /** Leaves the terminal with an empty line for what comes next. */
  end() {
    if (this.#drawn) this.#stream.write("\r\x1b[K");
  }
}
