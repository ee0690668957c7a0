// Matrix products by cuBLASLt.
#include "cublas.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

#include "library-version.h"

namespace onehour::cuda {
namespace {

// The workspace that is offered: as much as split sums of this project's products can use.
constexpr uint64_t mostWorkspaceBytes = uint64_t{32} << 20;

const char* codeFor(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "ERR_MEMORY";
    case CUBLAS_STATUS_NOT_INITIALIZED:
    case CUBLAS_STATUS_ARCH_MISMATCH:
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "ERR_DEVICE";
    default:
      return "ERR_KERNEL";
  }
}

const char* hintFor(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_ALLOC_FAILED:
      return kMemoryHint;
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "; the GPU has no memory left for the library, or cuBLASLt is newer than the driver";
    default:
      return "";
  }
}

cudaDataType_t typeOf(DataType type) {
  switch (type) {
    case DataType::bf16:
      return CUDA_R_16BF;
    case DataType::f16:
      return CUDA_R_16F;
    default:
      return CUDA_R_32F;
  }
}

MatrixLayout layoutOf(const Matrix& matrix) {
  MatrixLayout layout;
  ONEHOUR_CUBLAS(cublasLtMatrixLayoutCreate(layout.out(), typeOf(matrix.type),
                                            static_cast<uint64_t>(matrix.rows),
                                            static_cast<uint64_t>(matrix.columns), matrix.rows));
  return layout;
}

template <typename T>
void set(const ProductDescriptor& descriptor, cublasLtMatmulDescAttributes_t attribute, T value) {
  ONEHOUR_CUBLAS(
      cublasLtMatmulDescSetAttribute(descriptor.get(), attribute, &value, sizeof(value)));
}

template <typename T>
void set(const ProductPreference& preference, cublasLtMatmulPreferenceAttributes_t attribute,
         T value) {
  ONEHOUR_CUBLAS(
      cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof(value)));
}

// The largest power of two that divides the address, as far as cuBLASLt asks for it.
uint32_t alignmentOf(const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  return static_cast<uint32_t>(std::min<uintptr_t>(address & (~address + 1), 256));
}

using DeviceMemory = Owned<void*, cudaFree>;

size_t bytesOf(const Matrix& matrix) {
  return static_cast<size_t>(matrix.rows * matrix.columns) * onehour::bytesOf(matrix.type);
}

std::string describe(const Matrix& matrix) {
  return std::string(nameOf(matrix.type)) + "[" + std::to_string(matrix.rows) + "," +
         std::to_string(matrix.columns) + "]";
}

}  // namespace

void throwCublasError(cublasStatus_t status, const char* call) {
  throw Error(codeFor(status), "cuBLASLt",
              std::string(call) + " failed with " + cublasLtGetStatusName(status) + ": " +
                  cublasLtGetStatusString(status) + hintFor(status));
}

std::shared_ptr<const CublasHandle> cublasHandle(int ordinal) {
  static std::mutex mutex;
  static std::weak_ptr<const CublasHandle> opened;
  static int openedFor = -1;
  const std::lock_guard lock(mutex);
  if (auto handle = opened.lock(); handle != nullptr && openedFor == ordinal) return handle;
  checkVersion("cuBLASLt", CUBLAS_VERSION, cublasLtGetVersion());
  ONEHOUR_CUDA(cudaSetDevice(ordinal));
  auto handle = std::make_shared<CublasHandle>();
  ONEHOUR_CUBLAS(cublasLtCreate(handle->out()));
  opened = handle;
  openedFor = ordinal;
  return handle;
}

Product::Product(std::shared_ptr<const CublasHandle> handle, const Matrix& a, const Matrix& b,
                 const Matrix& d, const ProductOptions& options)
    : handle_(std::move(handle)),
      layoutA_(layoutOf(a)),
      layoutB_(layoutOf(b)),
      layoutD_(layoutOf(d)),
      a_(a.data),
      b_(b.data),
      d_(const_cast<void*>(d.data)),
      beta_(options.accumulate ? 1.0f : 0.0f) {
  const bool tf32 = options.tf32 && a.type == DataType::f32;
  ONEHOUR_CUBLAS(cublasLtMatmulDescCreate(
      descriptor_.out(), tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F));
  set(descriptor_, CUBLASLT_MATMUL_DESC_TRANSA,
      static_cast<int32_t>(options.transposeA ? CUBLAS_OP_T : CUBLAS_OP_N));
  set(descriptor_, CUBLASLT_MATMUL_DESC_TRANSB,
      static_cast<int32_t>(options.transposeB ? CUBLAS_OP_T : CUBLAS_OP_N));
  if (options.bias != nullptr) {
    // The bias has d's type, for factors of any type.
    set(descriptor_, CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<uint32_t>(CUBLASLT_EPILOGUE_BIAS));
    set(descriptor_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(options.bias));
    set(descriptor_, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(CUDA_R_32F));
  }

  ProductPreference preference;
  ONEHOUR_CUBLAS(cublasLtMatmulPreferenceCreate(preference.out()));
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, mostWorkspaceBytes);
  // Sums that are split in place would be ordered by counters in a workspace that other kernels
  // write to.
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE |
                            CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignmentOf(a_));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignmentOf(b_));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignmentOf(d_));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignmentOf(d_));

  std::array<cublasLtMatmulHeuristicResult_t, 8> found{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle_->get(), descriptor_.get(), layoutA_.get(), layoutB_.get(), layoutD_.get(),
      layoutD_.get(), preference.get(), static_cast<int>(found.size()), found.data(), &count);
  if (status != CUBLAS_STATUS_NOT_SUPPORTED) check(status, "cublasLtMatmulAlgoGetHeuristic");
  const auto best = std::find_if(found.begin(), found.begin() + count, [](const auto& result) {
    return result.state == CUBLAS_STATUS_SUCCESS;
  });
  if (best == found.begin() + count) {
    throw Error("ERR_KERNEL", "cuBLASLt",
                "version " + versionName(cublasLtGetVersion()) +
                    " has no algorithm for a product of " + describe(a) + " and " + describe(b) +
                    " to " + describe(d) + "; try a newer version");
  }
  algorithm_ = best->algo;
  workspaceBytes_ = best->workspaceSize;
  runOnce(a, b, d);
}

// Runs once, since a graph cannot record what cuBLASLt sets up and loads at a first run. On memory
// of its own: d may hold gradients.
void Product::runOnce(const Matrix& a, const Matrix& b, const Matrix& d) const {
  DeviceMemory memory[4];
  const size_t bytes[4] = {bytesOf(a), bytesOf(b), bytesOf(d), workspaceBytes_};
  for (int i = 0; i < 4; ++i) {
    if (bytes[i] > 0) ONEHOUR_CUDA(cudaMalloc(memory[i].out(), bytes[i]));
  }
  const CudaStream stream(0);
  enqueue(memory[0].get(), memory[1].get(), memory[2].get(), memory[3].get(), stream.handle());
  ONEHOUR_CUDA(cudaStreamSynchronize(stream.handle()));
}

void Product::run(Stream& stream) const {
  enqueue(a_, b_, d_, stream.workspace(), handleOf(stream));
}

void Product::enqueue(const void* a, const void* b, void* d, void* workspace,
                      cudaStream_t stream) const {
  const float alpha = 1;
  ONEHOUR_CUBLAS(cublasLtMatmul(handle_->get(), descriptor_.get(), &alpha, a, layoutA_.get(), b,
                                layoutB_.get(), &beta_, d, layoutD_.get(), d, layoutD_.get(),
                                &algorithm_, workspace, workspaceBytes_, stream));
}

}  // namespace onehour::cuda
