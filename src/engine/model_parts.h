// ModelParts: everything one loaded model consists of, whatever backend runs it. Loading explains
// in one line what is missing.
//
// The tokenizer or the chat template may be absent or unusable: that matters only to who asks for
// them, so their errors are kept. Threads: constant parts from any; the runner from one at a time.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/generation.h"
#include "engine/model_adapters.h"
#include "engine/model_runner.h"
#include "ruvllm/backend.h"
#include "tokenizer/tokenizer.h"

namespace ruvllm {

struct ModelParts {
  std::string name;  // as given
  std::shared_ptr<const Checkpoint> checkpoint;
  std::unique_ptr<ModelRunner> runner;
  Result<std::unique_ptr<Tokenizer>> tokenizer = nullptr;
  Result<std::unique_ptr<ChatTemplate>> chat_template = nullptr;
  std::string device = "cpu";
  ModelAdapters adapters;
  int64_t context_limit = 0;  // tokens of a sequence at most; 0: the runner's own limit

  Result<const Tokenizer*> find_tokenizer() const;
  Result<const ChatTemplate*> find_chat_template() const;
  ModelInfo info() const;
  int64_t max_seq_len() const { return context_limit > 0 ? context_limit : runner->max_seq_len(); }
  Pooling pooling() const { return checkpoint != nullptr ? checkpoint->pooling : Pooling::kMean; }
  // The ids of a prompt, checked against the vocabulary and the context.
  Result<std::vector<int32_t>> prompt_ids(const Prompt& prompt) const;
};

// How a model gets from its name to its parts; tests put their own.
using ModelLoader = std::function<Result<ModelParts>(const std::string&, const LoadOptions&)>;
// The decoder of one answer.
using DecoderFactory =
    std::function<std::unique_ptr<IncrementalDecoder>(const Tokenizer&, bool skip_special)>;

// A generation with this model: parameters and prompt are checked.
Result<GenerationSetup> prepare_generation(const ModelParts& parts, const Prompt& prompt,
                                           const GenerateParams& params,
                                           const DecoderFactory& make_decoder);

// What a backend decides about the runner itself.
struct LoaderSettings {
  int64_t max_step_rows = 256;
  int32_t kv_block_tokens = 64;
  std::function<void(int64_t done, int64_t total)> progress;  // may be empty
};

// What `options` names that this build cannot do is refused by name.
Result<ModelParts> load_model_parts(const std::string& model, const LoadOptions& options,
                                    const LoaderSettings& settings = {});

// The same with an open checkpoint (random weights in memory, tests). No tokenizer.
Result<ModelParts> load_model_parts(std::string name, std::shared_ptr<const Checkpoint> checkpoint,
                                    const LoadOptions& options,
                                    const LoaderSettings& settings = {});

// The text side alone, for verbs that need no weights. `model` may also be a file or directory that
// holds a tokenizer only.
struct TextParts {
  std::unique_ptr<Tokenizer> tokenizer;
  Result<std::unique_ptr<ChatTemplate>> chat_template = nullptr;
};
Result<TextParts> load_text_parts(const std::string& path);

}  // namespace ruvllm
