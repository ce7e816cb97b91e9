#include "ops/reference/reference_ops.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "ops/reference/reference_math.h"
#include "ops/reference/reference_weight.h"

namespace ruvllm {

std::unique_ptr<Ops> make_reference_ops() {
  return std::make_unique<reference::ReferenceOps>();
}

namespace reference {

float* ReferenceOps::scratch(int slot, int64_t n) {
  std::vector<float>& buffer = scratch_[slot];
  if (buffer.size() < static_cast<size_t>(n)) buffer.resize(static_cast<size_t>(n));
  return buffer.data();
}

void ReferenceOps::reserve(const StepLimits& limits) {
  for (int slot = 0; slot < kNumSlots; ++slot) {
    scratch(slot, std::max(limits.max_columns, limits.max_context));
  }
}

Result<std::unique_ptr<Weight>> ReferenceOps::make_weight(std::span<const WeightSource> sources,
                                                          const WeightOptions&) {
  return ReferenceWeight::make(sources);
}

void ReferenceOps::embed(const Weight& table, std::span<const int32_t> ids, float scale,
                         MatrixF32 out) {
  RUVLLM_CHECK(out.rows == static_cast<int64_t>(ids.size()) && out.cols == table.cols());
  float* buffer = scratch(0, table.cols());
  for (int64_t t = 0; t < out.rows; ++t) {
    const float* row = as_reference(table).row(ids[static_cast<size_t>(t)], buffer);
    float* y = out.row(t);
    for (int64_t i = 0; i < out.cols; ++i) y[i] = scale * row[i];
  }
}

namespace {

int64_t norm_size(const NormArgs& args) {
  RUVLLM_CHECK(args.groups > 0 && args.x.cols % args.groups == 0, args.x.cols, "/", args.groups);
  RUVLLM_CHECK(args.y.rows == args.x.rows && args.y.cols == args.x.cols);
  return args.x.cols / args.groups;
}

}  // namespace

void ReferenceOps::rms_norm(const NormArgs& args) {
  const int64_t n = norm_size(args);
  const float added = args.plus_one ? 1.0f : 0.0f;
  for (int64_t t = 0; t < args.x.rows; ++t) {
    for (int64_t g = 0; g < args.groups; ++g) {
      const float* x = args.x.row(t) + g * n;
      float* y = args.y.row(t) + g * n;
      const float mean_square = dot(x, x, n) / static_cast<float>(n);
      const float inverse = 1.0f / std::sqrt(mean_square + args.eps);
      for (int64_t i = 0; i < n; ++i) y[i] = x[i] * inverse * (args.weight[i] + added);
    }
  }
}

void ReferenceOps::layer_norm(const NormArgs& args) {
  const int64_t n = norm_size(args);
  const float added = args.plus_one ? 1.0f : 0.0f;
  for (int64_t t = 0; t < args.x.rows; ++t) {
    for (int64_t g = 0; g < args.groups; ++g) {
      const float* x = args.x.row(t) + g * n;
      float* y = args.y.row(t) + g * n;
      const float mean = sum_of(n, [x](int64_t i) { return x[i]; }) / static_cast<float>(n);
      const float variance =
          sum_of(n, [x, mean](int64_t i) { return (x[i] - mean) * (x[i] - mean); }) /
          static_cast<float>(n);
      const float inverse = 1.0f / std::sqrt(variance + args.eps);
      for (int64_t i = 0; i < n; ++i) {
        const float bias = args.bias != nullptr ? args.bias[i] : 0.0f;
        y[i] = (x[i] - mean) * inverse * (args.weight[i] + added) + bias;
      }
    }
  }
}

void ReferenceOps::matmul(const MatmulArgs& args) {
  const Weight& w = *args.weight;
  RUVLLM_CHECK(args.x.cols == w.cols() && args.y.cols == w.rows() && args.y.rows == args.x.rows,
               args.x.rows, "x", args.x.cols, " by ", w.rows(), "x", w.cols(), " into ",
               args.y.rows, "x", args.y.cols);
  float* buffer = scratch(0, w.cols());
  for (int64_t n = 0; n < w.rows(); ++n) {
    const float* row = as_reference(w).row(n, buffer);
    for (int64_t t = 0; t < args.x.rows; ++t) {
      float value = dot(args.x.row(t), row, w.cols());
      if (!args.delta.empty()) value += args.delta.row(t)[n];
      if (args.bias != nullptr) value += args.bias[n];
      value *= args.branch_scale;
      if (!args.residual.empty()) value += args.residual.row(t)[n];
      args.y.row(t)[n] = value;
    }
  }
}

void ReferenceOps::rope(const RopeArgs& args) {
  RUVLLM_CHECK(args.x.cols == int64_t{args.num_heads} * args.head_dim, args.x.cols);
  RUVLLM_CHECK(args.rotary_dim <= args.head_dim && args.rotary_dim % 2 == 0, args.rotary_dim);
  for (const ConstMatrixF32* angles : {&args.cos, &args.sin}) {
    RUVLLM_CHECK(angles->rows >= args.x.rows && angles->cols == args.rotary_dim / 2, angles->rows,
                 "x", angles->cols);
  }
  const int64_t pairs = args.rotary_dim / 2;
  const bool halves = args.layout == RopeLayout::kHalves;
  for (int64_t t = 0; t < args.x.rows; ++t) {
    const float* cos = args.cos.row(t);
    const float* sin = args.sin.row(t);
    for (int64_t h = 0; h < args.num_heads; ++h) {
      float* head = args.x.row(t) + h * args.head_dim;
      for (int64_t i = 0; i < pairs; ++i) {
        float& a = head[halves ? i : 2 * i];
        float& b = head[halves ? i + pairs : 2 * i + 1];
        const float rotated_a = a * cos[i] - b * sin[i];
        const float rotated_b = b * cos[i] + a * sin[i];
        a = rotated_a;
        b = rotated_b;
      }
    }
  }
}

void ReferenceOps::activate_and_multiply(ConstMatrixF32 gate_up, Activation activation,
                                         MatrixF32 y) {
  RUVLLM_CHECK(gate_up.cols == 2 * y.cols && gate_up.rows == y.rows, gate_up.cols, " ", y.cols);
  for (int64_t t = 0; t < y.rows; ++t) {
    const float* gate = gate_up.row(t);
    const float* up = gate + y.cols;
    for (int64_t i = 0; i < y.cols; ++i) y.row(t)[i] = activate_one(gate[i], activation) * up[i];
  }
}

void ReferenceOps::activate(MatrixF32 x, Activation activation) {
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t i = 0; i < x.cols; ++i) x.row(t)[i] = activate_one(x.row(t)[i], activation);
  }
}

void ReferenceOps::add(MatrixF32 x, ConstMatrixF32 y, float scale) {
  RUVLLM_CHECK(x.rows == y.rows && x.cols == y.cols);
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t i = 0; i < x.cols; ++i) x.row(t)[i] += scale * y.row(t)[i];
  }
}

void ReferenceOps::finish_logits(MatrixF32 logits, float scale, float softcap) {
  for (int64_t t = 0; t < logits.rows; ++t) {
    for (int64_t i = 0; i < logits.cols; ++i) {
      float& value = logits.row(t)[i];
      value *= scale;
      if (softcap != 0.0f) value = softcap * std::tanh(value / softcap);
    }
  }
}

}  // namespace reference
}  // namespace ruvllm
