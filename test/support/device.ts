// The device that the tests run on: the CPU, or the backend that ONEHOUR_TEST_DEVICE names, "cuda" or
// "emulated".
import { afterAll } from "vitest";
import { openBackend, openDevice } from "../../lib/device/open.js";

const { ONEHOUR_TEST_DEVICE: backend = "cpu" } = process.env;

export const device = backend === "cpu" ? openDevice({ device: "cpu" }) : openBackend(backend, 1);

afterAll(() => device.dispose());
