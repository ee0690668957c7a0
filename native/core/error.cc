#include "error.h"

#include <new>

namespace onehour {
namespace {

std::string megabytes(size_t bytes) { return std::to_string((bytes + 999'999) / 1'000'000); }

}  // namespace

Error outOfMemory(const std::string& library, size_t bytes, std::optional<size_t> available,
                  const std::string& purpose) {
  return Error(
      "ERR_MEMORY", library,
      "cannot allocate " + megabytes(bytes) + " MB" + purpose + ": " +
          (available ? megabytes(*available) + " MB are available" : "the system refused") +
          kMemoryHint);
}

Error toError(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error("ERR_MEMORY", "onehour", std::string("out of memory") + kMemoryHint);
  } catch (const std::exception& error) {
    return Error("ERR_NATIVE", "onehour", error.what());
  } catch (...) {
    return Error("ERR_NATIVE", "onehour", "an unknown exception");
  }
}

}  // namespace onehour
