// A Gloo context whose messages go over proven connections (links.h), in place of Gloo's own ports.
#pragma once

#include <gloo/context.h>

#include <chrono>

#include "links.h"

namespace onehour::cpu {

// Gloo's collectives between the ranks that `links` connects. One operation at a time; the thread
// that calls it also moves the bytes. Its waits end with std::runtime_error that names a rank, and
// nothing may follow then.
class GlooContext final : public gloo::Context {
 public:
  GlooContext(int rank, int size, const Links& links, std::chrono::milliseconds timeout);
};

}  // namespace onehour::cpu
