// Run-time choices turned into compile-time ones.
#pragma once

#include <type_traits>

namespace onehour {

// Calls `body` with std::true_type or std::false_type.
template <typename Body>
decltype(auto) withFlag(bool flag, Body&& body) {
  return flag ? body(std::true_type{}) : body(std::false_type{});
}

}  // namespace onehour
