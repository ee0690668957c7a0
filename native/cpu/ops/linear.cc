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
  const Product product{linearOf(instruction, x, y)};
  expect(instruction, y, DataType::f32, y.shape);
  const Operand& w = expect(instruction, instruction.input("w"), x.type, {product.k, product.c});
  const Operand& b = expect(instruction, instruction.input("b"), DataType::f32, {product.k});
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
  const Product product{linearOf(instruction, dx, dy)};
  expect(instruction, dy, dx.type, dy.shape);
  const Operand& w = expect(instruction, instruction.input("w"), dx.type, {product.k, product.c});
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
  const Product product{linearOf(instruction, x, dy)};
  expect(instruction, dy, x.type, dy.shape);
  const Operand& dw =
      expect(instruction, instruction.output("dw"), DataType::f32, {product.k, product.c});
  const Operand& db = expect(instruction, instruction.output("db"), DataType::f32, {product.k});
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

}  // namespace

const KernelTable& linearKernels() {
  static const KernelTable table{
      {"linear", linear},
      {"linear-backward-data", linearBackwardData},
      {"linear-backward-weight", linearBackwardWeight},
  };
  return table;
}

}  // namespace onehour::cpu
