// The device that the tests run on: the CPU, or the one that ONEHOUR_TEST_DEVICE names.
import { afterAll } from "vitest";
import { openDevice } from "../../lib/device.js";

export const device = openDevice({
  device: process.env.ONEHOUR_TEST_DEVICE === "cuda" ? "cuda" : "cpu",
});

afterAll(() => device.dispose());
