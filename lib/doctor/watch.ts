// Shows the doctor's report as it comes; on a terminal also what is being looked at.
import { environment } from "../system/environment.js";
import type { Line } from "./check.js";
import type { Watcher } from "./doctor.js";
import { headText, lineText, paperOf, sectionText, summaryText, wrap } from "./print.js";

/** Writes to a stream what a watcher hears, and at the end how many lines were good. */
export function watch(stream: NodeJS.WriteStream): Required<Watcher> {
  const paper = paperOf(stream);
  const moves = stream.isTTY === true && process.env.TERM !== "dumb";
  const all: Line[] = [];
  const head = headText(environment({ gpus: [], libraries: {} }));
  stream.write(`${wrap(head, paper.columns).join("\n")}\n`);
  /** Takes away what is being looked at. */
  const clear = () => moves && stream.write("\r\x1b[K");
  return {
    section(title) {
      clear();
      stream.write(sectionText(title, paper));
    },
    begin(name) {
      clear();
      if (moves) stream.write(`… ${name}`.slice(0, paper.columns - 1));
    },
    lines(lines) {
      clear();
      for (const line of lines) stream.write(lineText(line, paper));
      all.push(...lines);
    },
    end() {
      clear();
      stream.write(summaryText(all, paper));
    },
  };
}
