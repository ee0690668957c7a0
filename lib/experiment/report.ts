// The report on an experiment: one set of sections, which a page and Markdown show.
import { titleOf } from "../modules/pinned.js";
import type { Chart } from "../report/chart.js";
import { renderColumn } from "../report/charts.js";
import { page, type Section, type Table } from "../report/page.js";
import { timeLeft } from "../terminal/durations.js";
import { count, counted } from "../text/words.js";
import { figure1Chart, figure3Chart, remarkCharts, ruleChart, warmupChart } from "./charts.js";
import { hasVariants, type Part, partsOf, Runs } from "./claims.js";
import { pictureOf } from "./folder.js";
import { method, originText } from "./method.js";
import { apart } from "./remarks.js";
import type { ExperimentResult } from "./result.js";
import { baseline, remarkSetting, type Setting } from "./setting.js";
import {
  figure1Table,
  figure3Table,
  machineTable,
  runsTable,
  settingTable,
  table1Table,
  table2Table,
  verdictsTable,
} from "./tables.js";

interface PartReport {
  /** What of the paper it is; absent where each claim says so. */
  source?: string;
  title: string;
  text?: (setting: Setting) => string[];
  tables?: (runs: Runs, setting: Setting) => Table[];
  charts: (runs: Runs, setting: Setting) => Chart[];
}

const reports: Record<Part, PartReport> = {
  figure1: {
    source: "Figure 1",
    title: "error against minibatch",
    tables: (runs, setting) => [figure1Table(runs, setting)],
    charts: (runs, setting) => [figure1Chart(runs, setting)],
  },
  table1: {
    source: "Table 1",
    title: "warm-up",
    tables: (runs, setting) => [table1Table(runs, setting)],
    charts: (runs, setting) => [warmupChart(runs, setting)],
  },
  figure3: {
    source: "Figure 3",
    title: "training curves",
    tables: (runs, setting) => [figure3Table(runs, setting)],
    charts: (runs, setting) => [figure3Chart(runs, setting)],
  },
  remarks: {
    title: "The remarks: right and wrong ways",
    text: () => [
      `The first ${remarkSetting.steps} losses at kn = ${count(remarkSetting.minibatch)}, or those of ` +
        `${counted(remarkSetting.epochs, "epoch")} where these are fewer, as deviations from those of one worker; one of ` +
        `0 is not drawn. The rate is ${remarkSetting.lr} at 256 images, with a warm-up over ` +
        `${counted(remarkSetting.warmupEpochs, "epoch")} and drops at epochs ${remarkSetting.milestones.join(" and ")}; ` +
        `λ = ${remarkSetting.weightDecay}; the runs are in fp32 on the CPU. Rate and λ are not the ` +
        "setting's: a higher rate hides the ways behind rounding, and the paper's λ of 0.0001 shows next to nothing in " +
        "so few steps. The right way differs " +
        "by rounding alone, which training makes grow. A remark holds where the median " +
        `deviation of the wrong way is ${apart} times that of the right way, or more, and does not ` +
        "hold where it is no larger.",
      "Whether a wrong way ends with a higher error is not measured here: that the losses differ shows that it trains " +
        "otherwise than one worker would. With a shuffle for each worker the images are others, so what counts is how " +
        "many of them an epoch leaves out.",
    ],
    charts: (runs) => remarkCharts(runs),
  },
  table2: {
    source: "Table 2",
    title: "rules of the rate, and γ",
    text: () => [
      `By the linear rule the rate is that of ${baseline} images times kn/${baseline}; half and twice it change that of ` +
        `${baseline} images. The square root multiplies by √(kn/${baseline}), its warm-up beginning below the rate of ` +
        `${baseline} images; unscaled, the rate is that of ${baseline} images, without warm-up. γ = 1 is what the last ` +
        "batch norm of each block begins with in place of 0. In an experiment of more parts these runs come after all " +
        "seeds of the others.",
    ],
    tables: (runs, setting) => (hasVariants(runs, setting) ? [table2Table(runs, setting)] : []),
    charts: (runs, setting) => (hasVariants(runs, setting) ? [ruleChart(runs, setting)] : []),
  },
};

