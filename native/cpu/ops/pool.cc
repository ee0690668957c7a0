// Maximum and average pooling, by oneDNN.
#include "../../core/ops/pool.h"

#include "../../core/ops/check.h"
#include "../../core/words.h"
#include "kernels.h"
#include "onednn.h"

namespace onehour::cpu {
namespace {

using namespace onednn;

struct Pooling {
  Descriptor input, output;
  dnnl::algorithm algorithm;
  Dims strides, window, padding;
};

#if DNNL_VERSION_MAJOR >= 3
const Dims undilated{0, 0};

dnnl::pooling_forward::primitive_desc forward(const PrimitiveKernel& kernel, const Pooling& pooling,
                                              dnnl::prop_kind kind) {
  return kernel.describe<dnnl::pooling_forward>(kind, pooling.algorithm, pooling.input,
                                                pooling.output, pooling.strides, pooling.window,
                                                undilated, pooling.padding, pooling.padding);
}

dnnl::pooling_backward::primitive_desc backward(const PrimitiveKernel& kernel,
                                                const Pooling& pooling) {
  return kernel.describeBackward<dnnl::pooling_backward>(
      forward(kernel, pooling, dnnl::prop_kind::forward_training), pooling.algorithm, pooling.input,
      pooling.output, pooling.strides, pooling.window, undilated, pooling.padding, pooling.padding);
}
#else
dnnl::pooling_forward::primitive_desc forward(const PrimitiveKernel& kernel, const Pooling& pooling,
                                              dnnl::prop_kind kind) {
  return kernel.describe<dnnl::pooling_forward>(kind, pooling.algorithm, pooling.input,
                                                pooling.output, pooling.strides, pooling.window,
                                                pooling.padding, pooling.padding);
}

dnnl::pooling_backward::primitive_desc backward(const PrimitiveKernel& kernel,
                                                const Pooling& pooling) {
  return kernel.describeBackward<dnnl::pooling_backward>(
      forward(kernel, pooling, dnnl::prop_kind::forward_training), pooling.algorithm, pooling.input,
      pooling.output, pooling.strides, pooling.window, pooling.padding, pooling.padding);
}
#endif

Descriptor nhwc(const Shape& shape, DataType type) {
  return {{shape[0], shape[3], shape[1], shape[2]}, typeOf(type), Tag::nhwc};
}

Pooling windowPooling(const Instruction& instruction, dnnl::algorithm algorithm, const Operand& x,
                      const Operand& y) {
  const WindowPooling pooling = windowPoolingOf(instruction, x, y);
  return {nhwc(pooling.x, pooling.type),
          nhwc(pooling.y, pooling.type),
          algorithm,
          {pooling.stride.height, pooling.stride.width},
          {pooling.window.height, pooling.window.width},
          {pooling.padding.height, pooling.padding.width}};
}

// oneDNN's own record of the maxima, kept in the program's index tensor: one byte an output.
Memory indexMemory(const Instruction& instruction, const PrimitiveKernel& kernel,
                   const Descriptor& wanted, const Operand& index) {
  if (wanted.get_size() != index.bytes()) {
    throw Error("ERR_KERNEL", "oneDNN",
                "[" + instruction.op + "] expected a record of one byte a maximum, oneDNN wants " +
                    counted(wanted.get_size(), "byte") + " for " + std::to_string(index.bytes()) +
                    "; try a window of fewer than 256 values");
  }
  return kernel.operand(wanted, index.data);
}

std::unique_ptr<Kernel> maxPool(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  const Operand* index = instruction.findOutput("index");
  const Pooling pooling = windowPooling(instruction, dnnl::algorithm::pooling_max, x, y);
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    const auto descriptor = forward(
        kernel, pooling,
        index == nullptr ? dnnl::prop_kind::forward_inference : dnnl::prop_kind::forward_training);
    std::unordered_map<int, Memory> arguments{
        {DNNL_ARG_SRC, kernel.operand(pooling.input, x.data)},
        {DNNL_ARG_DST, kernel.operand(pooling.output, y.data)}};
    if (index != nullptr) {
      arguments.emplace(DNNL_ARG_WORKSPACE,
                        indexMemory(instruction, kernel, descriptor.workspace_desc(), *index));
    }
    kernel.add<dnnl::pooling_forward>(descriptor, std::move(arguments));
  });
}

