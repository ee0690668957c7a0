// Where the ranks or nodes of a run meet: what a flag says, else ONEHOUR_RENDEZVOUS, else MASTER_ADDR and
// MASTER_PORT, else what their engine offers.
import { OnehourError } from "../errors.js";
import type { Environment } from "../system/variables.js";
import { shown } from "../text/words.js";
import { type Address, bare, parseAddress } from "./addresses.js";
import type { Engine, RendezvousAddress } from "./engines.js";
import { problem, read } from "./variables.js";

/**
 * The meeting point, with the secret that ONEHOUR_TOKEN holds. Where an elastic agent of torchrun already
 * listens at MASTER_PORT (TORCHELASTIC_USE_AGENT_STORE=True), it is one port higher.
 */
export function meetingPoint(env: Environment, engine: Engine, flag?: Address): RendezvousAddress {
  const address = flag ?? ownAddress(env) ?? masterAddress(env) ?? engine.meeting?.(env);
  if (address === undefined)
    throw new OnehourError(
      "ERR_ONEHOUR_ENVIRONMENT",
      `${engine.rank} says that this is one of several processes, but nothing says where they meet. ` +
        `Set MASTER_ADDR to the host of rank 0 and MASTER_PORT to a free port on it${engine.handOver ?? ""}`,
    );
  const { ONEHOUR_TOKEN: token } = env;
  return { ...address, ...(token ? { token } : {}) };
}

function ownAddress({ ONEHOUR_RENDEZVOUS: text }: Environment): RendezvousAddress | undefined {
  if (text === undefined) return undefined;
  const address = parseAddress(text);
  if (address !== undefined) return address;
  throw problem(
    `ONEHOUR_RENDEZVOUS is ${shown(text)}`,
    "host:port with a port from 1 to 65535, an IPv6 address as [::1]:port",
  );
}

function masterAddress(env: Environment): RendezvousAddress | undefined {
  if (!env.MASTER_ADDR || env.MASTER_PORT === undefined) return undefined;
  const agentListens = env.TORCHELASTIC_USE_AGENT_STORE === "True";
  const port = read(env, "MASTER_PORT", 1, 65_534) + (agentListens ? 1 : 0);
  return { host: bare(env.MASTER_ADDR), port };
}
