// Compares every case of the op book to PyTorch, on the device under test.
import { testCases } from "../support/cases.js";

testCases();
