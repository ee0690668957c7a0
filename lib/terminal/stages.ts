// Shows the stages of a command, such as listing a folder: on a terminal in the live line, elsewhere as a line an
// interval.
import { seconds } from "../system/clock.js";
import { barField, type Field, fitFields, wholeLine } from "./fields.js";
import type { LiveLine } from "./live-line.js";

/** How far something is. */
export interface Stage {
  /** What is being done; another text is another stage. */
  text: string;
  /** The part that is done, from 0 to 1, where it is known. */
  share?: number;
  /** What is known besides, the most important first. */
  details?: readonly string[];
  /** Seconds between two lines, where there is no terminal; 5 by default. */
  lineInterval?: number;
}

/** Seconds between two lines, and between two drawings of the live line. */
export const lineInterval = 5;
export const liveInterval = 0.2;

export class Stages {
  private stage: string | undefined;
  private shown = 0;

  constructor(
    private readonly live: LiveLine,
    private readonly now = seconds,
  ) {}

  readonly show = (stage: Stage): void => {
    const now = this.now();
    const isNew = stage.text !== this.stage;
    this.stage = stage.text;
    const interval = this.live.isLive ? liveInterval : (stage.lineInterval ?? lineInterval);
    if (!isNew && now - this.shown < interval) return;
    this.shown = now;
    const { share } = stage;
    if (this.live.isLive) {
      const fields = fieldsOf(stage);
      this.live.update((columns) => {
        const bar = share === undefined ? [] : [barField(share, 4, columns, this.live.color)];
        return fitFields([...bar, ...fields], columns);
      });
    } else if (!isNew) {
      // What is soon done needs no line.
      const done = share === undefined ? [] : [`${Math.floor(100 * share)}%`];
      const details = [...(stage.details ?? []), ...done];
      this.live.line(wholeLine(fieldsOf({ ...stage, details })));
    }
  };

  /** Removes what is shown. */
  end(): void {
    this.stage = undefined;
    this.live.clear();
  }
}

function fieldsOf({ text, details = [] }: Stage): Field[] {
  return [
    { forms: [text], rank: 1, after: ": " },
    ...details.map((detail, i) => ({ forms: [detail] as const, rank: i < 2 ? 2 + i : 3 + i })),
  ];
}
