// The one exception type of the native core: a code, the library that failed, what happened and
// what to try; the executor adds the program line.
#pragma once

#include <cstddef>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>

namespace onehour {

class Error : public std::runtime_error {
 public:
  // code: "ERR_PROGRAM", "ERR_SHAPE", "ERR_KERNEL", "ERR_MEMORY", "ERR_COLLECTIVE", "ERR_DEVICE", …
  // library: "onehour", "oneDNN", "CUDA", "cuDNN", "cuBLASLt", "NCCL"
  Error(std::string code, std::string library, const std::string& message)
      : std::runtime_error(message), code(std::move(code)), library(std::move(library)) {}

  std::string code;
  std::string library;
  int line = 0;      // of the program text, 0 when none
  std::string text;  // that line
};

// What to try where memory runs out, for the end of a message.
inline constexpr const char* kMemoryHint =
    "; try a smaller --batch, fewer --workers on this machine, or a device that nobody else uses "
    "(nvidia-smi shows who uses a GPU)";

// ERR_MEMORY: `bytes` were asked for, `available` could be had (nothing where that is unknown).
// `purpose` may say what for, as in " for the programs".
Error outOfMemory(const std::string& library, size_t bytes, std::optional<size_t> available,
                  const std::string& purpose = "");

// Any exception as an Error.
Error toError(const std::exception_ptr& thrown);

}  // namespace onehour
