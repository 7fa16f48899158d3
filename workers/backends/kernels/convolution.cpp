// A convolution over two dimensions with a weight of few bits, as a function that an AOTInductor package calls: see
// `product.h`.
//
// 1. Each sample is rounded to int8 with one range for all of it, into a plane with the channels last and the padding
//    around it. Padding is the code of zero, so it adds nothing.
// 2. The patches of some positions at a time are copied out of the plane: the rows of a product with the weight. Its
//    groups are neighbours in the order (channels, kernel); within a group the order is (kernel, channels), in which
//    neighbours lie side by side in the plane, too.
// 3. The result has its channels last, as the product writes them.
#include "products.h"

#include <cstring>
#include <memory>
#include <vector>

namespace burnish {

constexpr int64_t FEWEST_ROWS = 16;  // of a product, so that reading the weight pays
constexpr int64_t COPIED = 16;       // bytes that are copied at a time, whether needed or not

struct Axis {
  int64_t size, kernel, stride, before, after, dilation;

  int64_t padded() const { return before + size + after; }
  int64_t positions() const { return (padded() - (kernel - 1) * dilation - 1) / stride + 1; }
};

// The codes of all samples, each with its padding and its channels last.
class Planes {
 public:
  Planes(const float* x, bool channels_last, int64_t samples, int64_t channels, const Axis& high, const Axis& wide)
      : column_(channels),
        row_(wide.padded() * channels),
        size_(high.padded() * row_),
        codes_(new int8_t[samples * size_ + COPIED]),
        ranges_(samples) {
    const int64_t line = wide.size * channels, numbers = high.size * line;
    in_parallel(samples, 1, [&](int64_t begin, int64_t end) {
      for (int64_t sample = begin; sample < end; sample++) {
        ranges_[sample] = range_of(x + sample * numbers, numbers);
        if (size_ > numbers) std::memset(codes_.get() + sample * size_, static_cast<int>(ranges_[sample].zero), size_);
      }
    });
    in_parallel(samples * high.size, std::max<int64_t>(1, GRAIN / 8 / line), [&](int64_t begin, int64_t end) {
      std::vector<int8_t> codes(wide.size);
      for (int64_t number = begin; number < end; number++) {
        const int64_t sample = number / high.size, row = number % high.size;
        const Range& range = ranges_[sample];
        int8_t* to = codes_.get() + sample * size_ + (row + high.before) * row_ + wide.before * column_;
        if (channels_last) {
          round_to(x + number * line, line, range, to);
          continue;
        }
        for (int64_t channel = 0; channel < channels; channel++) {
          round_to(x + sample * numbers + (channel * high.size + row) * wide.size, wide.size, range, codes.data());
          for (int64_t i = 0; i < wide.size; i++) to[i * channels + channel] = codes[i];
        }
      }
    });
  }

  int64_t offset(int64_t row, int64_t column) const { return row * row_ + column * column_; }
  const int8_t* at(int64_t sample) const { return codes_.get() + sample * size_; }
  const Range& range(int64_t sample) const { return ranges_[sample]; }

 private:
  int64_t column_, row_, size_;
  std::unique_ptr<int8_t[]> codes_;
  std::vector<Range> ranges_;
};

// Patches of up to `most` positions, as rows.
class Patches {
 public:
  Patches(const Weight& weight, const Planes& planes, const Axis& high, const Axis& wide, int64_t most)
      : weight_(weight),
        planes_(planes),
        high_(high),
        wide_(wide),
        codes_(new int8_t[most * weight.stored() + COPIED]()),
        sums_(most * weight.groups()),
        scales_(most),
        zeros_(most) {
    const int64_t kernel = high.kernel * wide.kernel;
    for (int64_t group = 0; group < weight.groups(); group++) {
      const int64_t begin = group * weight.group, end = std::min(begin + weight.group, weight.columns);
      int64_t to = group * weight.width();
      for (int64_t at = 0; at < kernel; at++) {
        const int64_t first = (begin - at + kernel - 1) / kernel, last = (end - at + kernel - 1) / kernel;
        const int64_t place = planes.offset(at / wide.kernel * high.dilation, at % wide.kernel * wide.dilation);
        if (first < last) runs_.push_back({place + first, to, last - first});
        to += last - first;
      }
    }
  }

