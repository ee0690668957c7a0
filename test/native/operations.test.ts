// The CPU's module has a kernel for each op of each program of each model.
import { testOperationsOf } from "../support/operations-of.js";

testOperationsOf("cpu", ["fp32", "bf16"], 1);
