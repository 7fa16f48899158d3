// Sixteen outputs side by side, for processors with AVX-512 VNNI: one register each.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace burnish {

using Floats = __m512;
using Ints = __m512i;
using Codes = __m512i;  // 64 bytes: for each of 16 outputs the codes of 4 columns, or of 8 or 16 where they share bytes

constexpr int ROWS = 4;          // rows of a tile with rounded inputs
constexpr int FLOAT_ROWS = 8;    // and with float inputs
constexpr int PANELS = 4;        // panels of a tile
constexpr int FLOAT_PANELS = 2;

inline Floats fill(float value) { return _mm512_set1_ps(value); }
inline Floats load(const float* from) { return _mm512_loadu_ps(from); }
inline void store(float* to, Floats value) { _mm512_storeu_ps(to, value); }
inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats smaller(Floats a, Floats b) { return _mm512_min_ps(a, b); }
inline Floats greater(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats nearest(Floats a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

inline Ints fill_ints(int32_t value) { return _mm512_set1_epi32(value); }
inline Ints multiply(Ints a, Ints b) { return _mm512_mullo_epi32(a, b); }
inline Floats to_floats(Ints a) { return _mm512_cvtepi32_ps(a); }
inline Ints load_bytes(const uint8_t* from) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
// a · 2^n for whole numbers n.
inline Floats scale_by_power(Floats a, Floats n) { return _mm512_scalef_ps(a, n); }

inline Codes load_codes(const uint8_t* from) { return _mm512_loadu_si512(from); }

// One code of each byte.
template <int BITS, int PART>
inline Codes part(Codes codes) {
  if constexpr (BITS == 8) return codes;
  return _mm512_and_si512(_mm512_srli_epi16(codes, PART * BITS), _mm512_set1_epi8((1 << BITS) - 1));
}

// sum + the products of 4 columns, exact: VPDPBUSD adds four products in 32 bits.
template <int BITS>
inline Ints dot(Ints sum, Codes codes, const int8_t* four) {
  int32_t values;
  std::memcpy(&values, four, 4);
  return _mm512_dpbusd_epi32(sum, codes, _mm512_set1_epi32(values));
}

// One code of each output: the one that begins at bit `shift`.
template <int BITS>
inline Ints code_at(Codes codes, int shift) {
  return _mm512_and_si512(_mm512_srl_epi32(codes, _mm_cvtsi32_si128(shift)), _mm512_set1_epi32((1 << BITS) - 1));
}

inline void prefetch(const uint8_t* at) { _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T0); }

}  // namespace burnish
