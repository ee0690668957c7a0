// What the lines of a run's log are in TensorBoard: the tags of their figures, and the steps they stand at.

import type { Line, LogLine } from "../../run-folder/log-lines.js";
import * as messages from "./messages.js";
import { record } from "./record.js";

type Tags<T extends LogLine["type"]> = Partial<Record<keyof Line<T>, string>>;

/** Accuracies are fractions, as in the log. */
const stepTags: Tags<"step"> = {
  loss: "train/loss",
  top1: "train/top1",
  lr: "train/lr",
  momentumFactor: "train/momentum_factor",
  imagesPerSecond: "train/images_per_second",
  lossScale: "train/loss_scale",
  skipped: "train/steps_skipped",
  noiseScale: "train/noise_scale",
  // Seconds have a group of their own.
  compute: "split/compute",
  exposedCommunication: "split/exposed_communication",
  inputWait: "split/input_wait",
  update: "split/update",
};

const epochTags: Tags<"epoch"> = {
  trainLoss: "epoch/train_loss",
  trainTop1: "epoch/train_top1",
  seconds: "epoch/seconds",
  inputWait: "epoch/input_wait",
  testLoss: "test/loss",
  top1: "test/top1",
  top5: "test/top5",
  emaTop1: "test/ema_top1",
  emaTestLoss: "test/ema_loss",
};

const [top1Error, top5Error] = ["test/top1_error", "test/top5_error"] as const;
const texts = { recipe: "recipe", warning: "log/warning", restart: "log/restart", end: "log/end" };

/** All tags but those of the hyperparameters. */
export const shownTags: readonly string[] = [
  stepTags,
  epochTags,
  { top1Error, top5Error },
  texts,
].flatMap((tags) => Object.values(tags));

/** The values of a line that it has; null, which the log has for NaN and infinity, is NaN. */
function scalarsOf(line: object, tags: object): Buffer[] {
  return Object.entries(tags).flatMap(([field, tag]) => {
    const value = (line as Record<string, number | null | undefined>)[field];
    return value === undefined ? [] : [messages.scalar(tag, value ?? Number.NaN)];
  });
}

/** A recipe's fields as hyperparameters: a list is its text. */
function valuesOf(recipe: object): Record<string, string | number | boolean> {
  const values = Object.entries(recipe).filter(([name, value]) => value != null && name !== "out");
  return Object.fromEntries(
    values.map(([name, value]) => [name, typeof value === "object" ? String(value) : value]),
  );
}

function tableOf(values: Record<string, unknown>): string {
  const rows = Object.entries(values).map(
    ([name, value]) => `| ${name} | ${String(value).replaceAll("|", "\\|")} |`,
  );
  return ["| field | value |", "|---|---|", ...rows].join("\n");
}

/** The records of one run, made of its log's lines in their order. */
export class RunEvents {
  /** The step of the last line of a step. */
  private step = 0;

  /**
   * What an event file begins with. It holds the run from its first step on, so it voids what was read of
   * an earlier file.
   */
  begin(recipe: object, wallTime: number): Buffer[] {
    const place = { step: 0, wallTime };
    const values = valuesOf(recipe);
    return [
      messages.fileVersion(place),
      messages.sessionStart(place),
      messages.summary(place, [
        messages.text(texts.recipe, tableOf(values)),
        messages.hyperparameters(values, place),
      ]),
    ].map(record);
  }

  /** A line that was reached at a time of day. */
  of(line: LogLine, wallTime: number): Buffer {
    if (line.type === "step") this.step = line.step;
    const step = "step" in line ? line.step : this.step;
    const place = { step, wallTime };
    return record(messages.summary(place, this.values(line, place)));
  }

  private values(line: LogLine, place: messages.Place): Buffer[] {
    switch (line.type) {
      case "step":
        return scalarsOf(line, stepTags);
      case "epoch":
        return [
          ...scalarsOf(line, epochTags),
          messages.scalar(top1Error, 1 - line.top1),
          messages.scalar(top5Error, 1 - line.top5),
        ];
      case "warning":
        return [messages.text(texts.warning, line.text)];
      case "restart":
        return [messages.text(texts.restart, `restart ${line.count}: ${line.cause}`)];
      case "end": {
        const { status, reason = status } = line;
        const kind = { finished: "success", failed: "failure", interrupted: "unknown" } as const;
        return [messages.text(texts.end, reason), messages.sessionEnd(kind[status], place)];
      }
    }
  }
}
