// Loaded before anything else in every worker process that the launcher starts: the worker ends with
// the launcher, sends heartbeats, and reports the error that ends it.
import { createInterface } from "node:readline";
import { native } from "../device/native.js";
import { tellLoss } from "../system/output.js";
import { reportOf } from "./error-report.js";
import { type LauncherReport, tellLauncher } from "./report.js";

function start(fd: number): void {
  const fail = (error: unknown) => {
    tellLauncher(reportOf(error));
    process.exit(1);
  };
  process.on("uncaughtException", fail);
  // The other end of stdin is the launcher's: when that closes, nobody is left to work for.
  process.stdin.on("error", () => {});
  process.stdin.on("close", () => process.kill(process.pid, "SIGKILL"));
  createInterface({ input: process.stdin }).on("line", (line) => {
    const { lost } = JSON.parse(line) as LauncherReport;
    tellLoss(lost);
  });
  (process.stdin as NodeJS.ReadStream & { unref?(): void }).unref?.();
  try {
    native.dieWithParent(Number(process.env.ONEHOUR_LAUNCHER));
    native.startHeartbeat(fd, Number(process.env.ONEHOUR_HEARTBEAT_INTERVAL));
  } catch (error) {
    fail(error);
  }
}

if (process.env.ONEHOUR_HEARTBEAT_FD !== undefined) start(Number(process.env.ONEHOUR_HEARTBEAT_FD));
