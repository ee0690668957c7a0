// The one exception type of the native core: a code, the library that failed, what happened and
// what to try; the executor adds the program line.
#pragma once

#include <exception>
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

// Whatever was thrown, as an Error.
Error toError(const std::exception_ptr& thrown);

}  // namespace onehour
