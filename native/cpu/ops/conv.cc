// Two-dimensional convolution and its two gradients, by oneDNN or Winograd's algorithm. Activations
// NHWC, filters KRSC; oneDNN chooses the layout that it computes with for the filters.
#include "../../core/ops/conv.h"

#include "../winograd/winograd.h"
#include "kernels.h"
#include "onednn.h"

namespace onehour::cpu {
namespace {

using namespace onednn;

// The problem in oneDNN's words.
struct Problem : Convolution {
  Descriptor input() const { return {{n, c, h, w}, typeOf(type), Tag::nhwc}; }
  Descriptor output() const { return {{n, k, p, q}, typeOf(type), Tag::nhwc}; }
  Dims filterSizes() const {
    if (groups == 1) return {k, c, r, s};
    return {groups, k / groups, filterChannels(), r, s};
  }
  Descriptor filter(DataType stored) const {
    return {filterSizes(), typeOf(stored), groups == 1 ? Tag::ohwi : Tag::gohwi};
  }
  Descriptor anyFilter(DataType stored) const { return {filterSizes(), typeOf(stored), Tag::any}; }
  Dims strides() const { return {stride.height, stride.width}; }
  Dims paddings() const { return {padding.height, padding.width}; }
  // Pixels between those under a filter: oneDNN counts them from 0.
  Dims dilations() const { return {dilation.height - 1, dilation.width - 1}; }

  // Every output pixel is a product of the same input pixel alone.
  bool isProduct() const {
    return groups == 1 && r == 1 && s == 1 && stride.height == 1 && stride.width == 1 &&
           padding.height == 0 && padding.width == 0;
  }

  // 3×3 filters that leave the size as it is, in fp32.
  bool fitsWinograd() const {
    return isPlain() && type == DataType::f32 && r == 3 && s == 3 && stride.height == 1 &&
           stride.width == 1 && padding.height == 1 && padding.width == 1;
  }

  WinogradProblem winograd() const { return {n, h, w, c, k}; }

  dnnl::convolution_forward::primitive_desc forward(const PrimitiveKernel& kernel) const {
    return kernel.describe<dnnl::convolution_forward>(
        dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, input(),
        anyFilter(type), output(), strides(), dilations(), paddings(), paddings());
  }
};

std::unique_ptr<Kernel> conv2d(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& w = instruction.input("w");
  const Operand& y = instruction.output("y");
  const Problem problem{convolutionOf(instruction, x, w, y)};
  if (problem.fitsWinograd() && prefersWinograd(problem.winograd())) {
    return winogradForward(problem.winograd(), x.as<float>(), w.as<float>(), y.as<float>(),
                           context.backend.properties().threads);
  }
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    kernel.add<dnnl::convolution_forward>(
        problem.forward(kernel),
        {{DNNL_ARG_SRC, kernel.operand(problem.input(), x.data)},
         {DNNL_ARG_WEIGHTS, kernel.operand(problem.filter(x.type), w.data)},
         {DNNL_ARG_DST, kernel.operand(problem.output(), y.data)}});
  });
}

Descriptor matrix(int64_t rows, int64_t columns, DataType type) {
  return {{rows, columns}, typeOf(type), Tag::ab};
}

// dx[M,C] = dy[M,K]·w[K,C]: in fp32 oneDNN's matrix product is up to 1.2 times as fast as the
// gradient of its 1×1 convolution. Forward they are equal.
std::unique_ptr<Kernel> productData(const Instruction& instruction, PrepareContext& context,
                                    const Problem& problem) {
  const Descriptor dy = matrix(problem.pixels(), problem.k, problem.type);
  const Descriptor dx = matrix(problem.pixels(), problem.c, problem.type);
  const Descriptor w = matrix(problem.k, problem.c, problem.type);
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    const auto descriptor = kernel.describe<dnnl::matmul>(
        dy, Descriptor({problem.k, problem.c}, typeOf(problem.type), Tag::any), dx);
    kernel.add<dnnl::matmul>(descriptor,
                             {{DNNL_ARG_SRC, kernel.operand(dy, instruction.input("dy").data)},
                              {DNNL_ARG_WEIGHTS, kernel.operand(w, instruction.input("w").data)},
                              {DNNL_ARG_DST, kernel.operand(dx, instruction.output("dx").data)}});
  });
}