const hasSomething = ({ series }: Chart) =>
  series.length > 0 && series.some(({ y }) => y.length > 0);

/** The charts of a part that have something to show. */
const chartsOf = (part: Part, { runs, setting }: ExperimentResult): Chart[] =>
  reports[part].charts(new Runs(runs), setting).filter(hasSomething);

/** The pictures by the names of their files. */
export function picturesOf(result: ExperimentResult): Record<string, string> {
  const drawn = partsOf(result.name).flatMap((part) => {
    const charts = chartsOf(part, result);
    return charts.length > 0
      ? [[pictureOf(part), renderColumn(charts, { width: 720, height: 400 })] as const]
      : [];
  });
  return Object.fromEntries(drawn);
}

const titleOfPart = ({ source, title }: PartReport) =>
  source === undefined ? title : `${source}: ${title}`;

/** A section of the report. */
export interface ReportSection extends Section {
  title: string;
  /** The name of the file with its charts, where there is any. */
  picture?: string;
}

function partSection(part: Part, result: ExperimentResult): ReportSection {
  const { setting } = result;
  const { text, tables } = reports[part];
  return {
    title: titleOfPart(reports[part]),
    text: text?.(setting) ?? [],
    charts: chartsOf(part, result),
    picture: pictureOf(part),
    tables: tables?.(new Runs(result.runs), setting) ?? [],
  };
}

/** What is known of the runs in one sentence. */
export function statusText({ status, runs, seconds }: ExperimentResult): string {
  const ended = runs.filter(({ error }) => error !== undefined).length;
  const course = `${counted(ended, "run")} in ${timeLeft(seconds)}`;
  return status === "failed" ? `ended by an error after ${course}` : `${status}: ${course}`;
}

/** Title, status and sections of the report on an experiment. */
export function reportOf(result: ExperimentResult) {
  const { name, setting } = result;
  const isOfRemarks = name === "remarks"; // their section says how they were run and decided
  const sources = Object.fromEntries(partsOf(name).map((part) => [part, reports[part].source]));
  const what = name === "paper" ? "The paper's claims" : titleOfPart(reports[name]);
  const sections: ReportSection[] = [
    { title: "Verdicts", tables: [verdictsTable(result, sources)] },
    ...partsOf(name).map((part) => partSection(part, result)),
    {
      title: "Setting",
      text: isOfRemarks ? [] : [originText(result)],
      tables: [settingTable(result)],
    },
    { title: "How it was decided", text: isOfRemarks ? [] : method(result) },
    { title: "Machine", tables: [machineTable(result)] },
    { title: "Runs", tables: [runsTable(result)] },
  ];
  return {
    title: `${what}, at a small scale`,
    subtitle: `${titleOf(setting.model)} on ${titleOf(setting.dataset)}, after Goyal et al. 2017`,
    status: statusText(result),
    sections: sections
      .map(({ tables = [], ...rest }) => ({
        ...rest,
        tables: tables.filter(({ rows }) => rows.length > 0),
      }))
      .filter(({ text = [], charts = [], tables }) =>
        [text, charts, tables].some(({ length }) => length > 0),
      ),
  };
}

/** How many claims have each ruling. */
function facts({ verdicts }: ExperimentResult) {
  const all = Object.values(verdicts).flat();
  return (["holds", "does not hold", "undecided"] as const).map((ruling) => ({
    name: ruling,
    value: String(all.filter((verdict) => verdict.ruling === ruling).length),
    note: `of ${counted(all.length, "claim")}`,
  }));
}

/** Seconds after which the page of an experiment that runs loads itself again. */
const reload = 30;

/** The result as one HTML file that needs no network. */
export function experimentPage(result: ExperimentResult): string {
  const { status, ...report } = reportOf(result);
  const isLive = result.status === "running";
  return page({
    ...report,
    status: { text: status, isLive },
    facts: facts(result),
    ...(isLive ? { reload } : {}),
  });
}
