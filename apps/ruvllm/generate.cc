// ruvllm generate: continues sequences of token ids; one JSON object.
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>

#include "answer.h"
#include "base/str.h"
#include "io.h"
#include "model_flags.h"
#include "verbs.h"

namespace ruvllm::cli {
namespace {

Json sequence_json(const GenerateResult& result) {
  Json::Array logprobs;
  for (const Token& token : result.tokens) {
    logprobs.emplace_back(static_cast<double>(token.logprob.value_or(0.0f)));
  }
  return object({{"ids", ids_json(result.ids)},
                 {"logprobs", Json(std::move(logprobs))},
                 {"finish_reason", text_json(finish_reason_name(result.finish_reason))}});
}

// Runs every sequence, `concurrency` at a time.
Result<Json::Array> generate_all(LlmBackend& backend,
                                 const std::vector<std::vector<int32_t>>& prompts,
                                 const GenerateParams& params, int32_t concurrency) {
  Json::Array results(prompts.size());
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::optional<Error> first_error;  // guarded by mutex
  const auto work = [&] {
    for (size_t i = next++; i < prompts.size(); i = next++) {
      const Result<GenerateResult> result = backend.generate_detailed(prompts[i], params);
      const std::scoped_lock lock(mutex);
      if (result) {
        results[i] = sequence_json(*result);
      } else if (!first_error) {
        first_error =
            Error{result.error().code, concat("sequence ", i, ": ", result.error().message)};
      }
    }
  };
  std::vector<std::thread> threads;
  for (int32_t i = 1; i < concurrency; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  if (first_error) return std::unexpected(*first_error);
  return results;
}

}  // namespace

int verb_generate(Args args) {
  ModelFlags model;
  SamplingFlags sampling;
  sampling.params = GenerateParams::greedy(sampling.params.max_tokens);
  std::string ids_path;
  int32_t concurrency = 1;
  bool json = true;
  FlagSet flags("generate", "continues every sequence of a file, as JSON");
  model.add_to(flags, kComputeFlags | kSeedFlag);
  add_serving_flags(flags, model.serving);
  flags.add("--ids", "FILE", ids_path, "JSON: [[ids],[ids],...] (- is stdin)");
  flags.add("--concurrency", "C", concurrency,
            "sequences asked for at a time; edge computes one after the other", 1, 1024);
  sampling.add_to(flags);
  flags.add("--json", json, "JSON output (always on)");
  flags.add_example("ruvllm generate -m demo --ids prompts.json -n 32 --ignore-eos");
  if (const auto status = flags.parse(args)) return *status;
  if (const auto status = model.check(flags)) return *status;
  if (ids_path.empty()) return flags.usage_error("which sequences? give --ids FILE");
  const auto prompts = read_id_lists(ids_path);
  if (!prompts) return fail_with("generate", prompts.error());
  const auto backend = model.open_backend();
  if (!backend) return fail_with("generate", backend.error());
  sampling.params.seed = model.seed;
  sampling.params.top_logprobs = 0;
  auto results = generate_all(**backend, *prompts, sampling.params, concurrency);
  if (!results) return fail_with("generate", results.error());
  write_out(object({{"sequences", Json(*std::move(results))}}).dump() + "\n");
  return kExitOk;
}

}  // namespace ruvllm::cli
