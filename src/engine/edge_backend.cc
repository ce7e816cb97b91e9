#include "engine/edge_backend.h"

#include <algorithm>
#include <utility>

#include "base/str.h"
#include "engine/edge_run.h"
#include "engine/pooling.h"
#include "sampling/sampler.h"

namespace ruvllm {

EdgeBackend::EdgeBackend(ModelLoader loader, DecoderFactory make_decoder)
    : loader_(std::move(loader)), make_decoder_(std::move(make_decoder)) {}

EdgeBackend::~EdgeBackend() {
  unload_model();
}

Status EdgeBackend::load_model(const std::string& model, const LoadOptions& options) {
  unload_model();
  RUVLLM_ASSIGN(ModelParts parts, loader_(model, options));
  auto loaded = std::make_shared<EdgeModel>(std::move(parts));
#if !defined(__wasm__)
  const std::scoped_lock lock(mutex_);
#endif
  model_.swap(loaded);  // one that a second caller loaded meanwhile goes
  return {};
}

void EdgeBackend::unload_model() {
  std::shared_ptr<EdgeModel> model;
  {
#if !defined(__wasm__)
    const std::scoped_lock lock(mutex_);
#endif
    model.swap(model_);
  }
  if (model == nullptr) return;
  model->cancel_all();
  // The memory goes with the last generation; wait for it, so that a load that follows finds room.
  const std::atomic<bool> never{false};
  model->turnstile.enter(never);
}

Result<std::shared_ptr<EdgeModel>> EdgeBackend::model() const {
#if !defined(__wasm__)
  const std::scoped_lock lock(mutex_);
#endif
  if (model_ == nullptr) return fail(ErrorCode::kUnavailable, "no model is loaded");
  return model_;
}

Result<std::shared_ptr<const ModelParts>> EdgeBackend::parts() const {
  RUVLLM_ASSIGN(const std::shared_ptr<EdgeModel> model, this->model());
  return std::shared_ptr<const ModelParts>(model, &model->parts);
}

namespace {

// What this backend cannot do yet is refused by name, never ignored.
Status refuse_unsupported(const GenerateParams& params) {
  if (params.prompt_logprobs < 0) return {};
  return fail(ErrorCode::kUnsupported, "the edge backend does not support prompt_logprobs");
}

Status refuse_unsupported(const RequestOptions& options) {
  const char* name = nullptr;
  if (options.priority != 0) name = "priority";
  if (!options.cache_salt.empty()) name = "cache_salt";
  if (options.queue_timeout.count() != 0) name = "queue_timeout";
  if (options.total_timeout.count() != 0) name = "total_timeout";
  if (name == nullptr) return {};
  return fail(ErrorCode::kUnsupported, concat("the edge backend does not support ", name));
}

}  // namespace

Result<GenerationSetup> EdgeBackend::prepare(const EdgeModel& model, const Prompt& prompt,
                                             const GenerateParams& params,
                                             const SequenceAdapter& adapter) const {
  RUVLLM_TRY(refuse_unsupported(params));
  RUVLLM_ASSIGN(GenerationSetup setup,
                prepare_generation(model.parts, prompt, params, make_decoder_));
  RUVLLM_TRY(check_trace(adapter, setup));
  return setup;
}

Result<GenerateResult> EdgeBackend::generate_detailed(const Prompt& prompt,
                                                      const GenerateParams& params) {
  RUVLLM_ASSIGN(std::shared_ptr<EdgeModel> model, this->model());
  SequenceAdapter adapter = model->parts.adapters.chosen();
  RUVLLM_ASSIGN(GenerationSetup setup, prepare(*model, prompt, params, adapter));
  EdgeRun run(std::move(model), std::move(setup), std::move(adapter),
              std::make_shared<CancelFlag>());
  while (auto event = run.next_event()) {
    if (auto* done = std::get_if<Done>(&*event)) return std::move(done->result);
    if (auto* error = std::get_if<Error>(&*event)) return std::unexpected(std::move(*error));
  }
  return fail(ErrorCode::kInternal, "a generation ended without a result");
}

Result<std::unique_ptr<TokenStream>> EdgeBackend::generate_stream(const Prompt& prompt,
                                                                  const GenerateParams& params,
                                                                  const RequestOptions& options) {
  RUVLLM_TRY(refuse_unsupported(options));
  RUVLLM_ASSIGN(std::shared_ptr<EdgeModel> model, this->model());
  RUVLLM_ASSIGN(SequenceAdapter adapter, model->parts.adapters.select(options.adapter));
  RUVLLM_ASSIGN(GenerationSetup setup, prepare(*model, prompt, params, adapter));
  return make_token_stream([&](std::shared_ptr<CancelFlag> flag) {
    return std::make_unique<EdgeRun>(std::move(model), std::move(setup), std::move(adapter),
                                     std::move(flag));
  });
}

BackendFeatures EdgeBackend::features() const {
  return {.sampling_masks = true, .stop_in_output = true, .special_tokens = true, .adapters = true};
}

Result<std::vector<float>> EdgeBackend::get_embeddings(const std::string& text) {
  return embed(text);
}

Result<std::vector<std::vector<float>>> EdgeBackend::get_embeddings_batch(
    const std::vector<Prompt>& inputs) {
  std::vector<std::vector<float>> out;
  for (const Prompt& input : inputs) {
    RUVLLM_ASSIGN(std::vector<float> vector, embed(input));
    out.push_back(std::move(vector));
  }
  return out;
}

Result<std::vector<float>> EdgeBackend::embed(const Prompt& prompt) {
  RUVLLM_ASSIGN(const std::shared_ptr<EdgeModel> model, this->model());
  RUVLLM_ASSIGN(const std::vector<int32_t> ids, model->parts.prompt_ids(prompt));
  const auto flag = std::make_shared<CancelFlag>();
  flag->set_hook([model] { model->turnstile.wake(); });
  model->remember(flag);
  const Turnstile::Turn turn = model->turnstile.enter(flag->value());
  if (!turn) return fail(ErrorCode::kUnavailable, "the model was unloaded");
  model->session.set_adapter(model->parts.adapters.chosen());
  HiddenPool pool(model->parts.pooling(), static_cast<int64_t>(ids.size()),
                  model->parts.runner->config().hidden_size);
  RUVLLM_TRY(
      model->session.score(ids, {.first_row = 0, .logits = false, .hidden = true},
                           [&](const ScoredRow& row) { pool.add(row.position, row.hidden); }));
  return pool.take();
}

}  // namespace ruvllm
