// Proves that two and four ranks on one GPU work together: collectives, a step with synchronised batch
// norm against that of one rank, a rank that is killed, and one that does not come.
import { fileURLToPath } from "node:url";
import { launch } from "#lib/ranks/launch.js";
import type { Check } from "../results/part-result.js";
import { type Report, runPart } from "../results/report.js";
import type { RankSettings } from "./rank.js";

const program = fileURLToPath(new URL("./rank.js", import.meta.url));

/** NCCL between ranks that it takes for different hosts: sockets, no direct access. */
const transport = { NCCL_SOCKET_IFNAME: "lo", NCCL_IB_DISABLE: "1", NCCL_NVLS_ENABLE: "0" };

/** Seconds within which the others end when a rank was killed. */
const ENDED_WITHIN = 5;
/** Seconds without progress after which a scene has failed, so that the next one is played too. */
const HANGS_AFTER = 20;

type Line = Partial<Check> & { killedAt?: number };

/** Plays a scene with k ranks. */
async function play(report: Report, workers: number, scene: RankSettings["scene"]) {
  const settings: RankSettings = { scene, device: report.settings.device };
  const lines: { rank: number; line: Line }[] = [];
  let cause = "";
  const status = await launch({
    workers,
    command: () => [program, JSON.stringify(settings)],
    timeoutSeconds: HANGS_AFTER,
    env: transport,
    onLine: (rank, line, stream) => {
      if (stream === "stdout" && line.startsWith("{")) lines.push({ rank, line: JSON.parse(line) });
      else console.log(`[${rank}] ${line}`);
    },
    onFailure: (text) => {
      cause = text;
    },
  });
  return { status, cause, lines, endedAt: Date.now() };
}

/** A scene that all ranks survive. */
async function peaceful(report: Report, workers: number, scene: RankSettings["scene"]) {
  const { status, cause, lines } = await play(report, workers, scene);
  const name = `${scene}, ${workers} ranks`;
  for (const { rank, line } of lines)
    report.check(`${name}, rank ${rank}: ${line.name}`, line.ok === true, line.detail ?? "");
  report.check(`${name}: ends well`, status === 0, `status ${status}: ${cause}`);
  const recorded = lines.some(({ line }) => line.name === "recorded" && line.ok);
  report.note(
    `${name}: ${lines.filter(({ line }) => line.ok).length} of ${lines.length} findings good` +
      (recorded ? ", recorded and replayed" : ""),
  );
}

/** A rank that is killed is named, and the other ends soon after. */
async function killed(report: Report) {
  const { status, cause, lines, endedAt } = await play(report, 2, "killed");
  const killedAt =
    lines.find(({ line }) => line.killedAt !== undefined)?.line.killedAt ?? Number.NaN;
  const seconds = (endedAt - killedAt) / 1000;
  report.check("killed: the run fails", status === 1, `status ${status}`);
  report.check("killed: the cause names rank 1", /rank 1\b/.test(cause), cause);
  report.atMost("killed: seconds until all have ended", seconds, ENDED_WITHIN);
  report.note(`killed: all ended ${seconds.toFixed(1)} s later; "${cause}"`);
}

// What no other part can prove comes first.
await runPart("ranks", async (report) => {
  await killed(report);
  await peaceful(report, 2, "deadline");
  for (const workers of report.settings.small ? [2] : [2, 4]) {
    await peaceful(report, workers, "values");
    await peaceful(report, workers, "synchronised");
  }
});
