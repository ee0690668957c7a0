// Loaded before anything else in the command and in every worker process.
import { guardSignals } from "./signals.js";

guardSignals();
