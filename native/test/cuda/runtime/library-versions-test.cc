// Tests that cuDNN and cuBLASLt of a version that does not fit are refused before they are used:
// the libraries are the real ones, only their version numbers are made up.
#include <cublasLt.h>
#include <cudnn.h>

#include <string>

#include "../../../cuda/cudnn/cudnn.h"
#include "../../../cuda/runtime/cublas.h"
#include "../../../cuda/runtime/library-version.h"
#include "../../check.h"

namespace {
size_t toldByCudnn = CUDNN_VERSION;
size_t toldByCublas = CUBLAS_VERSION;
}  // namespace

// Found before the libraries' own.
extern "C" size_t cudnnGetVersion() { return toldByCudnn; }
extern "C" size_t cublasLtGetVersion() { return toldByCublas; }

namespace onehour::test {
namespace {

using namespace onehour::cuda;

template <typename Body>
void expectRefusal(const std::string& library, size_t told, const Body& body) {
  const Error error = thrown(body);
  CHECK(error.code == "ERR_DEVICE" && error.library == library);
  CHECK(contains(error.what(), "the " + library + " that was loaded is " + versionName(told)));
  CHECK(contains(error.what(), "LD_LIBRARY_PATH"));
}

void comparesVersions() {
  CHECK(versionName(92400) == "9.24.0" && versionName(130101) == "13.1.1");
  checkVersion("X", 92400, 92400);
  checkVersion("X", 92400, 92501);
  for (const size_t other : {92399, 102400, 82400, 0}) {
    expectRefusal("X", other, [&] { checkVersion("X", 92400, other); });
  }
}

void refusesCudnn() {
  for (const size_t told : {size_t{CUDNN_VERSION} - 1, size_t{CUDNN_VERSION} + 10000}) {
    toldByCudnn = told;
    expectRefusal("cuDNN", told, [] { Target{"{}"}; });
    expectRefusal("cuDNN", told, [] { Target::current(); });
  }
}

void refusesCublas() {
  for (const size_t told : {size_t{CUBLAS_VERSION} - 1, size_t{CUBLAS_VERSION} + 10000}) {
    toldByCublas = told;
    expectRefusal("cuBLASLt", told, [] { cublasHandle(0); });
  }
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({{"the same major version, not older, is wanted", comparesVersions},
              {"another cuDNN is refused", refusesCudnn},
              {"another cuBLASLt is refused", refusesCublas}});
}
