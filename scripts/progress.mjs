// Reads how far a native build is from the lines of Ninja or Make.
import { timeLeft } from "../dist/terminal/durations.js";

/** The module and the file that a target's path is of. */
function readTarget(target) {
  const [, module = ""] = /CMakeFiles\/(\w+)\.dir\//.exec(target) ?? [];
  const file = target.replace(/^.*\//, "").replace(/\.o$/, "");
  return module === "" ? file : `${module.replace(/^onehour_|_backend$/g, "")}: ${file}`;
}

/** What a line of Ninja ("[3/57] Building …") or Make ("[ 12%] Building …") reports. */
function readStatus(line) {
  const [, done, total, percent, target] =
    /^\[(?:(\d+)\/(\d+)| *(\d+)%)\] (?:Building|Linking) .*?(\S+)$/.exec(line) ?? [];
  if (target === undefined) return undefined;
  return percent === undefined
    ? { done: Number(done), total: Number(total), text: `${done} of ${total} files`, target }
    : { done: Number(percent), total: 100, text: `${percent}%`, target };
}

/** Reads a build tool's output and shows how far it is. */
export class Progress {
  #show;
  #now;
  #started;
  #rest = "";

  /** `show` takes stages (lib/terminal/stages.ts), `now` counts seconds. */
  constructor(show, now = () => performance.now() / 1000) {
    this.#show = show;
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
    const { done, total, text, target } = status;
    const details = [text, readTarget(target), ...this.#timeLeft(status)];
    this.#show({ text: "building onehour", share: done / total, details, lineInterval: 10 });
  }

  /** `40 s left`, by the pace so far; nothing until enough is done to measure it. */
  #timeLeft({ done, total }) {
    const seconds = this.#now() - this.#started;
    if (done < 3 || seconds < 3 || done >= total) return [];
    return [`${timeLeft((seconds * (total - done)) / done)} left`];
  }
}
