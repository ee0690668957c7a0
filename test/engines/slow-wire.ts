// A long and bad cable between a host and its switch: `slow-wire.py` passes the frames.
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { hasEnded, start, until } from "../support/process.js";
import { type Host, sh } from "./hosts.js";

const script = fileURLToPath(new URL("slow-wire.py", import.meta.url));

interface Wire {
  /** How long a frame takes, either way. */
  seconds: number;
  /** The share of the frames that get lost. */
  loss: number;
}

/**
 * Puts such a cable in place of a host's own; the returned function takes it away, and expects that it
 * has lost frames.
 */
export async function lengthen(host: Host, { seconds, loss }: Wire): Promise<() => Promise<void>> {
  const [near, far] = ["wire-near", "wire-far"];
  host.unplug();
  sh(
    'ip link add "$1" type veth peer name "$2"; ip link set "$1" up; ip link set "$2" up master "$3"',
    ...[near, far, host.cards[0]!.to.name],
  );
  const complete = ["python3", script, "--complete"];
  for (const words of [[...complete, far], host.words([...complete, "eth0"])]) {
    const { status, stderr } = await start(words).ended;
    if (status !== 0) throw new Error(stderr);
  }
  const words = ["python3", script, host.cable(), near, String(seconds), String(loss)];
  const wire = start(words, { lasting: true });
  const checkWire = () => {
    if (hasEnded(wire) || wire.stderr !== "") throw new Error(`the cable broke: ${wire.stderr}`);
  };
  await until(() => wire.stdout.includes("up") || hasEnded(wire), 120);
  checkWire();
  return async () => {
    checkWire();
    wire.child.kill("SIGTERM");
    const { stdout } = await wire.ended;
    expect(Number(/^lost (\d+)$/m.exec(stdout)?.[1])).toBeGreaterThan(0);
    sh('ip link delete "$1"', near!);
  };
}
