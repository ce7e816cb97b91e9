// From a model's name to its parts.
#include <utility>

#include "base/str.h"
#include "device/device.h"
#include "engine/isq_loader.h"
#include "engine/model_parts.h"
#include "tokenizer/chat_template.h"

namespace ruvllm {
namespace {

// What the options ask for beyond this build.
Status check_load_options(const LoadOptions& options) {
  RUVLLM_TRY(check_isq_options(options));
  if (options.threads < 0 || options.threads > 4096) {
    return fail(ErrorCode::kInvalidArgument,
                concat("threads is ", options.threads, ", expected 0 (automatic) to 4096"));
  }
  if (options.max_seq_len < 0) {
    return fail(ErrorCode::kInvalidArgument,
                concat("max_seq_len is ", options.max_seq_len, ", expected 0 (automatic) or more"));
  }
  RUVLLM_ASSIGN(const DeviceKind device, choose_device(options.device));
  if (device != DeviceKind::kCpu) {
    return fail(ErrorCode::kUnsupported,
                concat("this build runs models on the CPU only, not on ", device_name(device)));
  }
  return {};
}

}  // namespace

Result<TextParts> load_text_parts(const std::string& path) {
  RUVLLM_ASSIGN(TokenizerData data, load_tokenizer_data(path));
  TextParts parts;
  if (!data.chat_template.empty()) {
    parts.chat_template =
        make_chat_template(std::move(data.chat_template), data.bos_token, data.eos_token);
  }
  RUVLLM_ASSIGN(parts.tokenizer, make_tokenizer(std::move(data)));
  return parts;
}

namespace {

Result<ModelParts> load_quantized(std::string name, std::shared_ptr<const Checkpoint> checkpoint,
                                  const Result<const Tokenizer*>& tokenizer,
                                  const LoadOptions& options, const LoaderSettings& settings) {
  RUVLLM_ASSIGN(checkpoint, quantize_checkpoint(std::move(checkpoint), tokenizer, options,
                                                {settings.progress}));
  RunnerOptions runner_options;
  runner_options.compute = options.compute;
  runner_options.kv = options.kv;
  runner_options.threads = options.threads;
  runner_options.max_seq_len = options.max_seq_len;
  runner_options.max_step_rows = settings.max_step_rows;
  runner_options.kv_block_tokens = settings.kv_block_tokens;
  runner_options.progress = settings.progress;
  ModelParts parts;
  RUVLLM_ASSIGN(parts.runner, ModelRunner::load(checkpoint, runner_options));
  RUVLLM_ASSIGN(parts.adapters, load_model_adapters(options, checkpoint, *parts.runner));
  parts.name = std::move(name);
  parts.checkpoint = std::move(checkpoint);
  return parts;
}

}  // namespace

Result<ModelParts> load_model_parts(std::string name, std::shared_ptr<const Checkpoint> checkpoint,
                                    const LoadOptions& options, const LoaderSettings& settings) {
  RUVLLM_TRY(check_load_options(options));
  return load_quantized(std::move(name), std::move(checkpoint), nullptr, options, settings);
}

Result<ModelParts> load_model_parts(const std::string& model, const LoadOptions& options,
                                    const LoaderSettings& settings) {
  RUVLLM_TRY(check_load_options(options));
  RUVLLM_ASSIGN(const std::string path, resolve_model(model, options.offline));
  RUVLLM_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, open_checkpoint(path));
  Result<TextParts> text = load_text_parts(path);
  Result<const Tokenizer*> tokenizer = nullptr;
  if (text) {
    tokenizer = text->tokenizer.get();
  } else {
    tokenizer = std::unexpected(text.error());
  }
  RUVLLM_ASSIGN(ModelParts parts,
                load_quantized(model, std::move(checkpoint), tokenizer, options, settings));
  if (text) {
    parts.tokenizer = std::move(text->tokenizer);
    parts.chat_template = std::move(text->chat_template);
  } else {
    parts.tokenizer = std::unexpected(text.error());
    parts.chat_template = std::unexpected(text.error());
  }
  return parts;
}

}  // namespace ruvllm
