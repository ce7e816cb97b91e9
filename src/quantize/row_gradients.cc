#include "quantize/row_gradients.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "quantize/quad.h"
#include "quantize/vector_math.h"

namespace ruvllm {
namespace {

float inverse_rms(const float* x, int64_t count, float eps) {
  const double mean = dot_lanes(x, x, count) / static_cast<double>(count);
  return static_cast<float>(1.0 / std::sqrt(mean + double{eps}));
}

struct Activated {
  Quad value;
  Quad slope;
};

// Each of what it is of x and of an exponential of x.
struct Silu {
  static Quad exponent(Quad x) { return -x; }
  static Activated of(Quad x, Quad e) {
    const Quad sigmoid = 1.0f / (1.0f + e);
    return {x * sigmoid, sigmoid * (1.0f + x * (1.0f - sigmoid))};
  }
};

// x (1 + tanh(c (x + a x^3))) / 2 (Hendrycks and Gimpel 2016).
struct GeluTanh {
  static constexpr float c = 0.7978845608028654f;  // sqrt(2 / pi)
  static constexpr float a = 0.044715f;
  static Quad exponent(Quad x) { return 2.0f * c * (x + a * x * x * x); }
  static Activated of(Quad x, Quad e) {
    const Quad tanh = 1.0f - 2.0f / (e + 1.0f);
    const Quad inner = c * (1.0f + 3.0f * a * x * x);
    return {0.5f * x * (1.0f + tanh),
            0.5f * (1.0f + tanh) + 0.5f * x * (1.0f - tanh * tanh) * inner};
  }
};

struct GeluErf {
  static Quad exponent(Quad x) { return -0.5f * x * x; }
  static Activated of(Quad x, Quad e) {
    constexpr float kDensity = 0.3989422804014327f;  // 1 / sqrt(2 pi)
    Quad below = {};                                 // the normal distribution's share
    for (int i = 0; i < 4; ++i) {
      below[i] = static_cast<float>(0.5 + 0.5 * std::erf(double{x[i]} / std::numbers::sqrt2));
    }
    return {x * below, below + x * (kDensity * e)};
  }
};

struct Relu {
  static Quad exponent(Quad /*x*/) { return Quad{}; }
  static Activated of(Quad x, Quad) {
    const Quad slope = x > 0.0f ? Quad{} + 1.0f : Quad{};
    return {x * slope, slope};
  }
};

// take(i, count, value and slope of gate[i...]), up to four at a time.
template <typename A, typename F>
void activate(const float* gate, int64_t size, F take) {
  constexpr int64_t kRun = 64;
  float e[kRun];
  for (int64_t begin = 0; begin < size; begin += kRun) {
    const int64_t run = std::min(kRun, size - begin);
    map_quads(gate + begin, e, run, A::exponent);
    exponentials(e, run);
    int64_t i = 0;
    for (; i + 4 <= run; i += 4) {
      take(begin + i, int64_t{4}, A::of(load_quad(gate + begin + i), load_quad(e + i)));
    }
    if (i < run) {
      take(begin + i, run - i,
           A::of(load_part(gate + begin + i, run - i), load_part(e + i, run - i)));
    }
  }
}

template <typename F>
void activate(Activation activation, const float* gate, int64_t size, F take) {
  switch (activation) {
    case Activation::kSilu:
      return activate<Silu>(gate, size, take);
    case Activation::kGeluTanh:
      return activate<GeluTanh>(gate, size, take);
    case Activation::kGeluErf:
      return activate<GeluErf>(gate, size, take);
    case Activation::kRelu:
      return activate<Relu>(gate, size, take);
  }
}

float greatest_of(const float* v, int64_t count) {
  Quad most = Quad{} + v[0];
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) most = max_quad(load_quad(v + i), most);
  for (; i < count; ++i) most[0] = std::max(most[0], v[i]);
  return std::max(std::max(most[0], most[1]), std::max(most[2], most[3]));
}

}  // namespace

void rms_norm_row(const float* x, const float* weight, int64_t count, float eps, float* y) {
  const float r = inverse_rms(x, count, eps);
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] * r * weight[i];
}

