#include "engine/model_backend.h"

#include <utility>

namespace ruvllm {

using Parts = std::shared_ptr<const ModelParts>;

bool ModelBackend::is_model_loaded() const {
  return parts().has_value();
}

Result<ModelInfo> ModelBackend::model_info() const {
  RUVLLM_ASSIGN(const Parts parts, this->parts());
  return parts->info();
}

Result<const Tokenizer*> ModelBackend::tokenizer() const {
  RUVLLM_ASSIGN(const Parts parts, this->parts());
  return parts->find_tokenizer();
}

Result<const ChatTemplate*> ModelBackend::chat_template() const {
  RUVLLM_ASSIGN(const Parts parts, this->parts());
  return parts->find_chat_template();
}

Result<std::string> ModelBackend::generate(const Prompt& prompt, const GenerateParams& params) {
  RUVLLM_ASSIGN(GenerateResult result, generate_detailed(prompt, params));
  return std::move(result.text);
}

Result<std::unique_ptr<TokenStream>> ModelBackend::generate_stream(const Prompt& prompt,
                                                                   const GenerateParams& params) {
  return generate_stream(prompt, params, RequestOptions());
}

Status ModelBackend::load_adapter(const std::string& name, const std::string& path, bool replace) {
  RUVLLM_ASSIGN(const Parts parts, this->parts());
  return parts->adapters.add(name, path, replace, AdapterStore::Source::kRequest);
}

Status ModelBackend::unload_adapter(const std::string& name) {
  RUVLLM_ASSIGN(const Parts parts, this->parts());
  return parts->adapters.remove(name);
}

std::vector<AdapterInfo> ModelBackend::adapters() const {
  const auto parts = this->parts();
  return parts ? (*parts)->adapters.list() : std::vector<AdapterInfo>();
}

bool ModelBackend::has_adapter(std::string_view name) const {
  const auto parts = this->parts();
  return parts && (*parts)->adapters.contains(name);
}

Status ModelBackend::load_xlora(const std::string& name, const std::string& path,
                                const std::optional<XLoraConfig>& config, bool replace) {
  RUVLLM_ASSIGN(const Parts parts, this->parts());
  return parts->adapters.add_xlora(name, path, config, replace, AdapterStore::Source::kRequest);
}

std::vector<XLoraInfo> ModelBackend::xloras() const {
  const auto parts = this->parts();
  return parts ? (*parts)->adapters.list_xloras() : std::vector<XLoraInfo>();
}

Status ModelBackend::set_default_adapter(const std::string& selection) {
  RUVLLM_ASSIGN(const Parts parts, this->parts());
  return parts->adapters.choose(selection);
}

std::string ModelBackend::default_adapter() const {
  const auto parts = this->parts();
  return parts ? (*parts)->adapters.chosen_name() : "base";
}

Result<GateTrace> ModelBackend::last_gates(const std::string& name) const {
  RUVLLM_ASSIGN(const Parts parts, this->parts());
  return parts->adapters.last_gates(name);
}

}  // namespace ruvllm
