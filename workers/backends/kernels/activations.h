// Sigmoid and tanh of sixteen numbers, to about 1e-7.
#pragma once
#include "product.h"

namespace burnish {

// 2^n · e^r with |r| ≤ ln 2 / 2, where the series needs seven terms.
inline Floats exponential(Floats x) {
  x = smaller(fill(87.f), greater(fill(-87.f), x));  // in this order NaN stays NaN
  const Floats n = nearest(mul(x, fill(1.44269504f)));
  const Floats r = multiply_add(n, fill(-0.693145752f), x), rest = multiply_add(n, fill(-1.42860677e-6f), r);
  Floats sum = fill(1.f / 5040);
  for (const float term : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 1.f / 2, 1.f, 1.f})
    sum = multiply_add(sum, rest, fill(term));
  return scale_by_power(sum, n);
}

inline Floats sigmoid(Floats x) { return div(fill(1.f), add(fill(1.f), exponential(sub(fill(0.f), x)))); }

inline Floats hyperbolic_tangent(Floats x) { return sub(mul(fill(2.f), sigmoid(add(x, x))), fill(1.f)); }

// Reads `count` of 16 numbers, and zeros behind them.
inline Floats load_some(const float* from, int64_t count) {
  if (count >= LANES) return load(from);
  float lane[LANES] = {};
  std::copy(from, from + count, lane);
  return load(lane);
}

inline void store_some(float* to, Floats value, int64_t count) {
  if (count >= LANES) return store(to, value);
  float lane[LANES];
  store(lane, value);
  std::copy(lane, lane + count, to);
}

}  // namespace burnish
