// The device that the tests run on: the CPU, or the backend that ONEHOUR_TEST_DEVICE names, "cuda" or
// "emulated".
import { afterAll } from "vitest";
import type { Device } from "../../lib/device/device.js";
import { openBackend, openDevice } from "../../lib/device/open.js";

const { ONEHOUR_TEST_DEVICE: backend = "cpu" } = process.env;

const open = () => (backend === "cpu" ? openDevice({ device: "cpu" }) : openBackend(backend, 1));

export const device = open();
const devices = [device];

/**
 * The device of a rank, for ranks that live in this process: work that waits for another rank would
 * hold up that rank's on the same device.
 */
export function deviceOf(rank: number): Device {
  devices[rank] ??= open();
  return devices[rank];
}

afterAll(() => {
  for (const opened of devices) opened?.dispose();
});
