// One layer of an LSTM or a GRU in one direction, with matrices of few bits: all its steps in one call.
//
// The products of the inputs come first for as many steps as stay in the cache, then step by step those of the state. With rounded inputs the state is
// rounded at each step, too, every row with its own range. A batch of many samples is cut among the threads; of few
// samples the matrix is.
#include "activations.h"
#include "products.h"

namespace burnish {

constexpr int64_t SAMPLES = 4;          // that are worth a thread
constexpr int64_t HELD = 512 * 1024;    // bytes of the inputs' products at a time

struct Sequence {
  int64_t length, batch, hidden;
  bool reversed, rounded;
};

// The state's products with its matrix, for samples of one thread; buffers are made once for all steps.
class StateProducts {
 public:
  StateProducts(const Weight& weight, int64_t samples, bool rounded)
      : weight_(weight), rows_(weight, rounded ? samples : 0), rounded_(rounded), samples_(samples) {
    padded_.reset(new float[rounded ? 0 : samples * weight.stored()]());
  }

  void operator()(const float* state, float* gates, const float* bias) {
    for (int64_t sample = 0; sample < samples_; sample++) {
      const float* row = state + sample * weight_.columns;
      if (rounded_) rows_.round(row, sample);
      else std::copy(row, row + weight_.columns, padded_.get() + sample * weight_.stored());
    }
    if (rounded_) multiply_all(weight_, rows_.view(), samples_, gates, bias);
    else multiply_all(weight_, static_cast<const float*>(padded_.get()), samples_, gates, bias);
  }

 private:
  Weight weight_;
  RoundedRows rows_;
  std::unique_ptr<float[]> padded_;
  bool rounded_;
  int64_t samples_;
};

// Gates of torch: input, forget, cell, output.
inline void lstm_units(const float* x, const float* h, float* cell, float* state, float* out, int64_t hidden) {
  for (int64_t unit = 0; unit < hidden; unit += LANES) {
    const int64_t count = hidden - unit;
    const auto gate = [&](int number) {
      const int64_t at = number * hidden + unit;
      return add(load_some(x + at, count), load_some(h + at, count));
    };
    const Floats kept = mul(sigmoid(gate(1)), load_some(cell + unit, count));
    const Floats now = multiply_add(sigmoid(gate(0)), hyperbolic_tangent(gate(2)), kept);
    const Floats shown = mul(sigmoid(gate(3)), hyperbolic_tangent(now));
    store_some(cell + unit, now, count);
    store_some(state + unit, shown, count);
    store_some(out + unit, shown, count);
  }
}

// Gates of torch: reset, update, new; the reset acts on the state's product.
inline void gru_units(const float* x, const float* h, float*, float* state, float* out, int64_t hidden) {
  for (int64_t unit = 0; unit < hidden; unit += LANES) {
    const int64_t count = hidden - unit;
    const auto of_x = [&](int number) { return load_some(x + number * hidden + unit, count); };
    const auto of_h = [&](int number) { return load_some(h + number * hidden + unit, count); };
    const Floats reset = sigmoid(add(of_x(0), of_h(0))), update = sigmoid(add(of_x(1), of_h(1)));
    const Floats fresh = hyperbolic_tangent(multiply_add(reset, of_h(2), of_x(2)));
    const Floats now = multiply_add(update, sub(load_some(state + unit, count), fresh), fresh);
    store_some(state + unit, now, count);
    store_some(out + unit, now, count);
  }
}

// All steps. `gates` are the inputs' products (length, batch, gates · hidden); `state` and `cell` (batch, hidden) go from
// the first to the last; `out` is (length, batch, hidden).
template <typename Units>
void walk(const Sequence& size, const Weight& weight, const float* gates, const float* bias, float* state, float* cell,
          float* out, const Units& units) {
  const int64_t width = weight.outputs, hidden = size.hidden;
  in_parallel(size.batch, SAMPLES, [&](int64_t begin, int64_t end) {
    StateProducts products(weight, end - begin, size.rounded);
    const std::unique_ptr<float[]> own(new float[(end - begin) * width]);
    for (int64_t number = 0; number < size.length; number++) {
      const int64_t step = size.reversed ? size.length - 1 - number : number;
      products(state + begin * hidden, own.get(), bias);
      for (int64_t sample = begin; sample < end; sample++) {
        const int64_t row = step * size.batch + sample;
        units(gates + row * width, own.get() + (sample - begin) * width, cell ? cell + sample * hidden : nullptr,
              state + sample * hidden, out + row * hidden, hidden);
      }
    }
  });
}

// A new tensor with the elements of another, which the steps then change.
inline AtenTensorHandle copy_of(AtenTensorHandle tensor) {
  const std::vector<int64_t> sizes = sizes_of(tensor);
  const Rows rows(tensor, sizes.back());
  const AtenTensorHandle made = new_floats(sizes);
  std::copy(rows.data(), rows.data() + rows.count() * sizes.back(), static_cast<float*>(data_of(made)));
  return made;
}

template <typename Units>
void recur(AtenTensorHandle x, const Weight& inputs, const Weight& states, const float* input_bias,
           const float* state_bias, bool rounded, bool reversed, AtenTensorHandle state, AtenTensorHandle cell,
           AtenTensorHandle* result, const Units& units) {
  const std::vector<int64_t> sizes = sizes_of(x);
  const Sequence size{sizes[0], sizes[1], states.columns, reversed, rounded};
  *result = new_floats({size.length, size.batch, size.hidden});
  float* out = static_cast<float*>(data_of(*result));
  const Rows rows(x, rounded ? inputs.columns : inputs.stored());
  const int64_t step = size.batch * inputs.outputs;
  const int64_t most = std::clamp<int64_t>(HELD / 4 / std::max<int64_t>(step, 1), 1, std::max<int64_t>(size.length, 1));
  const std::unique_ptr<float[]> gates(new float[most * step]);
  for (int64_t done = 0; done < size.length; done += most) {
    Sequence part = size;
    part.length = std::min(most, size.length - done);
    const int64_t first = reversed ? size.length - done - part.length : done;
    multiply_all(inputs, rows, first * size.batch, part.length * size.batch, rounded, gates.get(), input_bias);
    walk(part, states, gates.get(), state_bias, static_cast<float*>(data_of(state)),
         cell ? static_cast<float*>(data_of(cell)) : nullptr, out + first * size.batch * size.hidden, units);
  }
}

}  // namespace burnish

