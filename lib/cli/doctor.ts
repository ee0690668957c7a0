// `onehour doctor`: says what of this machine and this installation works, and how to mend what does not.
import { Command } from "commander";
import { listenForEnd, signalStatus } from "../ranks/signals.js";
import { printResult } from "../system/output.js";

export function doctorCommand(): Command {
  return new Command("doctor")
    .description("Check what a run needs of this machine, and measure it.")
    .option("--json", "print one JSON object instead of lines")
    .action(async ({ json }: { json?: true }) => {
      const { diagnose } = await import("../doctor/doctor.js");
      // At the exit the processes that it asks are ended.
      listenForEnd((signal) => process.exit(signalStatus(signal)));
      const { watch } = await import("../doctor/watch.js");
      const { canRun, ...rest } = await diagnose(undefined, json ? {} : watch(process.stdout));
      // Lines that could not be written are told by the last.
      await printResult(json ? `${JSON.stringify({ ...rest, canRun })}\n` : "");
      process.exitCode = canRun ? 0 : 1;
    });
}
