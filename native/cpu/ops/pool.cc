// Maximum and global average pooling, by oneDNN.
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

Pooling maxPooling(const Instruction& instruction, const Operand& x, const Operand& y) {
  const MaxPooling pooling = maxPoolingOf(instruction, x, y);
  return {nhwc(pooling.x, pooling.type),
          nhwc(pooling.y, pooling.type),
          dnnl::algorithm::pooling_max,
          {pooling.stride.height, pooling.stride.width},
          {pooling.window.height, pooling.window.width},
          {pooling.padding.height, pooling.padding.width}};
}

// oneDNN's own record of the maxima, kept in the program's index tensor: one byte an output.
Memory indexMemory(const Instruction& instruction, const PrimitiveKernel& kernel,
                   const Descriptor& wanted, const Operand& index, const Operand& y) {
  expect(instruction, index, DataType::u8, y.shape);
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
  const Pooling pooling = maxPooling(instruction, x, y);
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    const auto descriptor = forward(
        kernel, pooling,
        index == nullptr ? dnnl::prop_kind::forward_inference : dnnl::prop_kind::forward_training);
    std::unordered_map<int, Memory> arguments{
        {DNNL_ARG_SRC, kernel.operand(pooling.input, x.data)},
        {DNNL_ARG_DST, kernel.operand(pooling.output, y.data)}};
    if (index != nullptr) {
      arguments.emplace(DNNL_ARG_WORKSPACE,
                        indexMemory(instruction, kernel, descriptor.workspace_desc(), *index, y));
    }
    kernel.add<dnnl::pooling_forward>(descriptor, std::move(arguments));
  });
}

std::unique_ptr<Kernel> maxPoolBackward(const Instruction& instruction, PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  const Operand& index = instruction.input("index");
  const Operand& dx = instruction.output("dx");
  const Pooling pooling = maxPooling(instruction, dx, dy);
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    const auto descriptor = backward(kernel, pooling);
    kernel.add<dnnl::pooling_backward>(
        descriptor, {{DNNL_ARG_DIFF_DST, kernel.operand(pooling.output, dy.data)},
                     {DNNL_ARG_WORKSPACE,
                      indexMemory(instruction, kernel, descriptor.workspace_desc(), index, dy)},
                     {DNNL_ARG_DIFF_SRC, kernel.operand(pooling.input, dx.data)}});
  });
}

// x[N,H,W,C] to y[N,C].
Pooling averagePooling(const Instruction& instruction, const Operand& x, const Operand& y) {
  expectAverage(instruction, x, y);
  const Dims window{x.shape[1], x.shape[2]};
  return {nhwc(x.shape, x.type),
          nhwc({x.shape[0], 1, 1, x.shape[3]}, x.type),
          dnnl::algorithm::pooling_avg_exclude_padding,
          {1, 1},
          window,
          {0, 0}};
}

std::unique_ptr<Kernel> globalAveragePool(const Instruction& instruction, PrepareContext& context) {
  const Operand& x = instruction.input("x");
  const Operand& y = instruction.output("y");
  const Pooling pooling = averagePooling(instruction, x, y);
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    kernel.add<dnnl::pooling_forward>(forward(kernel, pooling, dnnl::prop_kind::forward_training),
                                      {{DNNL_ARG_SRC, kernel.operand(pooling.input, x.data)},
                                       {DNNL_ARG_DST, kernel.operand(pooling.output, y.data)}});
  });
}

std::unique_ptr<Kernel> globalAveragePoolBackward(const Instruction& instruction,
                                                  PrepareContext& context) {
  const Operand& dy = instruction.input("dy");
  const Operand& dx = instruction.output("dx");
  const Pooling pooling = averagePooling(instruction, dx, dy);
  return prepare(instruction, context, [&](PrimitiveKernel& kernel) {
    kernel.add<dnnl::pooling_backward>(
        backward(kernel, pooling), {{DNNL_ARG_DIFF_DST, kernel.operand(pooling.output, dy.data)},
                                    {DNNL_ARG_DIFF_SRC, kernel.operand(pooling.input, dx.data)}});
  });
}

}  // namespace

const KernelTable& poolKernels() {
  static const KernelTable table{
      {"global-average-pool", globalAveragePool},
      {"global-average-pool-backward", globalAveragePoolBackward},
      {"max-pool", maxPool},
      {"max-pool-backward", maxPoolBackward},
  };
  return table;
}

}  // namespace onehour::cpu