extern "C" BURNISH_SHIM AOTITorchError aoti_torch_cpu_low_bit_lstm(
    AtenTensorHandle x, AtenTensorHandle state, AtenTensorHandle cell, AtenTensorHandle input_weight,
    AtenTensorHandle state_weight, AtenTensorHandle* input_bias, AtenTensorHandle* state_bias, int64_t columns,
    int64_t input_bits, int64_t input_group, int64_t input_zeros, int64_t hidden, int64_t state_bits,
    int64_t state_group, int64_t state_zeros, int64_t rounded, int64_t reversed, AtenTensorHandle* result,
    AtenTensorHandle* last_state, AtenTensorHandle* last_cell) {
  using namespace burnish;
  try {
    const Weight inputs = weight_of(input_weight, 4 * hidden, columns, input_bits, input_group, input_zeros);
    const Weight states = weight_of(state_weight, 4 * hidden, hidden, state_bits, state_group, state_zeros);
    *last_state = copy_of(state);
    *last_cell = copy_of(cell);
    recur(x, inputs, states, floats_of(input_bias), floats_of(state_bias), rounded, reversed, *last_state, *last_cell,
          result, lstm_units);
    return AOTI_TORCH_SUCCESS;
  } catch (const std::exception&) {
    return AOTI_TORCH_FAILURE;
  }
}

extern "C" BURNISH_SHIM AOTITorchError aoti_torch_cpu_low_bit_gru(
    AtenTensorHandle x, AtenTensorHandle state, AtenTensorHandle input_weight, AtenTensorHandle state_weight,
    AtenTensorHandle* input_bias, AtenTensorHandle* state_bias, int64_t columns, int64_t input_bits,
    int64_t input_group, int64_t input_zeros, int64_t hidden, int64_t state_bits, int64_t state_group,
    int64_t state_zeros, int64_t rounded, int64_t reversed, AtenTensorHandle* result, AtenTensorHandle* last_state) {
  using namespace burnish;
  try {
    const Weight inputs = weight_of(input_weight, 3 * hidden, columns, input_bits, input_group, input_zeros);
    const Weight states = weight_of(state_weight, 3 * hidden, hidden, state_bits, state_group, state_zeros);
    *last_state = copy_of(state);
    recur(x, inputs, states, floats_of(input_bias), floats_of(state_bias), rounded, reversed, *last_state, nullptr,
          result, gru_units);
    return AOTI_TORCH_SUCCESS;
  } catch (const std::exception&) {
    return AOTI_TORCH_FAILURE;
  }
}