  // Those of `count` positions from `first` on.
  Rounded read(int64_t first, int64_t count) {
    for (int64_t row = 0; row < count; row++) {
      const int64_t line = (first + row) / wide_.positions(), sample = line / high_.positions();
      read_one(planes_.at(sample) + planes_.offset(line % high_.positions() * high_.stride,
                                                   (first + row) % wide_.positions() * wide_.stride),
               row);
      scales_[row] = planes_.range(sample).scale;
      zeros_[row] = planes_.range(sample).zero;
    }
    return {codes_.get(), sums_.data(), scales_.data(), zeros_.data()};
  }

 private:
  struct Run {
    int64_t from, to, count;
  };

  // Rows come in order, so that what is copied too much lies where the next run goes, or fills up a group, where the
  // weight is zero.
  void read_one(const int8_t* from, int64_t row) {
    int8_t* to = codes_.get() + row * weight_.stored();
    for (const Run& run : runs_)
      for (int64_t i = 0; i < run.count; i += COPIED) std::memcpy(to + run.to + i, from + run.from + i, COPIED);
    for (int64_t group = 0; group < weight_.groups(); group++) {
      const int8_t* codes = to + group * weight_.width();
      const int64_t count = std::min(weight_.group, weight_.columns - group * weight_.group);
      int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < count; i++) sum += codes[i];
      sums_[row * weight_.groups() + group] = sum;
    }
  }

  const Weight& weight_;
  const Planes& planes_;
  Axis high_, wide_;
  std::vector<Run> runs_;  // bytes side by side in the plane, from a patch's first on, and in the patch
  std::unique_ptr<int8_t[]> codes_;
  std::vector<int32_t> sums_;
  std::vector<float> scales_, zeros_;
};

}  // namespace burnish

// `x` is (batch, channels, height, width); the result is (batch, height, width, outputs).
extern "C" BURNISH_SHIM AOTITorchError aoti_torch_cpu_low_bit_convolution(
    AtenTensorHandle x, AtenTensorHandle weight, AtenTensorHandle* bias, int64_t outputs, int64_t columns, int64_t bits,
    int64_t group, int64_t has_zeros, int64_t kernel_high, int64_t kernel_wide, int64_t stride_high,
    int64_t stride_wide, int64_t above, int64_t below, int64_t left, int64_t right, int64_t dilation_high,
    int64_t dilation_wide, AtenTensorHandle* result) {
  using namespace burnish;
  try {
    const Weight packed = weight_of(weight, outputs, columns, bits, group, has_zeros);
    const std::vector<int64_t> sizes = sizes_of(x);
    const bool channels_last = is_dense(x, {0, 2, 3, 1});
    std::unique_ptr<Rows> rows(channels_last ? nullptr : new Rows(x, sizes[3]));
    const float* numbers = rows ? rows->data() : static_cast<const float*>(data_of(x));
    const Axis high{sizes[2], kernel_high, stride_high, above, below, dilation_high};
    const Axis wide{sizes[3], kernel_wide, stride_wide, left, right, dilation_wide};
    *result = new_floats({sizes[0], high.positions(), wide.positions(), outputs});
    float* out = static_cast<float*>(data_of(*result));
    const float* biases = floats_of(bias);
    const Planes planes(numbers, channels_last, sizes[0], sizes[1], high, wide);
    const int64_t count = sizes[0] * high.positions() * wide.positions();
    const int64_t most = std::max(FEWEST_ROWS, CACHE / packed.stored());
    const int64_t grain = std::max<int64_t>(FEWEST_ROWS, GRAIN / (packed.outputs * packed.columns));
    in_parallel(count, grain, [&](int64_t begin, int64_t end) {
      Patches patches(packed, planes, high, wide, std::min(most, end - begin));
      for (int64_t first = begin; first < end; first += most) {
        const int64_t some = std::min(most, end - first);
        multiply(packed, patches.read(first, some), some, 0, packed.panels(), out + first * outputs, biases);
      }
    });
    return AOTI_TORCH_SUCCESS;
  } catch (const std::exception&) {
    return AOTI_TORCH_FAILURE;
  }
}
