// Tests of the kernels that follow a convolution's plan, on the emulated GPU: a filter gradient
// into its fp32 place, sums to statistics.
#include "../../../cuda/ops/conv-finish.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "../../../cuda/tiling/conv-tiling.h"
#include "../../check.h"

namespace onehour::test {
namespace {

void coversEveryElementOnce() {
  for (const int64_t lanes : {4, 8}) {
    for (const int64_t count : {1, 3, 4, 8, 9, 1023, 2048, 2049, 2053, 1 << 20}) {
      int64_t next = 0;
      for (int64_t block = 0; block < cuda::blocksFor(count, lanes); ++block) {
        for (int64_t thread = 0; thread < cuda::convThreads; ++thread) {
          const auto [begin, end] = cuda::elementsOf(block, thread, lanes, count);
          CHECK(begin == next && end >= begin && end - begin <= lanes);
          next = end;
        }
      }
      CHECK(next == count);
    }
  }
  const int64_t huge = (int64_t{1} << 33) + 5;
  const auto last = cuda::elementsOf(cuda::blocksFor(huge, 8) - 1, 0, 8, huge);
  CHECK(last.begin == int64_t{1} << 33 && last.end == huge);
}

// Memory of the emulated device that ends with a value which must stay.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : count_(values.size()) {
    ONEHOUR_CUDA(cudaMalloc(memory_.out(), (count_ + 1) * sizeof(T)));
    std::memcpy(data(), values.data(), count_ * sizeof(T));
    std::memset(data() + count_, 0x5a, sizeof(T));
  }
  T* data() const { return static_cast<T*>(memory_.get()); }
  bool keptItsEnd() const {
    unsigned char expected[sizeof(T)];
    std::memset(expected, 0x5a, sizeof(T));
    return std::memcmp(data() + count_, expected, sizeof(T)) == 0;
  }

 private:
  size_t count_;
  cuda::Owned<void*, cudaFree> memory_;
};

// Eighths, which bf16 holds exactly.
float valueOf(size_t i) { return static_cast<float>(static_cast<int>(i % 37) - 18) / 8; }

template <typename Stored, typename Convert>
void finishesGradients(DataType type, Convert convert) {
  cuda::CudaStream stream(0);
  for (const bool accumulate : {false, true}) {
    for (const size_t count : {1u, 5u, 8u, 144u, 2047u, 2049u, 4608u}) {
      std::vector<Stored> computed;
      for (size_t i = 0; i < count; ++i) computed.push_back(convert(valueOf(i)));
      const float before = accumulate ? 0.5f : std::numeric_limits<float>::quiet_NaN();
      const DeviceArray<Stored> from(computed);
      const DeviceArray<float> to(std::vector<float>(count, before));
      cuda::filterGradientFinish(type, to.data(), static_cast<int64_t>(count), accumulate)(
          stream, from.data());
      ONEHOUR_CUDA(cudaStreamSynchronize(stream.handle()));
      bool right = to.keptItsEnd();
      for (size_t i = 0; i < count; ++i) {
        right = right && to.data()[i] == valueOf(i) + (accumulate ? 0.5f : 0.0f);
      }
      CHECK(right);
    }
  }
}

void finishesF32Gradients() {
  finishesGradients<float>(DataType::f32, [](float value) { return value; });
}

void finishesBf16Gradients() {
  finishesGradients<uint16_t>(DataType::bf16, [](float value) {
    return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
  });
}

void turnsSumsIntoStatistics() {
  cuda::CudaStream stream(0);
  const int64_t rows = 300;
  for (const int64_t channels : {1, 3, 64, 257}) {
    std::vector<float> sums, squares;
    for (int64_t c = 0; c < channels; ++c) {
      const float mean = valueOf(static_cast<size_t>(c));
      sums.push_back(mean * rows);
      squares.push_back((mean * mean + 2) * rows);  // a variance of 2
    }
    squares[0] -= 3 * rows;  // less than the mean's own square: rounding may do so, if never so far
    const DeviceArray<float> from(sums), fromSquares(squares);
    const DeviceArray<float> to(std::vector<float>(static_cast<size_t>(2 * channels + 1)));
    cuda::statisticsFinish(channels, rows, to.data(), {})(stream, from.data(), fromSquares.data());
    ONEHOUR_CUDA(cudaStreamSynchronize(stream.handle()));
    CHECK(std::count(from.data(), from.data() + channels, 0) == channels && from.keptItsEnd());
    CHECK(std::count(fromSquares.data(), fromSquares.data() + channels, 0) == channels &&
          fromSquares.keptItsEnd());
    CHECK(to.keptItsEnd() && to.data()[2 * channels] == rows);
    for (int64_t c = 0; c < channels; ++c) {
      CHECK(std::abs(to.data()[c] - valueOf(static_cast<size_t>(c))) < 1e-6f);
      const float m2 = c == 0 ? 0.0f : 2.0f * rows;
      CHECK(std::abs(to.data()[channels + c] - m2) <= 1e-5f * m2);
    }
  }
}

// As batch-norm-finalize does, of a group of one.
void finalizesStatistics() {
  cuda::CudaStream stream(0);
  const DeviceArray<float> sums({40.0f, -8.0f}), squares({200.0f, 8.0f}),
      statistics({0, 0, 0, 0, 0});
  const DeviceArray<float> mean({0, 0}), inverseStd({0, 0}), running({1, 1}), variance({2, 2});
  BatchNormFinalize finalize;
  finalize.mean = mean.data();
  finalize.inverseStd = inverseStd.data();
  finalize.oldMean = finalize.newMean = running.data();
  finalize.oldVariance = finalize.newVariance = variance.data();
  finalize.decay = 0.75;
  finalize.gain = 0.25;
  cuda::statisticsFinish(2, 10, statistics.data(), finalize)(stream, sums.data(), squares.data());
  ONEHOUR_CUDA(cudaStreamSynchronize(stream.handle()));
  CHECK(mean.data()[0] == 4 && mean.data()[1] == -0.8f);
  CHECK(inverseStd.data()[0] == 0.5f);  // M2 200 − 10·4² = 40 of 10 values
  CHECK(running.data()[0] == 1.75f);
  CHECK(std::abs(variance.data()[0] - (1.5f + 0.25f * 40 / 9)) < 1e-6f);
  for (const auto* array : {&mean, &inverseStd, &running, &variance}) CHECK(array->keptItsEnd());
}

}  // namespace
}  // namespace onehour::test

int main() {
  using namespace onehour::test;
  return run({
      {"the kernels cover every element once", coversEveryElementOnce},
      {"a filter gradient in f32 is added or put", finishesF32Gradients},
      {"a filter gradient in bf16 is added or put", finishesBf16Gradients},
      {"sums become mean, M2 and count, and zero", turnsSumsIntoStatistics},
      {"statistics are finalized", finalizesStatistics},
  });
}
