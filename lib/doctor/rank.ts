// The main module of a rank of `onehour launch --doctor`: each host looks at itself, the ranks compare what they are,
// each pair is measured, and rank 0 prints it once.
import "../ranks/guard.js";
import { native } from "../device/native.js";
import { connect } from "../ranks/connect.js";
import { thisHost } from "../ranks/rendezvous.js";
import { explain, lastWords } from "../ranks/world.js";
import { judgeAll, type Member } from "./compare.js";
import { diagnose, quietSections } from "./doctor.js";
import { pairRates, pairsOf } from "./pairs.js";
import { lineText, paperOf, sectionText, summaryText } from "./print.js";

/** Of more ranks only one of each host is measured against the others. */
const mostRanks = 8;

const world = await connect();
try {
  // Others wait for this one, which does not hang as long as one check after the other ends.
  const watcher = { begin: () => native.advanceProgress() };
  const isFirst = world.localRank === 0;
  const own: Member = {
    host: thisHost(),
    ...(isFirst ? { diagnosis: await diagnose(quietSections, watcher) } : {}),
  };
  const members = (await world.gather("doctor", JSON.stringify(own))).map(
    (text) => JSON.parse(text) as Member,
  );
  const hosts = members.map(({ host }) => host);
  const firsts = members.flatMap(({ diagnosis }, rank) => (diagnosis ? [rank] : []));
  const measured =
    world.worldSize <= mostRanks ? members.map((_, rank) => rank) : firsts.slice(0, mostRanks);
  const pairs = pairsOf(measured.length).map(([a, b]): [number, number] => [
    measured[a]!,
    measured[b]!,
  ]);
  const rates = await pairRates(world, hosts, pairs);
  const sections = judgeAll(members, rates);
  const lines = sections.flatMap(({ lines }) => lines);
  if (world.rank === 0) {
    const paper = paperOf(process.stdout);
    const text = sections.map(
      ({ title, lines }) =>
        sectionText(title, paper) + lines.map((line) => lineText(line, paper)).join(""),
    );
    process.stdout.write(text.join("") + summaryText(lines, paper));
  }
  await world.barrier();
  await world.close();
  process.exitCode = lines.some(({ verdict }) => verdict === "bad") ? 1 : 0;
} catch (error) {
  throw lastWords(world, await explain(world, error));
}
