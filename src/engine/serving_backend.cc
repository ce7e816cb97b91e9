#include "engine/serving_backend.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/str.h"
#include "base/system_memory.h"
#include "engine/serving_stream.h"
#include "quantize/isq_config.h"

namespace ruvllm {
namespace {

constexpr size_t kMaxQueuedTokens = 256;
constexpr size_t kMaxRequestId = 128;
constexpr size_t kEmbeddingsAtATime = 64;

Status check_request_options(const RequestOptions& options) {
  const bool visible =
      std::ranges::all_of(options.request_id, [](char c) { return c > 32 && c < 127; });
  if (options.request_id.size() > kMaxRequestId || !visible) {
    return fail(ErrorCode::kInvalidArgument,
                "request_id: expected at most 128 visible ASCII characters");
  }
  if (options.queue_timeout.count() < 0 || options.total_timeout.count() < 0) {
    return fail(ErrorCode::kInvalidArgument,
                "queue_timeout and total_timeout: expected 0 (none) or more");
  }
  return {};
}

}  // namespace

struct ServingBackend::Model {
  Model(ModelParts model_parts, const EnginePlan& engine_plan)
      : parts(std::move(model_parts)),
        plan(engine_plan),
        scratch(std::make_shared<SamplerScratch>(parts.runner->config().vocab_size)),
        loop(parts, plan) {}

