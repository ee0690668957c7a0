// Checked calls of cuBLASLt, whose errors name the call, and handles that free themselves.
#pragma once

#include <cublasLt.h>

#include <memory>

#include "cuda.h"

namespace onehour::cuda {

// Throws an Error that names the call and cuBLASLt's own name of the failure.
[[noreturn]] void throwCublasError(cublasStatus_t status, const char* call);

inline void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) throwCublasError(status, call);
}

// Checks a call of cuBLASLt.
#define ONEHOUR_CUBLAS(call) ::onehour::cuda::check((call), #call)

using CublasHandle = Owned<cublasLtHandle_t, cublasLtDestroy>;
using MatrixLayout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using ProductDescriptor = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using ProductPreference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

// The library's handle for GPU `ordinal`, opened for the first kernel that needs it and closed
// after the last.
std::shared_ptr<const CublasHandle> cublasHandle(int ordinal);

// A matrix in cuBLAS's order: column after column.
struct Matrix {
  const void* data;
  DataType type;  // f32, bf16 or f16
  int64_t rows, columns;
};

struct ProductOptions {
  bool transposeA = false;
  bool transposeB = false;
  bool accumulate = false;      // adds to d
  bool tf32 = false;            // f32 factors may be rounded to tf32; they are exact otherwise
  const float* bias = nullptr;  // added to each column of d, which is f32 then
};

// d = a·b, with its algorithm chosen and run once while it is prepared; sums are fp32.
class Product {
 public:
  Product(std::shared_ptr<const CublasHandle> handle, const Matrix& a, const Matrix& b,
          const Matrix& d, const ProductOptions& options);

  void run(Stream& stream) const;
  size_t workspaceBytes() const { return workspaceBytes_; }

 private:
  void runOnce(const Matrix& a, const Matrix& b, const Matrix& d) const;
  void enqueue(const void* a, const void* b, void* d, void* workspace, cudaStream_t stream) const;

  std::shared_ptr<const CublasHandle> handle_;
  ProductDescriptor descriptor_;
  MatrixLayout layoutA_, layoutB_, layoutD_;
  const void* a_;
  const void* b_;
  void* d_;
  float beta_;
  cublasLtMatmulAlgo_t algorithm_{};
  size_t workspaceBytes_ = 0;
};

}  // namespace onehour::cuda
