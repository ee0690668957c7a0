// Shows the doctor's report as it comes; on a terminal also what is being looked at.
import { environment } from "../system/environment.js";
import { fit, wrap } from "../terminal/columns.js";
import { LiveLine } from "../terminal/live-line.js";
import type { Line } from "./check.js";
import type { Watcher } from "./doctor.js";
import { headText, lineText, paperOf, sectionText, summaryText } from "./print.js";

/** Writes to a stream what a watcher hears, and at the end how many lines were good. */
export function watch(stream: NodeJS.WriteStream): Required<Watcher> {
  const paper = paperOf(stream);
  const live = new LiveLine(stream);
  const all: Line[] = [];
  const print = (text: string) => {
    live.clear();
    stream.write(text);
  };
  const head = headText(environment({ gpus: [], libraries: {} }));
  print(`${wrap(head, paper.columns).join("\n")}\n`);
  return {
    section: (title) => print(sectionText(title, paper)),
    begin: (name) => live.update((columns) => fit(`… ${name}`, columns)),
    lines(lines) {
      print(lines.map((line) => lineText(line, paper)).join(""));
      all.push(...lines);
    },
    end: () => print(summaryText(all, paper)),
  };
}
