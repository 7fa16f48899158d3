// A linear layer with a weight of few bits, as a function that an AOTInductor package calls: see `product.h`.
#include "products.h"

extern "C" BURNISH_SHIM AOTITorchError aoti_torch_cpu_low_bit_linear(
    AtenTensorHandle x, AtenTensorHandle weight, AtenTensorHandle* bias, int64_t outputs, int64_t columns, int64_t bits,
    int64_t group, int64_t has_zeros, int64_t rounded, AtenTensorHandle* result) {
  using namespace burnish;
  try {
    const Weight packed = weight_of(weight, outputs, columns, bits, group, has_zeros);
    std::vector<int64_t> sizes = sizes_of(x);
    const Rows rows(x, rounded ? columns : packed.stored());
    sizes.back() = outputs;
    *result = new_floats(sizes);
    multiply_all(packed, rows, 0, rows.count(), rounded != 0, static_cast<float*>(data_of(*result)), floats_of(bias));
    return AOTI_TORCH_SUCCESS;
  } catch (const std::exception&) {
    return AOTI_TORCH_FAILURE;
  }
}
