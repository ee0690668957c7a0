// The fully connected layer and its gradients, by oneDNN.
#include "../../core/ops/linear.h"

#include "../../core/ops/check.h"
#include "kernels.h"
#include "onednn.h"

namespace onehour::cpu {
namespace {

using namespace onednn;

// The descriptors that forward and backward share.
struct Product : Linear {
  Descriptor input() const { return {{n, c}, typeOf(type), Tag::nc}; }
  Descriptor weight(DataType stored) const { return {{k, c}, typeOf(stored), Tag::oi}; }
  Descriptor bias() const { return {{k}, typeOf(DataType::f32), Tag::x}; }
  Descriptor output(DataType stored) const { return {{n, k}, typeOf(stored), Tag::nc}; }

  dnnl::inner_product_forward::primitive_desc forward(const PrimitiveKernel& kernel,
                                                      DataType outputType) const {
    return kernel.describe<dnnl::inner_product_forward>(dnnl::prop_kind::forward_training, input(),
                                                        weight(type), bias(), output(outputType));
  }
};

std::unique_ptr<Kernel> linear(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  const Product product{linearOf(x, y)};
  const Operand& w = instruction.input("w");
  const Operand& b = instruction.input("b");
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    kernel.add<dnnl::inner_product_forward>(
        product.forward(kernel, DataType::f32),
        {{DNNL_ARG_SRC, kernel.operand(product.input(), x.data)},
         {DNNL_ARG_WEIGHTS, kernel.operand(product.weight(x.type), w.data)},
         {DNNL_ARG_BIAS, kernel.operand(product.bias(), b.data)},
         {DNNL_ARG_DST, kernel.operand(product.output(DataType::f32), y.data)}});
  });
}

std::unique_ptr<Kernel> linearBackwardData(const Instruction& instruction,
                                           PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  const Operand& dx = instruction.output("dx");
  const Product product{linearOf(dx, dy)};
  const Operand& w = instruction.input("w");
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    kernel.add<dnnl::inner_product_backward_data>(
        kernel.describeBackward<dnnl::inner_product_backward_data>(
            product.forward(kernel, dx.type), product.input(), product.weight(dx.type),
            product.output(dx.type)),
        {{DNNL_ARG_DIFF_DST, kernel.operand(product.output(dx.type), dy.data)},
         {DNNL_ARG_WEIGHTS, kernel.operand(product.weight(dx.type), w.data)},
         {DNNL_ARG_DIFF_SRC, kernel.operand(product.input(), dx.data)}});
  });
}

std::unique_ptr<Kernel> linearBackwardWeight(const Instruction& instruction,
                                             PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& dy = instruction.input("dy");
  const Product product{linearOf(x, dy)};
  const Operand& dw = instruction.output("dw");
  const Operand& db = instruction.output("db");
  const bool accumulate = flag(instruction, "accumulate");
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    kernel.add<dnnl::inner_product_backward_weights>(
        kernel.describeBackward<dnnl::inner_product_backward_weights>(
            product.forward(kernel, x.type), product.input(), product.weight(DataType::f32),
            product.bias(), product.output(x.type)),
        {{DNNL_ARG_SRC, kernel.operand(product.input(), x.data)},
         {DNNL_ARG_DIFF_DST, kernel.operand(product.output(x.type), dy.data)},
         {DNNL_ARG_DIFF_WEIGHTS, kernel.operand(product.weight(DataType::f32), dw.data)},
         {DNNL_ARG_DIFF_BIAS, kernel.operand(product.bias(), db.data)}},
        accumulate);
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"linear", {"x:T[N,C] w:T[K,C] b:f32[K] -> y:f32[N,K]", linear}},
      {"linear-backward-data", {"dy:T[N,K] w:T[K,C] -> dx:T[N,C]", linearBackwardData}},
      {"linear-backward-weight",
       {"x:T[N,C] dy:T[N,K] dw?:f32[K,C] db?:f32[K] -> dw:f32[K,C] db:f32[K]",
        linearBackwardWeight}},
  };
});

}  // namespace

}  // namespace onehour::cpu
