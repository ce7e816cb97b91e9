// ServingBackend: LlmBackend for many users at once: one model, one engine loop, KV memory in pages
// that equal prompts share.
//
// Generations and embeddings run side by side; what does not fit waits, what finds the queue full
// is refused with kUnavailable. Unloading, or loading another model, cancels what is running.
// Streams may outlive the backend; they then end with kCancelled. A stream that nobody reads pauses
// its own generation when its queue is full.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "engine/engine_loop.h"
#include "engine/engine_plan.h"
#include "engine/model_backend.h"

namespace ruvllm {

class ServingBackend final : public ModelBackend {
 public:
  // `adjust` may change the plan before anything runs by it (tests).
  ServingBackend(ServingConfig config, ModelLoader loader, DecoderFactory make_decoder,
                 std::function<void(EnginePlan&)> adjust = {});
  ~ServingBackend() override;

  Status load_model(const std::string& model, const LoadOptions& options) override;
  void unload_model() override;
  Result<GenerateResult> generate_detailed(const Prompt& prompt,
                                           const GenerateParams& params) override;
  using ModelBackend::generate_stream;
  Result<std::unique_ptr<TokenStream>> generate_stream(const Prompt& prompt,
                                                       const GenerateParams& params,
                                                       const RequestOptions& options) override;
  Result<std::vector<std::unique_ptr<TokenStream>>> generate_answers(
      const Prompt& prompt, const GenerateParams& params, int32_t n,
      const RequestOptions& options) override;
  BackendFeatures features() const override;
  std::optional<EngineStats> stats() const override;
  Result<std::vector<float>> get_embeddings(const std::string& text) override;
  Result<std::vector<std::vector<float>>> get_embeddings_batch(
      const std::vector<Prompt>& inputs) override;

  // How the loaded model runs.
  Result<EnginePlan> plan() const;

 private:
  Result<std::shared_ptr<const ModelParts>> parts() const override;
  struct Model;
  Result<std::shared_ptr<Model>> model() const;
  // `n` requests, which differ as answers to one prompt do.
  Result<std::vector<RequestPtr>> make_requests(const Model& model, const Prompt& prompt,
                                                const GenerateParams& params, int32_t n,
                                                const RequestOptions& options,
                                                bool wants_tokens) const;

  ServingConfig config_;
  ModelLoader loader_;
  DecoderFactory make_decoder_;
  std::function<void(EnginePlan&)> adjust_;
  mutable std::mutex mutex_;  // guards model_
  std::shared_ptr<Model> model_;
};

}  // namespace ruvllm
