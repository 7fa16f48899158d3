// Rows times the transpose of a packed weight of 2, 4 or 8 bits.
//
// A weight is cut into panels of 16 outputs (`workers/graphs/inductor_packing.py` writes them). A panel holds
//   1. the codes, group after group, as numbers from 0: 64 bytes are 4 columns of 16 outputs, and where a byte holds
//      several codes the next ones are 4 columns further on;
//   2. 16 float scales for each group;
//   3. where the weight has zero points, 16 bytes for each group, filled up to 64;
//   4. 16 float sums of the weight's rows.
// Outputs and columns that fill up a panel or a group are zeros.
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#include "lanes_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "lanes_avx2.h"
#else
#include "lanes_portable.h"
#endif

namespace burnish {

constexpr int64_t LANES = 16;
constexpr int64_t CACHE = 256 * 1024;  // bytes of weights that all rows pass over before the next are read

struct Weight {
  const uint8_t* data;
  int64_t outputs, columns, group;
  int bits;
  bool has_zeros;

  int64_t groups() const { return (columns + group - 1) / group; }
  int64_t width() const {  // columns stored for a group
    const int64_t step = 32 / bits;
    return (group + step - 1) / step * step;
  }
  int64_t stored() const { return groups() * width(); }  // columns stored
  int64_t panels() const { return (outputs + LANES - 1) / LANES; }
  int64_t code_bytes() const { return stored() * LANES * bits / 8; }
  int64_t scale_bytes() const { return groups() * LANES * 4; }
  int64_t zero_bytes() const { return has_zeros ? (groups() * LANES + 63) / 64 * 64 : 0; }
  int64_t panel_bytes() const { return code_bytes() + scale_bytes() + zero_bytes() + LANES * 4; }
};

// Rows to multiply, each of `weight.stored()` columns with zeros where the weight has none.
struct Rounded {
  const int8_t* codes;
  const int32_t* sums;  // of the codes of each group
  const float* scales;  // of each row
  const float* zeros;
};

template <int... I, typename Do>
inline void unrolled(std::integer_sequence<int, I...>, Do what) {
  (what(std::integral_constant<int, I>{}), ...);
}
template <int COUNT, typename Do>
inline void unrolled(Do what) {
  unrolled(std::make_integer_sequence<int, COUNT>{}, what);
}

struct Panel {
  const uint8_t *codes, *zeros;
  const float *scales, *sums;
};

inline Panel panel_at(const Weight& weight, int64_t number) {
  const uint8_t* codes = weight.data + number * weight.panel_bytes();
  const uint8_t* scales = codes + weight.code_bytes();
  const uint8_t* zeros = scales + weight.scale_bytes();
  const uint8_t* sums = zeros + weight.zero_bytes();
  return {codes, zeros, reinterpret_cast<const float*>(scales), reinterpret_cast<const float*>(sums)};
}

// Writes a lane's outputs, as many as the weight has.
inline void put(float* row, const Weight& weight, int64_t panel, Floats value, const float* bias) {
  const int64_t from = panel * LANES, count = std::min(LANES, weight.outputs - from);
  if (count == LANES) {
    store(row + from, bias ? add(value, load(bias + from)) : value);
    return;
  }
  float lane[LANES];
  store(lane, value);
  for (int64_t i = 0; i < count; i++) row[from + i] = lane[i] + (bias ? bias[from + i] : 0.f);
}

// M rounded rows times P panels. The sum over a group is exact: codes and inputs are integers.
template <int BITS, int M, int P>
void tile(const Weight& weight, const Rounded& x, int64_t row, int64_t panel, float* out, const float* bias) {
  constexpr int PARTS = 8 / BITS;
  const int64_t stored = weight.stored(), width = weight.width(), groups = weight.groups();
  const int8_t* inputs = x.codes + row * stored;
  const int32_t* sums = x.sums + row * groups;
  Panel at[P];
  for (int p = 0; p < P; p++) at[p] = panel_at(weight, panel + p);
  Floats total[M][P];
  for (int m = 0; m < M; m++)
    for (int p = 0; p < P; p++) total[m][p] = fill(0.f);
  for (int64_t group = 0; group < groups; group++) {
    Ints sum[M][P];
    for (int p = 0; p < P; p++)
      for (int m = 0; m < M; m++) {
        const int32_t inputs_sum = sums[m * groups + group];
        sum[m][p] = weight.has_zeros
                        ? multiply(load_bytes(at[p].zeros + group * LANES), fill_ints(-inputs_sum))
                        : fill_ints(-inputs_sum * (1 << (BITS - 1)));
      }
    for (int64_t column = group * width; column < (group + 1) * width; column += 4 * PARTS)
      unrolled<P>([&](auto p) {
        const uint8_t* from = at[p].codes + column * LANES * BITS / 8;
        const Codes codes = load_codes(from);
        if (M <= 2) prefetch(from + 1536);
        unrolled<PARTS>([&](auto number) {
          const Codes some = part<BITS, number>(codes);
          unrolled<M>([&](auto m) {
            sum[m][p] = dot<BITS>(sum[m][p], some, inputs + m * stored + column + 4 * number);
          });
        });
      });
    for (int p = 0; p < P; p++) {
      const Floats scales = load(at[p].scales + group * LANES);
      for (int m = 0; m < M; m++) total[m][p] = multiply_add(to_floats(sum[m][p]), scales, total[m][p]);
    }
  }
  for (int m = 0; m < M; m++)
    for (int p = 0; p < P; p++) {
      const Floats centred = sub(total[m][p], mul(fill(x.zeros[row + m]), load(at[p].sums)));
      put(out + (row + m) * weight.outputs, weight, panel + p, mul(centred, fill(x.scales[row + m])), bias);
    }
}

// M float rows times P panels. A weight is made of its code in a register, and M rows share it.
template <int BITS, int M, int P>
void tile(const Weight& weight, const float* x, int64_t row, int64_t panel, float* out, const float* bias) {
  constexpr int PARTS = 8 / BITS;
  const int64_t stored = weight.stored(), width = weight.width(), groups = weight.groups();
  const float* inputs = x + row * stored;
  Panel at[P];
  for (int p = 0; p < P; p++) at[p] = panel_at(weight, panel + p);
  Floats sum[M][P];
  for (int m = 0; m < M; m++)
    for (int p = 0; p < P; p++) sum[m][p] = fill(0.f);
  for (int64_t group = 0; group < groups; group++) {
    Floats scales[P], offsets[P];
    for (int p = 0; p < P; p++) {
      scales[p] = load(at[p].scales + group * LANES);
      const Floats zeros =
          weight.has_zeros ? to_floats(load_bytes(at[p].zeros + group * LANES)) : fill(1 << (BITS - 1));
      offsets[p] = sub(fill(0.f), mul(zeros, scales[p]));
    }
    for (int64_t column = group * width; column < (group + 1) * width; column += 4 * PARTS) {
      Codes codes[P];
      for (int p = 0; p < P; p++) codes[p] = load_codes(at[p].codes + column * LANES * BITS / 8);
#pragma GCC unroll 1  // else the compiler makes all weights first, and runs out of registers
      for (int which = 0; which < 4 * PARTS; which++)
        unrolled<P>([&](auto p) {
          const Ints code = code_at<BITS>(codes[p], which % 4 * 8 + which / 4 * BITS);
          const Floats value = multiply_add(to_floats(code), scales[p], offsets[p]);
          unrolled<M>([&](auto m) {
            sum[m][p] = multiply_add(fill(inputs[m * stored + column + which]), value, sum[m][p]);
          });
        });
    }
  }
  for (int m = 0; m < M; m++)
    for (int p = 0; p < P; p++)
      put(out + (row + m) * weight.outputs, weight, panel + p, sum[m][p], bias);
}

// M rows times the panels from `first` to `last`, P at a time as long as there are P.
template <int BITS, int M, int P, typename X>
void strip(const Weight& weight, const X& x, int64_t row, int64_t first, int64_t last, float* out, const float* bias) {
  int64_t panel = first;
  for (; panel + P <= last; panel += P) tile<BITS, M, P>(weight, x, row, panel, out, bias);
  if constexpr (P > 1)
    for (; panel < last; panel++) tile<BITS, M, 1>(weight, x, row, panel, out, bias);
}

// All rows times the panels from `first` to `last`.
template <int BITS, int M, int P, typename X>
void block(const Weight& weight, const X& x, int64_t rows, int64_t first, int64_t last, float* out, const float* bias) {
  const int64_t fit = std::max<int64_t>(P, CACHE / weight.panel_bytes() / P * P);
  for (int64_t from = first; from < last; from += fit) {
    const int64_t to = std::min(last, from + fit);
    int64_t row = 0;
    for (; row + M <= rows; row += M) strip<BITS, M, P>(weight, x, row, from, to, out, bias);
    for (; row + 2 <= rows; row += 2) strip<BITS, 2, P>(weight, x, row, from, to, out, bias);
    if (row < rows) strip<BITS, 1, P>(weight, x, row, from, to, out, bias);
  }
}

// Which products a library holds, so that a package is compiled in seconds: bit 0, 1, 2 for rounded rows times 2, 4, 8
// bits; bit 3, 4, 5 for float rows.
#ifndef BURNISH_KINDS
#define BURNISH_KINDS 63
#endif
template <int BITS, typename X>
constexpr bool held() {
  return BURNISH_KINDS >> ((BITS == 2 ? 0 : BITS == 4 ? 1 : 2) + (std::is_pointer_v<X> ? 3 : 0)) & 1;
}

template <int M, int P, typename X>
void any_bits(const Weight& weight, const X& x, int64_t rows, int64_t first, int64_t last, float* out,
              const float* bias) {
  if constexpr (held<2, X>())
    if (weight.bits == 2) block<2, M, P>(weight, x, rows, first, last, out, bias);
  if constexpr (held<4, X>())
    if (weight.bits == 4) block<4, M, P>(weight, x, rows, first, last, out, bias);
  if constexpr (held<8, X>())
    if (weight.bits == 8) block<8, M, P>(weight, x, rows, first, last, out, bias);
}

// out (rows, weight.outputs) = x · weightᵀ + bias, for the panels from `first` to `last`; `bias` may be null.
inline void multiply(const Weight& weight, const Rounded& x, int64_t rows, int64_t first, int64_t last, float* out,
                     const float* bias) {
  any_bits<ROWS, PANELS>(weight, x, rows, first, last, out, bias);
}
inline void multiply(const Weight& weight, const float* x, int64_t rows, int64_t first, int64_t last, float* out,
                     const float* bias) {
  any_bits<FLOAT_ROWS, FLOAT_PANELS>(weight, x, rows, first, last, out, bias);
}

}  // namespace burnish