std::unique_ptr<Kernel> maxPoolBackward(const Instruction& instruction, PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  const Operand& index = instruction.input("index");
  const Operand& dx = instruction.output("dx");
  const Pooling pooling = windowPooling(instruction, dnnl::algorithm::pooling_max, dx, dy);
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    const auto descriptor = backward(kernel, pooling);
    kernel.add<dnnl::pooling_backward>(
        descriptor,
        {{DNNL_ARG_DIFF_DST, kernel.operand(pooling.output, dy.data)},
         {DNNL_ARG_WORKSPACE, indexMemory(instruction, kernel, descriptor.workspace_desc(), index)},
         {DNNL_ARG_DIFF_SRC, kernel.operand(pooling.input, dx.data)}});
  });
}

std::unique_ptr<Kernel> average(const Instruction& instruction, PrepareContext& context,
                                const Pooling& pooling) {
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    kernel.add<dnnl::pooling_forward>(
        forward(kernel, pooling, dnnl::prop_kind::forward_training),
        {{DNNL_ARG_SRC, kernel.operand(pooling.input, instruction.input("x").data)},
         {DNNL_ARG_DST, kernel.operand(pooling.output, instruction.output("y").data)}});
  });
}

std::unique_ptr<Kernel> averageBackward(const Instruction& instruction, PrepareContext& context,
                                        const Pooling& pooling) {
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    kernel.add<dnnl::pooling_backward>(
        backward(kernel, pooling),
        {{DNNL_ARG_DIFF_DST, kernel.operand(pooling.output, instruction.input("dy").data)},
         {DNNL_ARG_DIFF_SRC, kernel.operand(pooling.input, instruction.output("dx").data)}});
  });
}

// Zeros of the padding count, as in PyTorch.
constexpr dnnl::algorithm averageAlgorithm = dnnl::algorithm::pooling_avg_include_padding;

std::unique_ptr<Kernel> averagePool(const Instruction& instruction, PrepareContext& context) {
  return average(instruction, context,
                 windowPooling(instruction, averageAlgorithm, instruction.input("x"),
                               instruction.output("y")));
}

std::unique_ptr<Kernel> averagePoolBackward(const Instruction& instruction,
                                            PrepareContext& context) {
  return averageBackward(instruction, context,
                         windowPooling(instruction, averageAlgorithm, instruction.output("dx"),
                                       instruction.input("dy")));
}

// x[N,H,W,C] to y[N,C].
Pooling wholeImages(const Operand& x) {
  const Dims window{x.shape[1], x.shape[2]};
  return {nhwc(x.shape, x.type),
          nhwc({x.shape[0], 1, 1, x.shape[3]}, x.type),
          dnnl::algorithm::pooling_avg_exclude_padding,
          {1, 1},
          window,
          {0, 0}};
}

std::unique_ptr<Kernel> globalAveragePool(const Instruction& instruction, PrepareContext& context) {
  return average(instruction, context, wholeImages(instruction.input("x")));
}

std::unique_ptr<Kernel> globalAveragePoolBackward(const Instruction& instruction,
                                                  PrepareContext& context) {
  return averageBackward(instruction, context, wholeImages(instruction.output("dx")));
}

const RegisteredKernels kernels(kernelRegistry(), []() -> KernelTable {
  return {
      {"average-pool", {"x:T[N,H,W,C] -> y:T[N,P,Q,C]", averagePool}},
      {"average-pool-backward", {"dy:T[N,P,Q,C] -> dx:T[N,H,W,C]", averagePoolBackward}},
      {"global-average-pool", {"x:T[N,H,W,C] -> y:T[N,C]", globalAveragePool}},
      {"global-average-pool-backward", {"dy:T[N,C] -> dx:T[N,H,W,C]", globalAveragePoolBackward}},
      {"max-pool", {"x:T[N,H,W,C] -> y:T[N,P,Q,C] index?:u8[N,P,Q,C]", maxPool}},
      {"max-pool-backward", {"dy:T[N,P,Q,C] index:u8[N,P,Q,C] -> dx:T[N,H,W,C]", maxPoolBackward}},
  };
});

}  // namespace

}  // namespace onehour::cpu
