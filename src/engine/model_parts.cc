#include "engine/model_parts.h"

#include <utility>

#include "base/str.h"

namespace ruvllm {
namespace {

template <typename T>
Result<const T*> borrow(const Result<std::unique_ptr<T>>& part, const std::string& model,
                        std::string_view what) {
  if (!part) return std::unexpected(part.error());
  if (*part == nullptr) {
    return fail(ErrorCode::kNotFound, concat(model, ": the model has no ", what));
  }
  return part->get();
}

}  // namespace

Result<const Tokenizer*> ModelParts::find_tokenizer() const {
  return borrow(tokenizer, name, "tokenizer");
}

Result<const ChatTemplate*> ModelParts::find_chat_template() const {
  return borrow(chat_template, name, "chat template");
}

ModelInfo ModelParts::info() const {
  const ModelConfig& config = runner->config();
  ModelInfo info;
  info.name = name;
  info.architecture = config.architecture;
  info.format = checkpoint != nullptr ? checkpoint->format : "memory";
  info.quantization = std::string(runner->quantization());
  info.num_parameters = runner->num_parameters();
  info.weight_bytes = runner->weight_bytes();
  info.max_seq_len = max_seq_len();
  info.vocab_size = config.vocab_size;
  info.hidden_size = config.hidden_size;
  info.num_layers = config.num_layers();
  info.device = device;
  info.kernels = std::string(runner->kernels());
  if (checkpoint != nullptr) info.generation_defaults = checkpoint->generation;
  return info;
}

Result<std::vector<int32_t>> ModelParts::prompt_ids(const Prompt& prompt) const {
  const ModelConfig& config = runner->config();
  std::vector<int32_t> ids;
  if (const auto* text = std::get_if<std::string>(&prompt)) {
    RUVLLM_ASSIGN(const Tokenizer* encoder, find_tokenizer());
    RUVLLM_ASSIGN(ids, encoder->encode(*text, /*add_special=*/true));
    if (ids.empty() && config.bos_id >= 0) ids.push_back(config.bos_id);
  } else {
    ids = std::get<std::vector<int32_t>>(prompt);
  }
  if (ids.empty()) return fail(ErrorCode::kInvalidArgument, "the prompt is empty");
  for (const int32_t id : ids) {
    if (id < 0 || id >= config.vocab_size) {
      return fail(
          ErrorCode::kInvalidArgument,
          concat("the prompt has token ", id, ", the model has ", config.vocab_size, " tokens"));
    }
  }
  if (static_cast<int64_t>(ids.size()) > max_seq_len()) {
    return fail(
        ErrorCode::kInvalidArgument,
        concat("the prompt has ", ids.size(), " tokens, the context holds ", max_seq_len(),
               max_seq_len() < runner->max_seq_len() ? " (the KV pool)" : " (max_seq_len)"));
  }
  return ids;
}

Result<GenerationSetup> prepare_generation(const ModelParts& parts, const Prompt& prompt,
                                           const GenerateParams& params,
                                           const DecoderFactory& make_decoder) {
  const ModelConfig& config = parts.runner->config();
  RUVLLM_TRY(validate_params(params, config.vocab_size));
  GenerationSetup setup;
  RUVLLM_ASSIGN(setup.prompt, parts.prompt_ids(prompt));
  setup.params = params;
  setup.eos_ids = config.eos_ids;
  setup.vocab_size = config.vocab_size;
  setup.max_seq_len = parts.max_seq_len();
  const Result<const Tokenizer*> tokenizer = parts.find_tokenizer();
  if (tokenizer) {
    setup.decoder = make_decoder(**tokenizer, params.skip_special_tokens);
  } else if (!params.stop.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                concat("stop strings need a tokenizer: ", tokenizer.error().message));
  }
  return setup;
}

}  // namespace ruvllm
