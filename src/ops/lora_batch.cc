// Ops::lora_delta in plain loops: the oracle of the devices that have their own.
#include <algorithm>
#include <array>

#include "base/check.h"
#include "ops/ops.h"

namespace ruvllm {
namespace {

// low[j] = gate * scale * (row j of A) . x
void project_down(const LoraArgs& args, const LoraTerm& term, ConstMatrixF32 gates, int32_t row,
                  std::span<float> low) {
  const float gate = term.gate < 0 ? 1.0f : gates.row(row)[term.gate];
  for (int32_t j = 0; j < term.rank; ++j) {
    double sum = 0.0;
    if (!args.ids.empty()) {
      sum = term.a[int64_t{args.ids[static_cast<size_t>(row)]} * term.rank + j];
    } else {
      const float* x = args.x.row(row);
      const float* a = term.a + j * args.x.cols;
      for (int64_t k = 0; k < args.x.cols; ++k) sum += static_cast<double>(a[k]) * x[k];
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
          const float* b = term.b + j * term.num_columns;
          for (int64_t n = 0; n < term.num_columns; ++n) {
            delta[n] += low[static_cast<size_t>(j)] * b[n];
          }
        }
      }
    }
  }
}

}  // namespace ruvllm
