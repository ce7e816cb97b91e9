// Ops::lora_delta in plain loops: the oracle of the devices that have their own.
#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/float_types.h"
#include "ops/ops.h"

namespace ruvllm {
namespace {

float element(const LoraTerm& term, const void* numbers, int64_t index) {
  return term.dtype == DType::kF32 ? static_cast<const float*>(numbers)[index]
                                   : bf16_to_f32(static_cast<const uint16_t*>(numbers)[index]);
}

// low[j] = gate * scale * (row j of A) . x
void project_down(const LoraArgs& args, const LoraTerm& term, ConstMatrixF32 gates, int32_t row,
                  std::span<float> low) {
  const float gate = term.gate < 0 ? 1.0f : gates.row(row)[term.gate];
  for (int32_t j = 0; j < term.rank; ++j) {
    double sum = 0.0;
    if (!args.ids.empty()) {
      const int64_t id = args.ids[static_cast<size_t>(row)];
      sum = element(term, term.a, id * term.rank + j);
    } else {
      const float* x = args.x.row(row);
      for (int64_t k = 0; k < args.x.cols; ++k) {
        sum += static_cast<double>(element(term, term.a, j * args.x.cols + k)) * x[k];
      }
    }
    low[static_cast<size_t>(j)] = static_cast<float>(sum * term.scale * gate);
  }
}

}  // namespace

void Ops::lora_delta(const LoraArgs& args) {
  for (int64_t t = 0; t < args.delta.rows; ++t) {
    std::fill_n(args.delta.row(t), args.delta.cols, -0.0f);
  }
  std::array<float, kMaxLoraRank> low;
  for (const LoraArgs::Rows& group : args.groups) {
    for (const int32_t row : group.rows) {
      for (const LoraTerm& term : group.terms) {
        RUVLLM_CHECK(term.rank <= kMaxLoraRank, term.rank);
        RUVLLM_CHECK(term.first_column + term.num_columns <= args.delta.cols, term.first_column);
        project_down(args, term, group.gates, row, low);
        float* delta = args.delta.row(row) + term.first_column;
        for (int32_t j = 0; j < term.rank; ++j) {
          for (int64_t n = 0; n < term.num_columns; ++n) {
            const float b = element(term, term.b, lora_panel_index(n, j, term.rank));
            delta[n] += low[static_cast<size_t>(j)] * b;
          }
        }
      }
    }
  }
}

}  // namespace ruvllm
