// One interface to oneDNN 2.x and 3.x, and kernels made of oneDNN primitives.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../../core/backend.h"
#include "../../core/error.h"
#include "../runtime/parallel.h"
#include "../runtime/simd.h"

namespace onehour::cpu::onednn {

using Memory = dnnl::memory;
using Descriptor = dnnl::memory::desc;
using Tag = dnnl::memory::format_tag;
using Dims = dnnl::memory::dims;

inline dnnl::engine& engine() {
  static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

inline Memory::data_type typeOf(DataType type) {
  switch (type) {
    case DataType::bf16:
      return Memory::data_type::bf16;
    case DataType::f16:
      return Memory::data_type::f16;
    default:
      return Memory::data_type::f32;
  }
}

inline bool isLow(Memory::data_type type) {
  return type == Memory::data_type::bf16 || type == Memory::data_type::f16;
}

inline Memory::data_type typeOf(const Descriptor& descriptor) {
#if DNNL_VERSION_MAJOR >= 3
  return descriptor.get_data_type();
#else
  return descriptor.data_type();
#endif
}

// Scratchpads lie in the stream's workspace.
inline dnnl::primitive_attr attributes() {
  dnnl::primitive_attr result;
  result.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return result;
}

// The same tensor with elements of f32, where it has fewer bits an element.
inline Descriptor widened(const Descriptor& descriptor) {
#if DNNL_VERSION_MAJOR >= 3
  if (!isLow(typeOf(descriptor))) return descriptor;
  if (descriptor.get_format_kind() == Memory::format_kind::any) {
    return {descriptor.get_dims(), Memory::data_type::f32, Tag::any};
  }
  return {descriptor.get_dims(), Memory::data_type::f32, descriptor.get_strides()};
#else
  Descriptor result = descriptor;
  if (isLow(typeOf(descriptor))) result.data.data_type = dnnl_f32;
  return result;
#endif
}

template <typename Argument>
const Argument& widened(const Argument& argument) {
  return argument;
}

// Runs `body`, turning oneDNN's exceptions into errors that name the op and the status.
template <typename Body>
void guarded(const std::string& op, Body&& body) {
  try {
    body();
  } catch (const dnnl::error& error) {
    throw Error("ERR_KERNEL", "oneDNN",
                "[" + op + "] oneDNN failed with status " + std::to_string(error.status) + ": " +
                    error.what());
  }
}

// A few primitives in a row, over operands of the program and temporaries in the workspace. With
// `widens` they compute in f32 what is stored in bf16 or f16.
class PrimitiveKernel final : public Kernel {
 public:
  PrimitiveKernel(std::string op, bool widens) : op_(std::move(op)), widens_(widens) {}

  // A forward primitive's descriptor. Version 3 took the operation descriptors away and handed
  // their arguments to the primitive descriptors.
  template <typename Primitive, typename... Arguments>
  typename Primitive::primitive_desc describe(const Arguments&... arguments) const {
    if (widens_) return create<Primitive>(widened(arguments)...);
    return create<Primitive>(arguments...);
  }

  // A backward primitive's, which wants its forward's as a hint.
  template <typename Primitive, typename Hint, typename... Arguments>
  typename Primitive::primitive_desc describeBackward(const Hint& hint,
                                                      const Arguments&... arguments) const {
    if (widens_) return createBackward<Primitive>(hint, widened(arguments)...);
    return createBackward<Primitive>(hint, arguments...);
  }

  // An operand: memory whose address is known.
  Memory operand(const Descriptor& descriptor, void* data) const {
    return Memory(descriptor, engine(), data);
  }

  // Adds a primitive. Operands in another layout or type than it computes with are converted, to
  // bf16 or f16 with rounding to nearest even; `accumulate` adds the results to what is there.
  template <typename Primitive>
  void add(const typename Primitive::primitive_desc& descriptor,
           std::unordered_map<int, Memory> arguments, bool accumulate = false) {
    std::vector<std::pair<Memory, Memory>> results;  // computed and stored
    for (auto& [argument, memory] : arguments) {
      const Descriptor wanted = descriptor.query_md(dnnl::query::exec_arg_md, argument);
      const bool result = isResult(argument);
      if (memory.get_desc() == wanted && !(result && accumulate)) continue;
      const Memory computed = temporary(wanted);
      if (result) {
        results.emplace_back(computed, memory);
      } else {
        addCopy(memory, computed);
      }
      memory = computed;
    }
    addStep<Primitive>(descriptor, std::move(arguments));
    for (const auto& [computed, stored] : results) addCopy(computed, stored, accumulate);
  }

  void run(Stream& stream) override {
    guarded(op_, [&] {
      if (stream.workspace() != workspace_) {
        workspace_ = stream.workspace();
        for (auto& [memory, offset] : temporaries_) {
          memory.set_data_handle(static_cast<char*>(workspace_) + offset);
        }
      }
      for (const auto& step : steps_) step();
      stream_.wait();
    });
  }

  size_t workspaceBytes() const override { return bytes_; }

 private:
  template <typename Primitive, typename... Arguments>
  static typename Primitive::primitive_desc create(const Arguments&... arguments) {
#if DNNL_VERSION_MAJOR >= 3
    return typename Primitive::primitive_desc(engine(), arguments..., attributes());
#else
    return typename Primitive::primitive_desc(typename Primitive::desc(arguments...), attributes(),
                                              engine());
#endif
  }

  template <typename Primitive, typename Hint, typename... Arguments>
  static typename Primitive::primitive_desc createBackward(const Hint& hint,
                                                           const Arguments&... arguments) {
#if DNNL_VERSION_MAJOR >= 3
    return typename Primitive::primitive_desc(engine(), arguments..., hint, attributes());
#else
    return typename Primitive::primitive_desc(typename Primitive::desc(arguments...), attributes(),
                                              engine(), hint);
#endif
  }

  static bool isResult(int argument) {
    return argument == DNNL_ARG_DST || argument == DNNL_ARG_DIFF_SRC ||
           argument == DNNL_ARG_DIFF_WEIGHTS || argument == DNNL_ARG_DIFF_BIAS;
  }

  // Memory in the workspace, for as long as this kernel runs.
  Memory temporary(const Descriptor& descriptor) {
    Memory memory(descriptor, engine(), DNNL_MEMORY_NONE);
    temporaries_.emplace_back(memory, bytes_);
    bytes_ += (descriptor.get_size() + 63) / 64 * 64;
    return memory;
  }

  template <typename Primitive>
  void addStep(const typename Primitive::primitive_desc& descriptor,
               std::unordered_map<int, Memory> arguments) {
    if (descriptor.scratchpad_desc().get_size() > 0) {
      arguments.emplace(DNNL_ARG_SCRATCHPAD, temporary(descriptor.scratchpad_desc()));
    }
    steps_.emplace_back(
        [this, primitive = Primitive(descriptor), arguments = std::move(arguments)] {
          primitive.execute(stream_, arguments);
        });
  }

  // Copies between layouts and types; `accumulate` adds to what is there. Where oneDNN does not
  // compute in bf16, its conversions of it took nine tenths of a step.
  void addCopy(const Memory& from, const Memory& to, bool accumulate = false) {
    if (!widens_ || from.get_desc() == to.get_desc()) return addReorder(from, to, accumulate);
    const Descriptor source = widened(from.get_desc()), target = widened(to.get_desc());
    if (source != from.get_desc()) {
      const Memory wide = source == target ? to : temporary(source);
      withLow(from, [&](auto low) { addConversion<decltype(low), float>(from, wide); });
      if (source != target) addReorder(wide, to);
    } else if (target != to.get_desc()) {
      const Memory wide = source == target ? from : temporary(target);
      if (source != target) addReorder(from, wide);
      withLow(to, [&](auto low) { addConversion<float, decltype(low)>(wide, to); });
    } else {
      addReorder(from, to, accumulate);
    }
  }

  // Calls `body(T{})` with the type of memory that holds bf16 or f16.
  template <typename Body>
  static void withLow(const Memory& memory, Body&& body) {
    if (typeOf(memory.get_desc()) == Memory::data_type::f16) return body(f16{});
    body(bf16{});
  }

  // Between the types, in the same layout without gaps.
  template <typename From, typename To>
  void addConversion(const Memory& from, const Memory& to) {
    const auto count = static_cast<int64_t>(from.get_desc().get_size() / sizeof(From));
    steps_.emplace_back([=] {
      const auto* source = static_cast<const From*>(from.get_data_handle());
      auto* target = static_cast<To*>(to.get_data_handle());
      parallelElements(count, [=](int64_t begin, int64_t end) {
        simd([=]() ONEHOUR_INLINE {
          for (int64_t i = begin; i < end; ++i) target[i] = storeAny<To>(load(source[i]));
        });
      });
    });
  }

  // The same by oneDNN alone.
  void addReorder(const Memory& from, const Memory& to, bool accumulate = false) {
    dnnl::primitive_attr attribute = attributes();
    if (accumulate) {
      dnnl::post_ops sum;
      sum.append_sum(1.0f);
      attribute.set_post_ops(sum);
    }
    addStep<dnnl::reorder>(dnnl::reorder::primitive_desc(from, to, attribute),
                           {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
  }

  const std::string op_;
  const bool widens_;
  dnnl::stream stream_{engine()};
  std::vector<std::function<void()>> steps_;
  std::vector<std::pair<Memory, size_t>> temporaries_;  // and their offsets in the workspace
  size_t bytes_ = 0;
  void* workspace_ = nullptr;
};

// Prepares a kernel: `build(kernel)` adds its primitives. Where oneDNN has none in bf16, as on x86
// without AVX-512, they compute in f32 and round the results once, as those in bf16 do; in f16 they
// always do that. A primitive is laid out for the number of threads that OpenMP reports when it is
// created, so that must be its stream's.
template <typename Build>
std::unique_ptr<Kernel> prepare(const Instruction& instruction, PrepareContext& context,
                                const Build& build) {
  struct Threads {
    const int before = omp_get_max_threads();
    explicit Threads(int count) { omp_set_num_threads(count); }
    ~Threads() { omp_set_num_threads(before); }
  };
  const Threads threads(instruction.stream == "compute" ? context.backend.properties().threads : 1);
  const auto built = [&](bool widens) {
    auto kernel = std::make_unique<PrimitiveKernel>(instruction.op, widens);
    build(*kernel);
    return kernel;
  };
  const auto hasHalf = [](const std::vector<Operand>& operands) {
    return std::any_of(operands.begin(), operands.end(),
                       [](const Operand& operand) { return operand.type == DataType::f16; });
  };
  const bool isHalf = hasHalf(instruction.inputs) || hasHalf(instruction.outputs);
  std::unique_ptr<Kernel> kernel;
  guarded(instruction.op, [&] {
    try {
      kernel = built(isHalf);
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented) throw;
      kernel = built(true);
    }
  });
  return kernel;
}

}  // namespace onehour::cpu::onednn
