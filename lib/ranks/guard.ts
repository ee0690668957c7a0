// Loaded before anything else in the command and in every worker process.
import { guardOutput } from "../system/output.js";
import { guardSignals } from "./signals.js";

guardOutput();
guardSignals();
