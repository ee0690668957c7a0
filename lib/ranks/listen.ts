// Where a rendezvous listens on the machine of rank 0.
import { createServer, isIP, type Server } from "node:net";
import { shown } from "../text/words.js";
import { type Address, resolveAll, withPort } from "./addresses.js";
import { failure, isLoopback, type MemberKind, settingsOf, thisHost } from "./rendezvous.js";

/** @throws the system's error when it cannot listen at the address and port. */
export async function listenAt({
  host = "127.0.0.1",
  port = 0,
}: Partial<Address>): Promise<Server> {
  const server = createServer({ noDelay: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  server.on("error", () => {}); // A failed accept is the client's trouble; it tries again.
  server.unref();
  return server;
}

export interface ListenOptions extends Address {
  /** What meets; ranks by default. */
  kind?: MemberKind;
  /** Whether all members are on this machine. */
  isLocal?: boolean;
  /** Takes what a user should read. */
  remark?: (text: string) => void;
  /** The addresses of a name; the system's by default. */
  resolve?: (host: string) => Promise<string[]>;
}

/**
 * Listens where rank 0 is said to be: at the address that the name has, if that is one of this machine's that
 * others reach, else at all. So a name that means loopback here, or that is not known yet, keeps nobody out.
 * @throws OnehourError ERR_ONEHOUR_RENDEZVOUS where the port is taken.
 */
export async function listenWhere(options: ListenOptions): Promise<Server> {
  const { kind = "rank", remark } = options;
  let problem: NodeJS.ErrnoException | undefined;
  for (const host of await placesToListen(options)) {
    try {
      return await listenAt({ ...options, host });
    } catch (error) {
      problem = error as NodeJS.ErrnoException;
      if (problem.code === "EADDRNOTAVAIL" && !everywhere.includes(host))
        remark?.(
          `${options.host}, where ${kind} 0 is to be, is ${host === options.host ? "" : `${host}, `}no address of ` +
            `host ${thisHost()}: is this the right machine? It listens at all addresses of this one`,
        );
      // Not an address of this machine, or a system without IPv6.
      if (!["EADDRNOTAVAIL", "EAFNOSUPPORT", "EINVAL"].includes(problem.code ?? "")) break;
    }
  }
  throw failure(
    `${kind} 0 cannot listen at ${withPort(options.host, options.port)} (${problem?.code}). Choose a free port ` +
      `(${settingsOf[kind].port}), the same for all`,
  );
}

/** All addresses of this machine, of both kinds where it has IPv6. */
export const everywhere = ["::", "0.0.0.0"];

async function placesToListen({
  host,
  isLocal = false,
  resolve = resolveAll,
  kind = "rank",
  remark,
}: ListenOptions): Promise<string[]> {
  let addresses: string[];
  try {
    addresses = await resolve(host);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const problem = `${shown(host)}, where ${kind} 0 is to be, names no host here (${code ?? message})`;
    if (isLocal)
      throw failure(
        `${problem}. Give a name or address of this machine (${settingsOf[kind].address})`,
      );
    remark?.(`${problem}: it listens at all addresses of host ${thisHost()}`);
    return everywhere;
  }
  const [address] = addresses;
  const isNamed = isIP(host) === 0 && host !== "localhost";
  const misleads = isNamed && !isLocal && addresses.some(isLoopback);
  return address === undefined || addresses.length > 1 || misleads
    ? everywhere
    : [address, ...everywhere];
}
