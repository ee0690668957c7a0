// Runs the same step in PyTorch: a python3 process that waits for rounds on its standard input.
import type { Contender, Round, StepSettings } from "./contender.js";
import { startPython } from "./python.js";

/**
 * Starts PyTorch, eager or with torch.compile; it is ended after `limitSeconds`, if given. Throws
 * ERR_ONEHOUR_PYTORCH where there is none.
 */
export async function startPyTorch(
  settings: StepSettings,
  device: "cpu" | "cuda",
  mode: "eager" | "compiled" = "eager",
  limitSeconds?: number,
): Promise<Contender & { close(): Promise<void> }> {
  const { height, width, channels } = settings.images;
  const python = await startPython(
    "throughput-pytorch.py",
    [
      ...["--model", settings.model, "--batch", settings.batch, "--device", device],
      ...["--image", height, width, channels, "--classes", settings.classes],
      ...["--precision", settings.precision, "--threads", settings.threads],
      ...(mode === "compiled" ? ["--compile"] : []),
    ],
    { limitSeconds },
  );
  return {
    name: String(python.hello.name),
    workers: 1,
    minibatch: settings.batch,
    run: (steps) =>
      python.ask<Round>({ steps }, "while it ran the step. A smaller --batch needs less memory."),
    close: python.close,
  };
}
