// ruvllm bench --adapters-in-batch: what adapters cost while sessions decode, beside the base
// model.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/str.h"
#include "io.h"
#include "session_bench.h"

namespace ruvllm::cli {

struct SessionBench::AdapterCase {
  std::string test;                   // "base", "8 adapters", "xlora"
  std::vector<std::string> adapters;  // the sessions', in turn
};

// Bytes of adapters that a step reads.
double SessionBench::adapter_bytes(const OpenBackend& bench,
                                   const AdapterCase& adapter_case) const {
  double bytes = 0.0;
  for (const AdapterInfo& info : bench.backend->adapters()) {
    const bool used =
        std::ranges::find(adapter_case.adapters, info.name) != adapter_case.adapters.end();
    if (used) bytes += static_cast<double>(info.num_bytes);
  }
  return bytes;
}

// All cases in turn, again and again: what they are compared by is the median of the pairs.
Status SessionBench::run_adapter_cases(OpenBackend& bench, int64_t batch, int64_t tokens) {
  constexpr int64_t kPrompt = 16;
  std::vector<AdapterCase> cases = {{"base", {"base"}}};
  for (const int64_t count : flags_.adapters_in_batch) {
    if (count > batch) continue;  // not all would be used
    AdapterCase& added =
        cases.emplace_back(AdapterCase{concat(count, count == 1 ? " adapter" : " adapters"), {}});
    for (int64_t i = 0; i < count; ++i) {
      added.adapters.push_back(flags_.model.load.adapters[static_cast<size_t>(i)].first);
    }
  }
  if (!flags_.model.load.xlora.empty()) cases.push_back({"xlora", {"xlora"}});
  std::vector<std::vector<double>> rates(cases.size());
  std::vector<std::vector<double>> ratios(cases.size());
  for (int32_t rep = 0; rep <= flags_.reps; ++rep) {  // the first warms up
    for (size_t i = 0; i < cases.size(); ++i) {
      const auto prompts = make_prompts(batch, 0, kPrompt, bench.info.vocab_size, ++series_);
      const Result<double> rate = decode_rate(*bench.backend, *bench.runner, prompts,
                                              rep == 0 ? 4 : tokens, cases[i].adapters);
      if (rep == 0) continue;
      if (!rate) return std::unexpected(rate.error());
      rates[i].push_back(*rate);
      ratios[i].push_back(*rate / rates[0].back());
    }
  }
  for (size_t i = 0; i < cases.size(); ++i) {
    std::ranges::sort(ratios[i]);
    const double ratio = ratios[i][ratios[i].size() / 2];
    const MeanAndDeviation rate = mean_and_deviation(rates[i]);
    Members more;
    more.emplace_back("base_ratio", Json(ratio));
    std::string text = i == 0 ? "" : concat(fixed(100.0 * ratio, 1), " % of the base");
    if (cases[i].test != "xlora") {
      const double middle = static_cast<double>(kPrompt) + static_cast<double>(tokens) / 2.0;
      const double more_bytes = adapter_bytes(bench, cases[i]);
      const Roofs roofs = best_roofs(*bench.runner);
      const double kv_tokens = middle * static_cast<double>(batch);
      const double floor = std::max(floor_seconds(*bench.runner, batch, batch, kv_tokens, roofs),
                                    reading_seconds(*bench.runner, kv_tokens, more_bytes, roofs));
      const double step = static_cast<double>(batch) / rate.mean;
      text += concat(text.empty() ? "" : ", ", "step ", fixed(step * 1e3, 2), " ms, floor ",
                     fixed(floor * 1e3, 2), " (", fixed(step / floor, 2), "x)");
      more.emplace_back("step_seconds", Json(step));
      more.emplace_back("floor_seconds", Json(floor));
    }
    add_row(cases[i].test, bench, batch, kPrompt, rate, std::move(more), text);
  }
  return {};
}

Status SessionBench::run_adapters() {
  int64_t sessions = 1;
  for (const int64_t batch : flags_.batch) sessions = std::max(sessions, batch);
  const int64_t longest = std::ranges::max(flags_.tg);
  RUVLLM_ASSIGN(OpenBackend bench, open(BackendKind::kServing,
                                        config_for(2 * sessions, 2 * (longest + 16), 0), false));
  for (const int64_t batch : flags_.batch) {
    for (const int64_t tokens : flags_.tg) {
      if (tokens > 0) RUVLLM_TRY(run_adapter_cases(bench, batch, tokens));
    }
  }
  return {};
}

}  // namespace ruvllm::cli
