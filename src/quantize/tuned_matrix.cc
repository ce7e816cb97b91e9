#include "quantize/tuned_matrix.h"

#include <algorithm>

#include "base/float_types.h"
#include "quantize/quad.h"
#include "quantize/vector_math.h"

namespace ruvllm {
namespace {

// Adam's step of four numbers, in units of the learning rate.
Quad adam(Quad gradient, Quad& mean, Quad& square, const AdamStep& step) {
  mean = kAdamBeta1 * mean + (1.0f - kAdamBeta1) * gradient;
  square = kAdamBeta2 * square + (1.0f - kAdamBeta2) * (gradient * gradient);
  return mean * step.mean_part / (sqrt_quad(square * step.square_part) + kAdamEpsilon);
}

Quad codes_of(Quad latents, Quad max_code) {
  return round_even(min_quad(max_quad(latents, Quad{}), max_code));
}

// A positive f16 number.
float stored_scale(float scale) {
  return f16_to_f32(f32_to_f16(std::clamp(scale, 0x1p-24f, 65504.0f)));
}

}  // namespace

TunedMatrix::TunedMatrix(ConstMatrixF32 w, const QuantizedMatrix& start)
    : start_(start),
      max_code_(static_cast<float>((1 << start.bits) - 1)),
      latents_(static_cast<size_t>(w.rows * w.cols)),
      means_(latents_.size()),
      squares_(latents_.size()),
      exponents_(start.scales.size()),
      scale_means_(start.scales.size()),
      scale_squares_(start.scales.size()),
      scales_(start.scales) {
  start_.codes = {};
  for (int64_t n = 0; n < w.rows; ++n) {
    for (int64_t k = 0; k < w.cols; ++k) {
      const int64_t group = k / start_.group_size;
      const float u =
          w.row(n)[k] / start_.scale_at(n, group) + static_cast<float>(start_.zero_at(n, group));
      latents_[static_cast<size_t>(n * w.cols + k)] = std::clamp(u, -0.5f, max_code_ + 0.5f);
    }
  }
}

void TunedMatrix::read_row(int64_t row, float* out) const {
  const Quad most = Quad{} + max_code_;
  for (int64_t g = 0; g < start_.num_groups(); ++g) {
    const int64_t begin = g * start_.group_size;
    const int64_t count = std::min(start_.group_size, cols() - begin);
    const float scale = scales_[static_cast<size_t>(row * start_.num_groups() + g)];
    const auto zero = static_cast<float>(start_.zero_at(row, g));
    map_quads(latents_.data() + row * cols() + begin, out + begin, count,
              [&](Quad u) { return (codes_of(u, most) - zero) * scale; });
  }
}

void TunedMatrix::move_row(int64_t row, const float* gradient, const AdamStep& step) {
  const Quad least = {}, most = Quad{} + max_code_;
  for (int64_t g = 0; g < start_.num_groups(); ++g) {
    const auto at = static_cast<size_t>(row * start_.num_groups() + g);
    const int64_t begin = g * start_.group_size;
    const int64_t count = std::min(start_.group_size, cols() - begin);
    const float scale = scales_[at];
    const auto zero = static_cast<float>(start_.zero_at(row, g));
    float* const latents = latents_.data() + row * cols() + begin;
    float* const means = means_.data() + row * cols() + begin;
    float* const squares = squares_.data() + row * cols() + begin;
    Quad along = {};
    for (int64_t k = 0; k < count; k += 4) {
      const int64_t part = std::min<int64_t>(4, count - k);
      Quad u = load_part(latents + k, part);
      Quad mean = load_part(means + k, part), square = load_part(squares + k, part);
      const Quad of_weight = scale * load_part(gradient + begin + k, part);
      along += of_weight * (codes_of(u, most) - zero);
      const Quad inside = ((u >= least) & (u <= most)) ? of_weight : Quad{};
      u -= step.code_rate * adam(inside, mean, square, step);
      store_part(latents + k, min_quad(max_quad(u, Quad{} - 0.5f), most + 0.5f), part);
      store_part(means + k, mean, part);
      store_part(squares + k, square, part);
    }
    const Quad of_scale = Quad{} + (along[0] + along[1] + along[2] + along[3]);
    Quad mean = Quad{} + scale_means_[at], square = Quad{} + scale_squares_[at];
    exponents_[at] -= step.scale_rate * adam(of_scale, mean, square, step)[0];
    scale_means_[at] = mean[0];
    scale_squares_[at] = square[0];
    float factor = exponents_[at];
    exponentials(&factor, 1);
    scales_[at] = stored_scale(start_.scales[at] * factor);
  }
}

QuantizedMatrix TunedMatrix::quantized() const {
  QuantizedMatrix out = start_;
  out.scales = scales_;
  for (const float u : latents_) {
    out.codes.push_back(static_cast<uint8_t>(codes_of(Quad{} + u, Quad{} + max_code_)[0]));
  }
  return out;
}

}  // namespace ruvllm
