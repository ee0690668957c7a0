// The doctor on this machine: lines of all checks but the measured ones, as plain JSON.
import { expect, test } from "vitest";
import { verdicts } from "../../lib/doctor/check.js";
import { diagnose, quietSections } from "../../lib/doctor/doctor.js";

test("looks at this machine, and has a verdict for all of it", async () => {
  const diagnosis = await diagnose(quietSections);
  expect(JSON.parse(JSON.stringify(diagnosis))).toEqual(diagnosis);
  for (const { name, found, verdict, advice } of diagnosis.checks) {
    expect(found, name).toMatch(/\S/);
    expect(verdicts, name).toContain(verdict);
    if (verdict !== "good") expect(advice, name).toMatch(/\S/);
  }
  const names = diagnosis.checks.map(({ name }) => name);
  for (const name of ["Node", "CMake", "module cpu", "oneDNN", "Gloo", "libjpeg-turbo"])
    expect(names).toContain(name);
  for (const name of ["cores", "/dev/shm", "open files", "run folder", "interface", "launcher"])
    expect(names).toContain(name);
  expect(diagnosis.checks.find(({ name }) => name === "module cpu")?.verdict).toBe("good");
  expect(diagnosis.canRun).toBe(true);
  expect(diagnosis.environment.libraries.oneDNN?.loaded).toMatch(/^\d/);
});
