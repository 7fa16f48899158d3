// What the kernels need of a tensor, through the C functions of torch's runtime alone: they are stable.
#pragma once
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/c/shim.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include "product.h"

// What a package calls is no business of others; tests call it from outside.
#ifndef BURNISH_SHIM
#define BURNISH_SHIM __attribute__((visibility("hidden")))
#endif

namespace burnish {

inline void check(AOTITorchError error) {
  if (error) throw std::runtime_error("a call of torch's runtime failed");
}

inline void* data_of(AtenTensorHandle tensor) {
  void* data;
  check(aoti_torch_get_data_ptr(tensor, &data));
  return data;
}

inline Weight weight_of(AtenTensorHandle data, int64_t outputs, int64_t columns, int64_t bits, int64_t group,
                        int64_t has_zeros) {
  return {static_cast<const uint8_t*>(data_of(data)), outputs, columns, group, static_cast<int>(bits), has_zeros != 0};
}

inline const float* floats_of(AtenTensorHandle* optional) {
  return optional && *optional ? static_cast<const float*>(data_of(*optional)) : nullptr;
}

inline std::vector<int64_t> sizes_of(AtenTensorHandle tensor) {
  int64_t count, *sizes;
  check(aoti_torch_get_dim(tensor, &count));
  check(aoti_torch_get_sizes(tensor, &sizes));
  return {sizes, sizes + count};
}

inline AtenTensorHandle new_floats(const std::vector<int64_t>& sizes) {
  std::vector<int64_t> strides(sizes.size());
  int64_t stride = 1;
  for (size_t i = sizes.size(); i-- > 0; stride *= sizes[i]) strides[i] = stride;
  AtenTensorHandle made;
  check(aoti_torch_empty_strided(sizes.size(), sizes.data(), strides.data(), aoti_torch_dtype_float32(),
                                 aoti_torch_device_type_cpu(), 0, &made));
  return made;
}

// True if the elements of a tensor lie without gaps in this order of its dimensions.
inline bool is_dense(AtenTensorHandle tensor, const std::vector<int64_t>& order) {
  const std::vector<int64_t> sizes = sizes_of(tensor);
  int64_t *strides, expected = 1;
  check(aoti_torch_get_strides(tensor, &strides));
  for (size_t i = order.size(); i-- > 0; expected *= sizes[order[i]])
    if (sizes[order[i]] != 1 && strides[order[i]] != expected) return false;
  return true;
}

// The elements of a float tensor in the order of its dimensions, each row followed by zeros up to `width`; no copy
// where they lie so already.
class Rows {
 public:
  Rows(AtenTensorHandle tensor, int64_t width) : width_(width) {
    const std::vector<int64_t> sizes = sizes_of(tensor);
    int64_t* strides;
    check(aoti_torch_get_strides(tensor, &strides));
    const float* from = static_cast<const float*>(data_of(tensor));
    columns_ = sizes.back();
    bool whole = columns_ == width;
    int64_t expected = 1;
    for (size_t i = sizes.size(); i-- > 0; expected *= sizes[i]) whole = whole && (sizes[i] == 1 || strides[i] == expected);
    count_ = columns_ ? expected / columns_ : 0;
    data_ = from;
    if (whole || count_ == 0) return;
    copy_.reset(new float[count_ * width]());
    data_ = copy_.get();
    for (int64_t row = 0; row < count_; row++) {
      int64_t rest = row, offset = 0;
      for (size_t i = sizes.size() - 1; i-- > 0; rest /= sizes[i]) offset += rest % sizes[i] * strides[i];
      for (int64_t i = 0; i < columns_; i++) copy_[row * width + i] = from[offset + i * strides[sizes.size() - 1]];
    }
  }

  int64_t count() const { return count_; }
  const float* data() const { return data_; }
  const float* row(int64_t number) const { return data_ + number * width_; }

 private:
  int64_t width_, columns_, count_;
  const float* data_;
  std::unique_ptr<float[]> copy_;
};

// Does `work(begin, end)` for parts of 0 … count on torch's threads; on the caller's alone if there is little of it.
template <typename Work>
void in_parallel(int64_t count, int64_t grain, const Work& work) {
  const auto call = [](int64_t begin, int64_t end, void* context) { (*static_cast<const Work*>(context))(begin, end); };
  check(torch_parallel_for(0, count, grain, call, const_cast<Work*>(&work)));
}

}  // namespace burnish
