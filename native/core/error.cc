#include "error.h"

#include <new>

namespace onehour {

Error toError(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error("ERR_MEMORY", "onehour", "out of memory; try a smaller batch");
  } catch (const std::exception& error) {
    return Error("ERR_NATIVE", "onehour", error.what());
  } catch (...) {
    return Error("ERR_NATIVE", "onehour", "an unknown exception");
  }
}

}  // namespace onehour
