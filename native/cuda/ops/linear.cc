// The fully connected layer and its gradients, by cuBLASLt, which orders matrices by columns: what
// the program calls x[N,C] is C×N to it.
#include "linear.h"

#include <memory>
#include <string>
#include <utility>

#include "../../core/ops/check.h"
#include "../runtime/cublas.h"
#include "kernels.h"

namespace onehour::cuda {
namespace {

Matrix matrixOf(const Operand& operand) {
  return {operand.data, operand.type, operand.shape[1], operand.shape[0]};
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
  const Operand& w = instruction.input("w");
  const Operand& b = instruction.input("b");
  return kernelOf(
      productOf(context, w, x, y,
                {.transposeA = true, .tf32 = allowsTf32(instruction), .bias = b.as<float>()}));
}

std::unique_ptr<Kernel> linearBackwardData(const Instruction& instruction,
                                           PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  const Operand& dx = instruction.output("dx");
  const Operand& w = instruction.input("w");
  return kernelOf(productOf(context, w, dy, dx, {.tf32 = allowsTf32(instruction)}));
}

// The bias's gradient is not left to the product's epilogue, which cannot add to what is there.
std::unique_ptr<Kernel> linearBackwardWeight(const Instruction& instruction,
                                             PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& dy = instruction.input("dy");
  const Operand& dw = instruction.output("dw");
  const Operand& db = instruction.output("db");
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

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"linear", {"x:T[N,C] w:T[K,C] b:f32[K] -> y:f32[N,K]", linear}},
      {"linear-backward-data", {"dy:T[N,K] w:T[K,C] -> dx:T[N,C]", linearBackwardData}},
      {"linear-backward-weight",
       {"x:T[N,C] dy:T[N,K] dw?:f32[K,C] db?:f32[K] -> dw:f32[K,C] db:f32[K]", linearBackwardWeight,
        2}},
  };
});

}  // namespace

}  // namespace onehour::cuda