std::unique_ptr<Kernel> conv2dBackwardData(const Instruction& instruction,
                                           PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  const Operand& w = instruction.input("w");
  const Operand& dx = instruction.output("dx");
  const Problem problem{convolutionOf(instruction, dx, w, dy)};
  if (problem.fitsWinograd() && prefersWinograd(problem.winograd())) {
    return winogradBackwardData(problem.winograd(), dy.as<float>(), w.as<float>(), dx.as<float>(),
                                context.backend.properties().threads);
  }
  if (problem.isProduct() && problem.type == DataType::f32) {
    return productData(instruction, context, problem);
  }
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    const auto descriptor = kernel.describeBackward<dnnl::convolution_backward_data>(
        problem.forward(kernel), dnnl::algorithm::convolution_direct, problem.input(),
        problem.anyFilter(dx.type), problem.output(), problem.strides(), problem.dilations(),
        problem.paddings(), problem.paddings());
    kernel.add<dnnl::convolution_backward_data>(
        descriptor, {{DNNL_ARG_DIFF_DST, kernel.operand(problem.output(), dy.data)},
                     {DNNL_ARG_WEIGHTS, kernel.operand(problem.filter(dx.type), w.data)},
                     {DNNL_ARG_DIFF_SRC, kernel.operand(problem.input(), dx.data)}});
  });
}

// dw[K,C] = dyᵀ·x over all pixels: oneDNN's matrix product is up to 1.4 times as fast as its 1×1
// convolution, above all for few channels; not in bf16 for very many pixels.
constexpr int64_t mostProductPixels = 16384;  // in bf16

std::unique_ptr<Kernel> productWeight(const Instruction& instruction, PrepareContext& context,
                                      const Problem& problem) {
  const Descriptor x = matrix(problem.pixels(), problem.c, problem.type);
  const Descriptor dy = matrix(problem.pixels(), problem.k, problem.type);
  const Descriptor dw = matrix(problem.k, problem.c, DataType::f32);
  const bool accumulate = flag(instruction, "accumulate");
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    const auto forward = kernel.describe<dnnl::inner_product_forward>(
        dnnl::prop_kind::forward_training, x, matrix(problem.k, problem.c, problem.type), dy);
    kernel.add<dnnl::inner_product_backward_weights>(
        kernel.describeBackward<dnnl::inner_product_backward_weights>(forward, x, dw, dy),
        {{DNNL_ARG_SRC, kernel.operand(x, instruction.input("x").data)},
         {DNNL_ARG_DIFF_DST, kernel.operand(dy, instruction.input("dy").data)},
         {DNNL_ARG_DIFF_WEIGHTS, kernel.operand(dw, instruction.output("dw").data)}},
        accumulate);
  });
}

std::unique_ptr<Kernel> conv2dBackwardWeight(const Instruction& instruction,
                                             PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& dy = instruction.input("dy");
  const Operand& dw = instruction.output("dw");
  const Problem problem{convolutionOf(instruction, x, dw, dy)};
  const bool accumulate = flag(instruction, "accumulate");
  if (problem.isProduct() &&
      (problem.type == DataType::f32 || problem.pixels() <= mostProductPixels)) {
    return productWeight(instruction, context, problem);
  }
  const int threads = context.backend.properties().threads;
  if (problem.fitsWinograd() && prefersWinogradWeight(problem.winograd(), threads)) {
    return winogradBackwardWeight(problem.winograd(), x.as<float>(), dy.as<float>(), dw.as<float>(),
                                  accumulate, threads);
  }
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    const auto descriptor = kernel.describeBackward<dnnl::convolution_backward_weights>(
        problem.forward(kernel), dnnl::algorithm::convolution_direct, problem.input(),
        problem.anyFilter(DataType::f32), problem.output(), problem.strides(), problem.dilations(),
        problem.paddings(), problem.paddings());
    kernel.add<dnnl::convolution_backward_weights>(
        descriptor,
        {{DNNL_ARG_SRC, kernel.operand(problem.input(), x.data)},
         {DNNL_ARG_DIFF_DST, kernel.operand(problem.output(), dy.data)},
         {DNNL_ARG_DIFF_WEIGHTS, kernel.operand(problem.filter(DataType::f32), dw.data)}},
        accumulate);
  });
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"conv2d", {"x:T[N,H,W,C] w:T[K,R,S,D] -> y:T[N,P,Q,K]", conv2d}},
      {"conv2d-backward-data", {"dy:T[N,P,Q,K] w:T[K,R,S,D] -> dx:T[N,H,W,C]", conv2dBackwardData}},
      {"conv2d-backward-weight",
       {"x:T[N,H,W,C] dy:T[N,P,Q,K] dw?:f32[K,R,S,D] -> dw:f32[K,R,S,D]", conv2dBackwardWeight}},
  };
});

}  // namespace

}  // namespace onehour::cpu
