// ModelBackend: what every backend answers from the parts of its model alone: what was loaded, its
// tokenizer and template, the adapters it knows. A backend adds how generations run.
//
// Threads: any method from any. Failure: kUnavailable when no model is loaded.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model_parts.h"
#include "ruvllm/backend.h"

namespace ruvllm {

class ModelBackend : public LlmBackend {
 public:
  bool is_model_loaded() const final;
  Result<ModelInfo> model_info() const final;
  Result<const Tokenizer*> tokenizer() const final;
  Result<const ChatTemplate*> chat_template() const final;

  Result<std::string> generate(const Prompt& prompt, const GenerateParams& params) final;
  using LlmBackend::generate_stream;
  Result<std::unique_ptr<TokenStream>> generate_stream(const Prompt& prompt,
                                                       const GenerateParams& params) final;

  Status load_adapter(const std::string& name, const std::string& path, bool replace) final;
  Status unload_adapter(const std::string& name) final;
  std::vector<AdapterInfo> adapters() const final;
  bool has_adapter(std::string_view name) const final;
  Status load_xlora(const std::string& name, const std::string& path,
                    const std::optional<XLoraConfig>& config, bool replace) final;
  std::vector<XLoraInfo> xloras() const final;
  Status set_default_adapter(const std::string& selection) final;
  std::string default_adapter() const final;
  Result<GateTrace> last_gates(const std::string& name) const final;

 protected:
  // Of the loaded model, which stays alive as long as they are held.
  virtual Result<std::shared_ptr<const ModelParts>> parts() const = 0;
};

}  // namespace ruvllm
