// Opens two communicators of a device whose library remarks on something between hosts.
import { connect } from "../../../dist/ranks/connect.js";

const world = await connect();
const device = {
  createCommunicator: (rank, size, _timeout, acrossHosts) => ({
    rank,
    size,
    remark: acrossHosts ? "nothing is registered here" : "",
    address: () => Uint8Array.of(rank),
    connect: async () => true,
  }),
};
for (const name of ["gradients", "statistics"]) await world.communicator(name, 2, device);
await world.close();
console.log("{}");
