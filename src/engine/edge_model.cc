#include "engine/edge_model.h"

#include <algorithm>
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

Result<const Tokenizer*> EdgeModel::tokenizer() const {
  return borrow(parts.tokenizer, parts.name, "tokenizer");
}

Result<const ChatTemplate*> EdgeModel::chat_template() const {
  return borrow(parts.chat_template, parts.name, "chat template");
}

ModelInfo EdgeModel::info() const {
  const ModelConfig& config = parts.runner->config();
  ModelInfo info;
  info.name = parts.name;
  info.architecture = config.architecture;
  info.format = parts.checkpoint != nullptr ? parts.checkpoint->format : "memory";
  info.quantization = std::string(parts.runner->quantization());
  info.num_parameters = parts.runner->num_parameters();
  info.weight_bytes = parts.runner->weight_bytes();
  info.max_seq_len = parts.runner->max_seq_len();
  info.vocab_size = config.vocab_size;
  info.hidden_size = config.hidden_size;
  info.num_layers = config.num_layers();
  info.device = parts.device;
  info.kernels = std::string(parts.runner->kernels());
  if (parts.checkpoint != nullptr) info.generation_defaults = parts.checkpoint->generation;
  return info;
}

Result<std::vector<int32_t>> EdgeModel::prompt_ids(const Prompt& prompt) const {
  const ModelConfig& config = parts.runner->config();
  std::vector<int32_t> ids;
  if (const auto* text = std::get_if<std::string>(&prompt)) {
    RUVLLM_ASSIGN(const Tokenizer* tokenizer, this->tokenizer());
    RUVLLM_ASSIGN(ids, tokenizer->encode(*text, /*add_special=*/true));
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
  if (static_cast<int64_t>(ids.size()) > parts.runner->max_seq_len()) {
    return fail(ErrorCode::kInvalidArgument,
                concat("the prompt has ", ids.size(), " tokens, the context holds ",
                       parts.runner->max_seq_len(), " (max_seq_len)"));
  }
  return ids;
}

void EdgeModel::remember(const std::shared_ptr<CancelFlag>& flag) {
#if !defined(__wasm__)
  const std::scoped_lock lock(mutex_);
#endif
  std::erase_if(flags_, [](const std::weak_ptr<CancelFlag>& f) { return f.expired(); });
  flags_.push_back(flag);
}

void EdgeModel::cancel_all() {
  std::vector<std::weak_ptr<CancelFlag>> flags;
  {
#if !defined(__wasm__)
    const std::scoped_lock lock(mutex_);
#endif
    flags.swap(flags_);
  }
  for (const auto& weak : flags) {
    if (const auto flag = weak.lock()) flag->cancel();
  }
}

}  // namespace ruvllm
