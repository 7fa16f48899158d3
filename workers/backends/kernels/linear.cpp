// A linear layer with a weight of few bits, as a function that an AOTInductor package calls: see `product.h`.
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

void linear(const Weight& weight, const Rows& x, bool rounded, float* out, const float* bias) {
  if (x.count() == 0) return;
  if (!rounded) return multiply_all(weight, x.data(), x.count(), out, bias);
  RoundedRows rows(weight, x.count());
  in_parallel(x.count(), std::max<int64_t>(1, GRAIN / 8 / weight.columns), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) rows.round(x.row(row), row);
  });
  multiply_all(weight, rows.view(), x.count(), out, bias);
}

}  // namespace burnish

extern "C" BURNISH_SHIM AOTITorchError aoti_torch_cpu_low_bit_linear(
    AtenTensorHandle x, AtenTensorHandle weight, AtenTensorHandle* bias, int64_t outputs, int64_t columns, int64_t bits,
    int64_t group, int64_t has_zeros, int64_t rounded, AtenTensorHandle* result) {
  using namespace burnish;
  try {
    const Weight packed{static_cast<const uint8_t*>(data_of(weight)), outputs,       columns, group,
                        static_cast<int>(bits),                       has_zeros != 0};
    std::vector<int64_t> sizes = sizes_of(x);
    const Rows rows(x, rounded ? columns : packed.stored());
    sizes.back() = outputs;
    *result = new_floats(sizes);
    linear(packed, rows, rounded != 0, static_cast<float*>(data_of(*result)), floats_of(bias));
    return AOTI_TORCH_SUCCESS;
  } catch (const std::exception&) {
    return AOTI_TORCH_FAILURE;
  }
}
