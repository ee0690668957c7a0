// The fully connected layer and its gradients, by cuBLASLt, which orders matrices by columns: what
// the program calls x[N,C] is C×N to it.
#include "../../core/ops/linear.h"

#include <memory>
#include <string>
#include <utility>

#include "../runtime/cublas.h"
#include "kernels.h"
#include "linear.h"

namespace onehour::cuda {
namespace {

Matrix matrixOf(const Operand& operand) {
  return {operand.data, operand.type, operand.shape[1], operand.shape[0]};
}

bool allowsTf32(const Instruction& instruction) {
  for (const auto& [key, value] : instruction.attributes) {
    if (key != "precision") continue;
    if (value == "tf32") return true;
    throw Error("ERR_KERNEL", "onehour",
                "[" + instruction.op + "] expected precision=tf32 or no precision, got " + value);
  }
  return false;
}

Product productOf(PrepareContext& context, const Operand& a, const Operand& b, const Operand& d,
                  const ProductOptions& options) {
  return {cublasHandle(traitsOf(context).ordinal), matrixOf(a), matrixOf(b), matrixOf(d), options};
}

std::unique_ptr<Kernel> kernelOf(Product product) {
  const size_t bytes = product.workspaceBytes();
  return makeKernel([product = std::move(product)](Stream& stream) { product.run(stream); }, bytes);
}

std::unique_ptr<Kernel> linear(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  const Linear problem = linearOf(instruction, x, y);
  expect(instruction, y, DataType::f32, y.shape);
  const Operand& w = expect(instruction, instruction.input("w"), x.type, {problem.k, problem.c});
  const Operand& b = expect(instruction, instruction.input("b"), DataType::f32, {problem.k});
  return kernelOf(
      productOf(context, w, x, y,
                {.transposeA = true, .tf32 = allowsTf32(instruction), .bias = b.as<float>()}));
}

std::unique_ptr<Kernel> linearBackwardData(const Instruction& instruction,
                                           PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  const Operand& dx = instruction.output("dx");
  const Linear problem = linearOf(instruction, dx, dy);
  expect(instruction, dy, dx.type, dy.shape);
  const Operand& w = expect(instruction, instruction.input("w"), dx.type, {problem.k, problem.c});
  return kernelOf(productOf(context, w, dy, dx, {.tf32 = allowsTf32(instruction)}));
}

// The bias's gradient is not left to the product's epilogue, which cannot add to what is there.
std::unique_ptr<Kernel> linearBackwardWeight(const Instruction& instruction,
                                             PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& dy = instruction.input("dy");
  const Linear problem = linearOf(instruction, x, dy);
  expect(instruction, dy, x.type, dy.shape);
  const Operand& dw =
      expect(instruction, instruction.output("dw"), DataType::f32, {problem.k, problem.c});
  const Operand& db = expect(instruction, instruction.output("db"), DataType::f32, {problem.k});
  const bool accumulate = flag(instruction, "accumulate");
  Product weight =
      productOf(context, x, dy, dw,
                {.transposeB = true, .accumulate = accumulate, .tf32 = allowsTf32(instruction)});
  const size_t bytes = weight.workspaceBytes();
  return makeKernel(
      [weight = std::move(weight),
       bias = prepareBiasGradient(dy, db, accumulate, context)](Stream& stream) {
        weight.run(stream);
        bias->run(stream);
      },
      bytes);
}

}  // namespace

const KernelTable& linearKernels() {
  static const KernelTable table{
      {"linear", linear},
      {"linear-backward-data", linearBackwardData},
      {"linear-backward-weight", linearBackwardWeight},
  };
  return table;
}

}  // namespace onehour::cuda