  const ModelParts parts;
  const EnginePlan plan;
  const std::shared_ptr<SamplerScratch> scratch;  // used by the loop alone
  EngineLoop loop;
};

ServingBackend::ServingBackend(ServingConfig config, ModelLoader loader,
                               DecoderFactory make_decoder, std::function<void(EnginePlan&)> adjust)
    : config_(std::move(config)),
      loader_(std::move(loader)),
      make_decoder_(std::move(make_decoder)),
      adjust_(std::move(adjust)) {}

ServingBackend::~ServingBackend() {
  unload_model();
}

Status ServingBackend::load_model(const std::string& model, const LoadOptions& options) {
  RUVLLM_TRY(check_serving_config(config_));
  unload_model();
  LoadOptions load = options;
  if (load.isq.empty() && !config_.isq.empty()) {
    load.isq = isq_text(config_.isq.front());
    load.calibration_samples = config_.isq.front().calibration_samples;
  }
  if (!config_.xlora.empty() && !load.xlora_config) load.xlora_config = config_.xlora.front();
  if (load.device == DeviceKind::kAuto) load.device = config_.device;
  RUVLLM_ASSIGN(ModelParts parts, loader_(model, load));
  RUVLLM_ASSIGN(EnginePlan plan,
                make_engine_plan(config_, *parts.runner, available_memory_bytes()));
  if (adjust_) adjust_(plan);
  if (const std::string limit = pool_limits_context(plan, parts.runner->max_seq_len());
      !limit.empty()) {
    // Asked for, it is a promise; else the model's context is only the most there could be.
    if (options.max_seq_len > 0) return fail(ErrorCode::kInvalidArgument, limit);
    log_warning(limit);
  }
  RUVLLM_TRY(parts.runner->reserve_kv_blocks(plan.num_blocks));
  parts.context_limit = plan.max_tokens;
  log_info(describe(plan));
  auto loaded = std::make_shared<Model>(std::move(parts), plan);
  const std::scoped_lock lock(mutex_);
  model_.swap(loaded);  // one that a second caller loaded meanwhile goes
  return {};
}

void ServingBackend::unload_model() {
  std::shared_ptr<Model> model;
  {
    const std::scoped_lock lock(mutex_);
    model.swap(model_);
  }
  if (model != nullptr) model->loop.inbox()->close();  // calls that hold the model end soon
}

Result<std::shared_ptr<ServingBackend::Model>> ServingBackend::model() const {
  const std::scoped_lock lock(mutex_);
  if (model_ == nullptr) return fail(ErrorCode::kUnavailable, "no model is loaded");
  return model_;
}

Result<std::shared_ptr<const ModelParts>> ServingBackend::parts() const {
  RUVLLM_ASSIGN(const std::shared_ptr<Model> model, this->model());
  return std::shared_ptr<const ModelParts>(model, &model->parts);
}

Result<EnginePlan> ServingBackend::plan() const {
  RUVLLM_ASSIGN(const std::shared_ptr<Model> model, this->model());
  return model->plan;
}

BackendFeatures ServingBackend::features() const {
  BackendFeatures features;
  features.concurrent = true;
  features.sampling_masks = true;
  features.stop_in_output = true;
  features.special_tokens = true;
  features.prompt_logprobs = true;
  features.priority = true;
  features.cache_salt = true;
  features.deadlines = true;
  features.adapters = true;
  return features;
}

std::optional<EngineStats> ServingBackend::stats() const {
  const auto model = this->model();
  if (!model) return std::nullopt;
  return (*model)->loop.stats();
}

Result<std::vector<RequestPtr>> ServingBackend::make_requests(
    const Model& model, const Prompt& prompt, const GenerateParams& params, int32_t n,
    const RequestOptions& options, bool wants_tokens) const {
  RUVLLM_TRY(check_request_options(options));
  RUVLLM_ASSIGN(const std::vector<int32_t> ids, model.parts.prompt_ids(prompt));
  // One for all: what has a name may be replaced at any time.
  RUVLLM_ASSIGN(const SequenceAdapter adapter, model.parts.adapters.select(options.adapter));
  std::vector<RequestPtr> requests;
  for (int32_t i = 0; i < n; ++i) {
    RUVLLM_ASSIGN(GenerationSetup setup,
                  prepare_generation(model.parts, ids, params_of_answer(params, i), make_decoder_));
    setup.scratch = model.scratch;
    RUVLLM_TRY(check_trace(adapter, setup));
    auto request = std::make_shared<ServingRequest>(wants_tokens ? kMaxQueuedTokens : 0);
    request->options = options;
    request->wants_tokens = wants_tokens;
    request->generation.emplace(std::move(setup));
    request->set_adapter(adapter, model.parts.runner->config().hidden_size);
    requests.push_back(std::move(request));
  }
  return requests;
}

Result<std::unique_ptr<TokenStream>> ServingBackend::generate_stream(
    const Prompt& prompt, const GenerateParams& params, const RequestOptions& options) {
  RUVLLM_ASSIGN(const std::shared_ptr<Model> model, this->model());
  RUVLLM_ASSIGN(const auto requests, make_requests(*model, prompt, params, 1, options, true));
  RUVLLM_TRY(model->loop.inbox()->submit(requests));
  return std::make_unique<ServingStream>(requests.front(), model->loop.inbox());
}

Result<std::vector<std::unique_ptr<TokenStream>>> ServingBackend::generate_answers(
    const Prompt& prompt, const GenerateParams& params, int32_t n, const RequestOptions& options) {
  if (n < 1) return fail(ErrorCode::kInvalidArgument, "n: expected at least one answer");
  RUVLLM_ASSIGN(const std::shared_ptr<Model> model, this->model());
  RUVLLM_ASSIGN(const auto requests, make_requests(*model, prompt, params, n, options, true));
  if (n > model->plan.max_running + model->plan.max_waiting) {
    return fail(ErrorCode::kInvalidArgument,
                concat("n: ", n, " answers; ", model->plan.max_running, " may run and ",
                       model->plan.max_waiting, " wait"));
  }
  // Those that share a prompt begin together: not more at a time than will soon find room.
  const auto group = static_cast<size_t>((model->plan.max_running + 1) / 2);
  std::vector<RequestPtr> leaders;
  for (size_t i = 0; i < requests.size(); ++i) {
    if (i % group == 0) {
      leaders.push_back(requests[i]);
    } else {
      leaders.back()->followers.push_back(requests[i]);
    }
  }
  RUVLLM_TRY(model->loop.inbox()->submit(leaders));
  std::vector<std::unique_ptr<TokenStream>> streams;
  for (const RequestPtr& request : requests) {
    streams.push_back(std::make_unique<ServingStream>(request, model->loop.inbox()));
  }
  return streams;
}

Result<GenerateResult> ServingBackend::generate_detailed(const Prompt& prompt,
                                                         const GenerateParams& params) {
  RUVLLM_ASSIGN(const std::shared_ptr<Model> model, this->model());
  RUVLLM_ASSIGN(const auto requests,
                make_requests(*model, prompt, params, 1, RequestOptions(), false));
  RUVLLM_TRY(model->loop.inbox()->submit(requests));
  StreamEvent last = *requests.front()->events.pop(std::nullopt).event;
  if (auto* error = std::get_if<Error>(&last)) return std::unexpected(std::move(*error));
  return std::move(std::get<Done>(last).result);
}

Result<std::vector<float>> ServingBackend::get_embeddings(const std::string& text) {
  RUVLLM_ASSIGN(auto vectors, get_embeddings_batch({text}));
  return std::move(vectors.front());
}

Result<std::vector<std::vector<float>>> ServingBackend::get_embeddings_batch(
    const std::vector<Prompt>& inputs) {
  RUVLLM_ASSIGN(const std::shared_ptr<Model> model, this->model());
  std::vector<RequestPtr> requests;
  for (const Prompt& input : inputs) {
    auto request = std::make_shared<ServingRequest>(0);
    request->set_adapter(model->parts.adapters.chosen(), model->parts.runner->config().hidden_size);
    RUVLLM_ASSIGN(request->text, model->parts.prompt_ids(input));
    request->pool.emplace(model->parts.pooling(), static_cast<int64_t>(request->text.size()),
                          model->parts.runner->config().hidden_size);
    requests.push_back(std::move(request));
  }
  std::vector<std::vector<float>> vectors;
  std::optional<Error> first_error;
  for (size_t begin = 0; begin < requests.size(); begin += kEmbeddingsAtATime) {
    const auto group =
        std::span(requests).subspan(begin, std::min(kEmbeddingsAtATime, requests.size() - begin));
    RUVLLM_TRY(model->loop.inbox()->submit(group));
    for (const RequestPtr& request : group) {
      const StreamEvent last = *request->events.pop(std::nullopt).event;
      if (const auto* error = std::get_if<Error>(&last); error != nullptr && !first_error) {
        first_error = *error;
      }
      vectors.push_back(std::move(request->vector));
    }
    if (first_error) return std::unexpected(*first_error);
  }
  return vectors;
}

}  // namespace ruvllm
