// Every case of the op book against PyTorch.
import { caseFamilies } from "../../lib/ops/book.js";
import { testFamily } from "../support/op-cases.js";

for (const family of caseFamilies) testFamily(family);
