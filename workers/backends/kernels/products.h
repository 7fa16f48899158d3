// A product on all of torch's threads, with inputs rounded or not.
#pragma once
#include "product.h"
#include "rounding.h"
#include "tensors.h"

namespace burnish {

constexpr int64_t GRAIN = 1 << 17;  // products that are worth a thread

template <typename X>
void multiply_all(const Weight& weight, const X& x, int64_t rows, float* out, const float* bias) {
  const int64_t units = (weight.panels() + PANELS - 1) / PANELS;
  const int64_t grain = std::max<int64_t>(1, GRAIN / (PANELS * LANES * weight.columns * rows));
  in_parallel(units, grain, [&](int64_t begin, int64_t end) {
    multiply(weight, x, rows, begin * PANELS, std::min(end * PANELS, weight.panels()), out, bias);
  });
}

// `row(i)` is the i-th row, of `weight.columns` numbers.
template <typename Row>
void multiply_rounded(const Weight& weight, int64_t count, const Row& row, float* out, const float* bias) {
  RoundedRows rows(weight, count);
  in_parallel(count, std::max<int64_t>(1, GRAIN / 8 / weight.columns), [&](int64_t begin, int64_t end) {
    for (int64_t number = begin; number < end; number++) rows.round(row(number), number);
  });
  multiply_all(weight, rows.view(), count, out, bias);
}

// `count` rows of `x` from the row `first` on.
inline void multiply_all(const Weight& weight, const Rows& x, int64_t first, int64_t count, bool rounded, float* out,
                         const float* bias) {
  if (count == 0) return;
  if (!rounded) return multiply_all(weight, x.row(first), count, out, bias);
  multiply_rounded(weight, count, [&](int64_t number) { return x.row(first + number); }, out, bias);
}

}  // namespace burnish