void rms_norm_gradient_row(const float* x, const float* weight, int64_t count, float eps,
                           const float* dy, bool add, float* dx) {
  const float r = inverse_rms(x, count, eps);
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += double{x[i] * weight[i]} * double{dy[i]};
  const auto along = static_cast<float>(sum / static_cast<double>(count)) * r * r;
  for (int64_t i = 0; i < count; ++i) {
    dx[i] = (add ? dx[i] : 0.0f) + r * (weight[i] * dy[i] - x[i] * along);
  }
}

void rotate_row(const RopeConfig& rope, int64_t num_heads, int64_t head_dim, const float* cos,
                const float* sin, bool back, float* x) {
  const int64_t pairs = rope.rotary_dim / 2;
  const bool halves = rope.layout == RopeLayout::kHalves;
  for (int64_t h = 0; h < num_heads; ++h) {
    float* const head = x + h * head_dim;
    for (int64_t i = 0; i < pairs; ++i) {
      float& first = head[halves ? i : 2 * i];
      float& second = head[halves ? i + pairs : 2 * i + 1];
      const float s = back ? -sin[i] : sin[i];
      const float turned = first * cos[i] - second * s;
      second = second * cos[i] + first * s;
      first = turned;
    }
  }
}

void gate_row(Activation activation, const float* gate_up, int64_t count, float* hidden) {
  activate(activation, gate_up, count, [&](int64_t i, int64_t part, const Activated& act) {
    store_part(hidden + i, act.value * load_part(gate_up + count + i, part), part);
  });
}

void gate_gradient_row(Activation activation, const float* gate_up, int64_t count,
                       const float* d_hidden, float* hidden, float* d_gate_up) {
  activate(activation, gate_up, count, [&](int64_t i, int64_t part, const Activated& act) {
    const Quad up = load_part(gate_up + count + i, part), d = load_part(d_hidden + i, part);
    store_part(hidden + i, act.value * up, part);
    store_part(d_gate_up + i, d * up * act.slope, part);
    store_part(d_gate_up + count + i, d * act.value, part);
  });
}

double exponentials_of(float* v, int64_t count, float& greatest) {
  constexpr int64_t kRun = 256;  // summed in f32
  greatest = greatest_of(v, count);
  map_quads(v, v, count, [&](Quad x) { return x - greatest; });
  exponentials(v, count);
  double sum = 0.0;
  for (int64_t begin = 0; begin < count; begin += kRun) {
    const int64_t end = std::min(count, begin + kRun);
    Quad part = {};
    int64_t i = begin;
    for (; i + 4 <= end; i += 4) part += load_quad(v + i);
    if (i < end) part += load_part(v + i, end - i);
    sum += double{part[0]} + double{part[1]} + double{part[2]} + double{part[3]};
  }
  return sum;
}

void softmax_gradient_row(const float* p, int64_t count, float scale, float* d) {
  const auto mean = static_cast<float>(dot_lanes(d, p, count));
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    store_quad(d + i, scale * load_quad(p + i) * (load_quad(d + i) - mean));
  }
  for (; i < count; ++i) d[i] = scale * p[i] * (d[i] - mean);
}

double divergence_row(float* p, float* q, int64_t count, float scale) {
  // sum p (x - y) + ln sum e^y - ln sum e^x for logits x and y less their greatest: of sums of p
  // times small differences, so that nothing large cancels.
  double along = 0.0;
  std::vector<float> x(p, p + count), y(q, q + count);
  float p_greatest = 0.0f, q_greatest = 0.0f;
  const double p_sum = exponentials_of(p, count, p_greatest);
  const double q_sum = exponentials_of(q, count, q_greatest);
  const auto p_part = static_cast<float>(1.0 / p_sum), q_part = static_cast<float>(1.0 / q_sum);
  for (int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(i);
    const float mine = p[i] * p_part;
    along += double{mine} * double{(x[at] - p_greatest) - (y[at] - q_greatest)};
    q[i] = (q[i] * q_part - mine) * scale;
  }
  return along + std::log(q_sum / p_sum);
}

}  // namespace ruvllm
