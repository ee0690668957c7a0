// Open MPI's and MPICH's launchers, over hosts that a stand-in for ssh reaches.
import type { Cluster } from "./cluster.js";
import { writeSsh } from "./hosts.js";

/** Words of mpirun: `processes` a host, on each host of the cluster. */
export function mpirun(folder: string, { hosts }: Cluster, processes: number): string[] {
  const list = hosts.map(({ name }) => `${name}:${processes}`).join(",");
  return [
    ...["mpirun.openmpi", "--allow-run-as-root", "--mca", "plm", "rsh"],
    ...["--mca", "plm_rsh_agent", writeSsh(folder), "--host", list],
  ];
}

/** Words of mpiexec.hydra: `processes` a host, on each host of the cluster. */
export function hydra(folder: string, { addresses, hosts }: Cluster, processes: number): string[] {
  const list = hosts.map(({ name }) => `${name}:${processes}`).join(",");
  const agent = ["-launcher", "rsh", "-launcher-exec", writeSsh(folder)];
  return ["mpiexec.hydra", ...agent, "-localhost", addresses.front, "-hosts", list];
}
