// GateRecorder: the gates of one X-LoRA sequence, position by position, for the trace that a
// request may ask for (GenerateParams::gates). A position that is computed again (after a
// preemption) has the same gates and is passed over. One owner, one thread. Cannot fail.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/str.h"
#include "engine/generation.h"
#include "engine/sequence_adapter.h"
#include "lora/xlora.h"
#include "ruvllm/request.h"
#include "ruvllm/result.h"

namespace ruvllm {

// Numbers of one trace: 16 MiB, and about 40 MB in JSON.
inline constexpr int64_t kMaxTraceValues = int64_t{1} << 22;

// Whether the trace that the request may come to is small enough; kInvalidArgument.
inline Status check_trace(const SequenceAdapter& adapter, const GenerationSetup& setup) {
  const GateDetail detail = setup.params.gates;
  if (adapter.xlora == nullptr || detail == GateDetail::kNone) return {};
  const XLora& xlora = adapter.xlora->xlora();
  const int64_t per_token =
      int64_t{detail == GateDetail::kModules ? xlora.num_modules() : 1} * xlora.num_experts();
  const int64_t num_tokens = std::min(
      static_cast<int64_t>(setup.prompt.size()) + setup.params.max_tokens, setup.max_seq_len);
  if (num_tokens <= kMaxTraceValues / std::max<int64_t>(per_token, 1)) return {};
  return fail(ErrorCode::kInvalidArgument,
              concat("gates of ", num_tokens, " tokens with ", per_token, " each are more than ",
                     kMaxTraceValues, "; ask for ",
                     detail == GateDetail::kModules ? "their mean, or for " : "", "fewer tokens"));
}

class GateRecorder {
 public:
  GateRecorder(std::shared_ptr<const XLora> xlora, GateDetail detail)
      : xlora_(std::move(xlora)), detail_(detail) {
    trace_.experts = xlora_->expert_names;
    if (detail_ == GateDetail::kModules) trace_.modules = xlora_->module_names;
  }

  // gates: [num_gates] of this position.
  void add(int64_t position, const float* gates) {
    if (position != trace_.num_rows) return;
    ++trace_.num_rows;
    append_gates(*xlora_, detail_, gates, trace_.values);
  }
  // Of a request that has ended; call once.
  GateTrace take() { return std::move(trace_); }

  // One row of a trace: the mean over the modules, or every module's.
  static void append_gates(const XLora& xlora, GateDetail detail, const float* gates,
                           std::vector<float>& out) {
    const auto n = static_cast<size_t>(xlora.num_experts());
    const auto modules = static_cast<size_t>(xlora.num_modules());
    if (detail == GateDetail::kModules) {
      for (size_t l = 0; l < modules; ++l) {
        const float* begin = gates + (xlora.layerwise ? l * n : 0);
        out.insert(out.end(), begin, begin + n);
      }
      return;
    }
    const size_t rows = xlora.layerwise ? modules : 1;
    for (size_t i = 0; i < n; ++i) {
      double sum = 0.0;
      for (size_t l = 0; l < rows; ++l) sum += gates[l * n + i];
      out.push_back(static_cast<float>(sum / static_cast<double>(rows)));
    }
  }

 private:
  std::shared_ptr<const XLora> xlora_;
  GateDetail detail_;
  GateTrace trace_;
};

}  // namespace ruvllm
