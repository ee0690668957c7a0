// Which interface and address of this machine the other ranks of a run use, and why.
import { type NetworkInterfaceInfo, networkInterfaces } from "node:os";

type Interfaces = NodeJS.Dict<NetworkInterfaceInfo[]>;

/** An address without the interface of a link-local one: fe80::1%eth0 is fe80::1. */
const withoutScope = (address: string) => address.replace(/%.*/, "");

/** The name of the interface that has an address. */
export function interfaceOf(
  address: string,
  interfaces: Interfaces = networkInterfaces(),
): string | undefined {
  const [, scope] = address.split("%");
  if (scope !== undefined) return scope;
  return Object.keys(interfaces).find((name) =>
    interfaces[name]!.some((one) => one.address === withoutScope(address)),
  );
}
