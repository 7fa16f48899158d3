// Rounding of a row to int8 with a range of its own, as `choose_qparams_per_token_asymmetric` and `quantize_per_token`
// do it: the same numbers, to the last code.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>

#include "product.h"

namespace burnish {

constexpr float LEAST = -128.f, MOST = 127.f;

struct Range {
  float scale, zero;
};

// A row with a number that is not finite has no range: its scale, and all that is made of it, is NaN.
inline Range range_of(const float* x, int64_t columns) {
  float least = 0.f, most = 0.f, rest = 0.f;
#pragma omp simd reduction(min : least) reduction(max : most) reduction(+ : rest)
  for (int64_t i = 0; i < columns; i++) {
    least = x[i] < least ? x[i] : least;
    most = x[i] > most ? x[i] : most;
    rest += x[i] * 0.f;
  }
  const float scale = std::max((most - least) / (MOST - LEAST), std::numeric_limits<float>::epsilon());
  const float below = least / scale, above = most / scale;
  const float zero = (LEAST + below) + (MOST + above) > 0 ? LEAST - below : MOST - above;
  return {scale + rest, std::nearbyint(std::min(std::max(zero, LEAST), MOST))};
}

// Writes the codes of `count` numbers, and gives their sum.
inline int32_t round_to(const float* x, int64_t count, const Range& range, int8_t* codes) {
  const double inverse = 1.0 / static_cast<double>(range.scale), zero = range.zero;
  int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; i++) {
    const double value = std::nearbyint(x[i] * inverse + zero);
    const int32_t code = static_cast<int32_t>(value < -128.0 ? -128.0 : value > 127.0 ? 127.0 : value);
    codes[i] = static_cast<int8_t>(code);
    sum += code;
  }
  return sum;
}

// Rows rounded for a product with `weight`.
class RoundedRows {
 public:
  RoundedRows(const Weight& weight, int64_t rows)
      : weight_(weight),
        codes_(new int8_t[rows * weight.stored()]),
        sums_(new int32_t[rows * weight.groups()]),
        ranges_(new float[2 * rows]),
        rows_(rows) {}

  void round(const float* x, int64_t row) {
    const int64_t width = weight_.width(), groups = weight_.groups();
    const Range range = range_of(x, weight_.columns);
    for (int64_t group = 0; group < groups; group++) {
      const int64_t from = group * weight_.group, count = std::min(weight_.group, weight_.columns - from);
      int8_t* codes = codes_.get() + row * weight_.stored() + group * width;
      sums_[row * groups + group] = round_to(x + from, count, range, codes);
      std::fill(codes + count, codes + width, 0);
    }
    ranges_[row] = range.scale;
    ranges_[rows_ + row] = range.zero;
  }

  Rounded view() const { return {codes_.get(), sums_.get(), ranges_.get(), ranges_.get() + rows_}; }

 private:
  Weight weight_;
  std::unique_ptr<int8_t[]> codes_;
  std::unique_ptr<int32_t[]> sums_;
  std::unique_ptr<float[]> ranges_;
  int64_t rows_;
};

}  // namespace burnish
