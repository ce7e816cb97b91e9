#include "engine/engine_plan.h"

#include <algorithm>
#include <limits>
#include <string>
#include <variant>

#include "base/str.h"
#include "engine/serving_fields.h"
#include "quantize/isq_config.h"

namespace ruvllm {
namespace {

// Logits of scored prompts in one step: bounds their memory to 64 MB.
constexpr int64_t kMaxScoredFloats = int64_t{1} << 24;

// Pages that the operator's bounds and the machine's memory allow.
uint64_t pages_allowed(const ServingConfig& config, uint64_t block_bytes, uint64_t free_bytes) {
  const PagedAttentionConfig& paged = config.paged_attention;
  if (config.kv_cache_memory_bytes > 0) return config.kv_cache_memory_bytes / block_bytes;
  auto pages = static_cast<uint64_t>(paged.max_blocks);
  if (free_bytes > 0) {
    const double share = static_cast<double>(free_bytes) * double{paged.gpu_memory_fraction};
    pages = std::min(pages, static_cast<uint64_t>(share) / block_bytes);
  }
  return pages;
}

}  // namespace

Status check_serving_config(const ServingConfig& config) {
  ServingConfig copy = config;
  for (const ServingField& field : serving_fields()) {
    const ServingTarget target = field.target(copy);
    if (is_allowed(field, target)) continue;
    const std::string found = std::visit([](const auto* value) { return concat(*value); }, target);
    return fail(ErrorCode::kInvalidArgument,
                concat(field.path, " is ", found, ", expected ", allowed_text(field, target)));
  }
  if (config.isq.size() > 1) {
    return fail(ErrorCode::kInvalidArgument, concat("isq has ", config.isq.size(),
                                                    " configurations, expected one (with "
                                                    "overrides for single tensors)"));
  }
  for (const IsqConfig& isq : config.isq) RUVLLM_TRY(check_isq(isq));
  if (config.xlora.size() > 1) {
    return fail(ErrorCode::kInvalidArgument,
                concat("xlora has ", config.xlora.size(),
                       " configurations, expected one (others by load_xlora)"));
  }
  return {};
}

Result<EnginePlan> make_engine_plan(const ServingConfig& config, const ModelRunner& runner,
                                    uint64_t free_bytes) {
  PlannedModel model;
  model.block_tokens = runner.kv_block_tokens();
  model.block_bytes = runner.kv_block_bytes();
  model.max_step_rows = runner.max_step_rows();
  model.max_seq_len = runner.max_seq_len();
  model.vocab_size = runner.config().vocab_size;
  return make_engine_plan(config, model, free_bytes);
}

Result<EnginePlan> make_engine_plan(const ServingConfig& config, const PlannedModel& model,
                                    uint64_t free_bytes) {
  EnginePlan plan;
  plan.block_tokens = model.block_tokens;
  plan.block_bytes = model.block_bytes;
  plan.max_running = config.max_concurrent_requests;
  plan.max_waiting = config.max_waiting_requests;
  plan.max_step_rows =
      static_cast<int32_t>(std::min<int64_t>(config.max_batched_tokens, model.max_step_rows));
  plan.max_scored_rows = static_cast<int32_t>(
      std::clamp<int64_t>(kMaxScoredFloats / model.vocab_size, 1, plan.max_step_rows));
  plan.prefix_caching = config.paged_attention.enable_prefix_caching;
  const uint64_t pages = pages_allowed(config, plan.block_bytes, free_bytes);
  if (pages == 0) {
    return fail(ErrorCode::kOutOfMemory,
                concat("no KV page of ", plan.block_bytes, " bytes fits: ", free_bytes,
                       " bytes are free, gpu_memory_fraction is ",
                       config.paged_attention.gpu_memory_fraction, ", kv_cache_memory_bytes is ",
                       config.kv_cache_memory_bytes));
  }
  plan.num_blocks = static_cast<int32_t>(
      std::min<uint64_t>(pages, uint64_t{std::numeric_limits<int32_t>::max()} / 2));
  plan.max_tokens = std::min(model.max_seq_len, plan.pool_tokens());
  return plan;
}

std::string pool_limits_context(const EnginePlan& plan, int64_t max_seq_len) {
  if (plan.max_tokens >= max_seq_len) return {};
  return concat(
      "max_seq_len is ", max_seq_len, ", but the KV pool holds ", plan.max_tokens, " tokens (",
      plan.num_blocks, " pages of ", plan.block_tokens,
      "): raise max_blocks, gpu_memory_fraction or kv_cache_memory_bytes, whichever bounds "
      "it, or ask for at most that many");
}

std::string describe(const EnginePlan& plan) {
  return concat("KV pool: ", plan.num_blocks, " pages of ", plan.block_tokens, " tokens (",
                plan.pool_tokens(), " tokens, ", plan.pool_bytes() >> 20, " MiB), up to ",
                plan.max_running, " sequences of ", plan.max_tokens, " tokens at a time, steps of ",
                plan.max_step_rows, " tokens, prefix cache ", plan.prefix_caching ? "on" : "off");
}

}  // namespace ruvllm
