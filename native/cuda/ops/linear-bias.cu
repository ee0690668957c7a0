// The gradient of a fully connected layer's bias.
#include "../runtime/cuda.h"
#include "../tiling/column-sum.cuh"
#include "kernels.h"
#include "linear.h"

namespace onehour::cuda {
namespace {

template <typename T, int lanes>
__global__ void __launch_bounds__(ColumnTiling::threads)
    biasGradientKernel(ColumnTiling tiling, const T* dy, float* db, bool accumulate) {
  sumColumns<lanes>(tiling, dy, [&](int64_t, int64_t column, float sum) {
    db[column] = accumulate ? db[column] + sum : sum;
  });
}

}  // namespace

std::unique_ptr<Kernel> prepareBiasGradient(const Operand& dy, const Operand& db, bool accumulate,
                                            const PrepareContext& context) {
  return withLanes(dy.type, {dy.shape[1]}, {dy.data}, [&](auto tag, auto lanes) {
    using T = decltype(tag);
    const ColumnTiling tiling = columnTiling(1, dy.shape[0], dy.shape[1], lanes);
    return makeKernel([=, kernel = LoadedKernel(biasGradientKernel<T, decltype(lanes)::value>),
                       grid = gridFor(tiling.blocks(), traitsOf(context)), dy = dy.as<T>(),
                       db = db.as<float>()](Stream& stream) {
      launch(kernel, grid, blockOf(tiling), stream, tiling, dy, db, accumulate);
    });
  });
}

}  // namespace onehour::cuda
