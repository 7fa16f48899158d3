// Sixteen outputs side by side, for processors with AVX2 and FMA: two registers each.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace burnish {

struct Floats {
  __m256 low, high;
};
struct Ints {
  __m256i low, high;
};
using Codes = Ints;  // 64 bytes: for each of 16 outputs the codes of 4 columns, or of 8 or 16 where they share bytes

constexpr int ROWS = 4;        // rows of a tile with rounded inputs
constexpr int FLOAT_ROWS = 4;  // and with float inputs
constexpr int PANELS = 1;      // panels of a tile
constexpr int FLOAT_PANELS = 1;

inline Floats fill(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
inline Floats load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
inline void store(float* to, Floats value) {
  _mm256_storeu_ps(to, value.low);
  _mm256_storeu_ps(to + 8, value.high);
}
inline Floats add(Floats a, Floats b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline Floats sub(Floats a, Floats b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline Floats mul(Floats a, Floats b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline Floats div(Floats a, Floats b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
inline Floats multiply_add(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline Floats smaller(Floats a, Floats b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
inline Floats greater(Floats a, Floats b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline Floats nearest(Floats a) {
  constexpr int MODE = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.low, MODE), _mm256_round_ps(a.high, MODE)};
}

inline Ints fill_ints(int32_t value) { return {_mm256_set1_epi32(value), _mm256_set1_epi32(value)}; }
inline Ints multiply(Ints a, Ints b) { return {_mm256_mullo_epi32(a.low, b.low), _mm256_mullo_epi32(a.high, b.high)}; }
inline Floats to_floats(Ints a) { return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)}; }
inline Ints load_bytes(const uint8_t* from) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return {_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))};
}

inline __m256 half_power(__m256 n) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_castsi256_ps(exponent);
}
// a · 2^n for whole numbers n of a normal float's exponent.
inline Floats scale_by_power(Floats a, Floats n) { return mul(a, {half_power(n.low), half_power(n.high)}); }

inline Codes load_codes(const uint8_t* from) {
  const __m256i* at = reinterpret_cast<const __m256i*>(from);
  return {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
}

// One code of each byte.
template <int BITS, int PART>
inline Codes part(Codes codes) {
  if constexpr (BITS == 8) return codes;
  const __m256i mask = _mm256_set1_epi8((1 << BITS) - 1);
  return {_mm256_and_si256(_mm256_srli_epi16(codes.low, PART * BITS), mask),
          _mm256_and_si256(_mm256_srli_epi16(codes.high, PART * BITS), mask)};
}

// The products of 4 columns, exact. Pairs of codes below 16 fit VPMADDUBSW's 16 bits (2 · 15 · 128); pairs of 8-bit
// codes would saturate there, so those are widened first.
template <int BITS>
inline __m256i half_dot(__m256i sum, __m256i codes, __m256i values) {
  if constexpr (BITS < 8) {
    const __m256i pairs = _mm256_maddubs_epi16(codes, values);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  const __m256i even = _mm256_madd_epi16(_mm256_and_si256(codes, _mm256_set1_epi16(255)),
                                         _mm256_srai_epi16(_mm256_slli_epi16(values, 8), 8));
  const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(codes, 8), _mm256_srai_epi16(values, 8));
  return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}

// sum + the products of 4 columns.
template <int BITS>
inline Ints dot(Ints sum, Codes codes, const int8_t* four) {
  int32_t bytes;
  std::memcpy(&bytes, four, 4);
  const __m256i values = _mm256_set1_epi32(bytes);
  return {half_dot<BITS>(sum.low, codes.low, values), half_dot<BITS>(sum.high, codes.high, values)};
}

// One code of each output: the one that begins at bit `shift`.
template <int BITS>
inline Ints code_at(Codes codes, int shift) {
  const __m256i mask = _mm256_set1_epi32((1 << BITS) - 1);
  const __m128i count = _mm_cvtsi32_si128(shift);
  return {_mm256_and_si256(_mm256_srl_epi32(codes.low, count), mask),
          _mm256_and_si256(_mm256_srl_epi32(codes.high, count), mask)};
}

inline void prefetch(const uint8_t* at) { _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T0); }

}  // namespace burnish
