// Sixteen outputs side by side in standard C++, for every other processor: the compiler finds what vectors there are.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

namespace burnish {

constexpr int WIDTH = 16;
template <typename T>
struct Lane {
  T at[WIDTH];
};
using Floats = Lane<float>;
using Ints = Lane<int32_t>;
struct Codes {
  uint8_t at[4 * WIDTH];  // for each output the codes of 4 columns, or of 8 or 16 where they share bytes
};

constexpr int ROWS = 2;        // rows of a tile with rounded inputs
constexpr int FLOAT_ROWS = 2;  // and with float inputs
constexpr int PANELS = 1;      // panels of a tile
constexpr int FLOAT_PANELS = 1;

template <typename T, typename Of>
inline Lane<T> each(Of of) {
  Lane<T> result;
  for (int i = 0; i < WIDTH; i++) result.at[i] = of(i);
  return result;
}

inline Floats fill(float value) { return each<float>([&](int) { return value; }); }
inline Floats load(const float* from) { return each<float>([&](int i) { return from[i]; }); }
inline void store(float* to, Floats value) { std::memcpy(to, value.at, sizeof value.at); }
inline Floats add(Floats a, Floats b) { return each<float>([&](int i) { return a.at[i] + b.at[i]; }); }
inline Floats sub(Floats a, Floats b) { return each<float>([&](int i) { return a.at[i] - b.at[i]; }); }
inline Floats mul(Floats a, Floats b) { return each<float>([&](int i) { return a.at[i] * b.at[i]; }); }
inline Floats div(Floats a, Floats b) { return each<float>([&](int i) { return a.at[i] / b.at[i]; }); }
inline Floats multiply_add(Floats a, Floats b, Floats c) {
  return each<float>([&](int i) { return a.at[i] * b.at[i] + c.at[i]; });
}
inline Floats smaller(Floats a, Floats b) { return each<float>([&](int i) { return a.at[i] < b.at[i] ? a.at[i] : b.at[i]; }); }
inline Floats greater(Floats a, Floats b) { return each<float>([&](int i) { return a.at[i] > b.at[i] ? a.at[i] : b.at[i]; }); }
inline Floats nearest(Floats a) { return each<float>([&](int i) { return std::nearbyint(a.at[i]); }); }

inline Ints fill_ints(int32_t value) { return each<int32_t>([&](int) { return value; }); }
inline Ints multiply(Ints a, Ints b) { return each<int32_t>([&](int i) { return a.at[i] * b.at[i]; }); }
inline Floats to_floats(Ints a) { return each<float>([&](int i) { return static_cast<float>(a.at[i]); }); }
inline Ints load_bytes(const uint8_t* from) { return each<int32_t>([&](int i) { return from[i]; }); }
// a · 2^n for whole numbers n.
inline Floats scale_by_power(Floats a, Floats n) {
  return each<float>([&](int i) { return std::ldexp(a.at[i], static_cast<int>(n.at[i])); });
}

inline Codes load_codes(const uint8_t* from) {
  Codes codes;
  std::memcpy(codes.at, from, sizeof codes.at);
  return codes;
}

// One code of each byte.
template <int BITS, int PART>
inline Codes part(Codes codes) {
  for (uint8_t& byte : codes.at) byte = (byte >> (PART * BITS % 8)) & ((1 << BITS) - 1);
  return codes;
}

// sum + the products of 4 columns.
template <int BITS>
inline Ints dot(Ints sum, Codes codes, const int8_t* four) {
  for (int i = 0; i < WIDTH; i++)
    for (int j = 0; j < 4; j++) sum.at[i] += codes.at[4 * i + j] * four[j];
  return sum;
}

// One code of each output: the one that begins at bit `shift`.
template <int BITS>
inline Ints code_at(Codes codes, int shift) {
  return each<int32_t>([&](int i) { return (codes.at[4 * i + shift / 8] >> (shift % 8)) & ((1 << BITS) - 1); });
}

inline void prefetch(const uint8_t*) {}

}  // namespace burnish
