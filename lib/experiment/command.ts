// The command line of an experiment, with what differs from the defaults.
import { shortName } from "../modules/pinned.js";
import { quoted } from "../text/command.js";
import { type ExperimentSettings, experimentRows, readExperiment, scheduleOf } from "./options.js";

/** `60m`, `90s`, `none`: as `--budget` takes it. */
export function budgetText(seconds: number): string {
  if (!Number.isFinite(seconds)) return "none";
  return seconds % 60 === 0 ? `${seconds / 60}m` : `${seconds}s`;
}

/** The values of the flags, as they are typed. */
function words(settings: ExperimentSettings): Partial<Record<string, string>> {
  const { seeds, firstSeed, jobs, budget, setting } = settings;
  const texts = { seeds, firstSeed, jobs, ...setting, budget: budgetText(budget) };
  return Object.fromEntries(
    Object.entries(texts).map(([key, value]) => [
      key,
      Array.isArray(value) && value.length === 0
        ? "none"
        : value === undefined
          ? value
          : shortName(value.toString()),
    ]),
  );
}

/** `npx onehour experiment table1 --seeds 3`, without the folder: that is a matter of whoever types it. */
export function experimentCommand(settings: ExperimentSettings): string {
  const { name, setting } = settings;
  const given = words(settings);
  const defaults = readExperiment(name, {});
  const usual = words({
    ...defaults,
    setting: { ...defaults.setting, ...scheduleOf(setting.epochs) },
  });
  const flags = experimentRows.flatMap(([key, { flag }]) => {
    const value = given[key];
    return value === undefined || value === usual[key] ? [] : [flag.split(" ")[0]!, quoted(value)];
  });
  return ["npx onehour experiment", name, ...flags].join(" ");
}
