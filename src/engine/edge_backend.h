// EdgeBackend: LlmBackend for one user: one model, one generation at a time (others wait in order),
// one KV cache that keeps the last conversation so that its next turn computes only what is new.
//
// Unloading or loading another model cancels what is running. Streams may outlive the backend; they
// then end with kCancelled. A stream that nobody reads holds the turn once its queue is full, until
// it is read, cancelled or destroyed.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "engine/edge_model.h"
#include "engine/generation.h"
#include "engine/model_backend.h"

#if !defined(__wasm__)
#include <mutex>
#endif

namespace ruvllm {

class EdgeBackend final : public ModelBackend {
 public:
  EdgeBackend(ModelLoader loader, DecoderFactory make_decoder);
  ~EdgeBackend() override;

  Status load_model(const std::string& model, const LoadOptions& options) override;
  void unload_model() override;
  Result<GenerateResult> generate_detailed(const Prompt& prompt,
                                           const GenerateParams& params) override;
  using ModelBackend::generate_stream;
  Result<std::unique_ptr<TokenStream>> generate_stream(const Prompt& prompt,
                                                       const GenerateParams& params,
                                                       const RequestOptions& options) override;
  BackendFeatures features() const override;
  Result<std::vector<float>> get_embeddings(const std::string& text) override;
  Result<std::vector<std::vector<float>>> get_embeddings_batch(
      const std::vector<Prompt>& inputs) override;

 private:
  Result<std::shared_ptr<const ModelParts>> parts() const override;
  Result<std::vector<float>> embed(const Prompt& prompt);
  Result<std::shared_ptr<EdgeModel>> model() const;
  Result<GenerationSetup> prepare(const EdgeModel& model, const Prompt& prompt,
                                  const GenerateParams& params,
                                  const SequenceAdapter& adapter) const;

  ModelLoader loader_;
  DecoderFactory make_decoder_;
#if !defined(__wasm__)
  mutable std::mutex mutex_;  // guards model_
#endif
  std::shared_ptr<EdgeModel> model_;
};

}  // namespace ruvllm
