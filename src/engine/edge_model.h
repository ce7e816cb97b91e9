// EdgeModel: everything one loaded model consists of, and the single sequence the edge backend runs
// on it. Loading explains in one line what is missing.
//
// The tokenizer or the chat template may be absent or unusable: that matters only to who asks for
// them, so their errors are kept. Threads: constant parts from any; runner and session only while
// holding a turn of the turnstile.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#if !defined(__wasm__)
#include <mutex>
#endif

#include "engine/edge_adapters.h"
#include "engine/kv_session.h"
#include "engine/model_runner.h"
#include "engine/token_stream.h"
#include "engine/turnstile.h"
#include "ruvllm/backend.h"
#include "tokenizer/tokenizer.h"

namespace ruvllm {

struct EdgeModelParts {
  std::string name;  // as given
  std::shared_ptr<const Checkpoint> checkpoint;
  std::unique_ptr<ModelRunner> runner;
  Result<std::unique_ptr<Tokenizer>> tokenizer = nullptr;
  Result<std::unique_ptr<ChatTemplate>> chat_template = nullptr;
  std::string device = "cpu";
  EdgeAdapters adapters;
};

class EdgeModel {
 public:
  explicit EdgeModel(EdgeModelParts model_parts)
      : parts(std::move(model_parts)), session(*parts.runner) {
    session.set_adapter(parts.adapters.chosen);
  }

  Result<const Tokenizer*> tokenizer() const;
  Result<const ChatTemplate*> chat_template() const;
  ModelInfo info() const;

  // The ids of a prompt, checked against the vocabulary and the context.
  Result<std::vector<int32_t>> prompt_ids(const Prompt& prompt) const;

  // A generation that is running or waiting; cancel_all() reaches it.
  void remember(const std::shared_ptr<CancelFlag>& flag);
  void cancel_all();

  const EdgeModelParts parts;
  Turnstile turnstile;
  KvSession session;

 private:
#if !defined(__wasm__)
  std::mutex mutex_;
#endif
  std::vector<std::weak_ptr<CancelFlag>> flags_;
};

// What `options` names that this build cannot do is refused by name. `progress` may be empty.
Result<EdgeModelParts> load_edge_model(
    const std::string& model, const LoadOptions& options,
    const std::function<void(int64_t done, int64_t total)>& progress = {});

// The same with an open checkpoint (random weights in memory, tests). No tokenizer.
Result<EdgeModelParts> load_edge_model(
    std::string name, std::shared_ptr<const Checkpoint> checkpoint, const LoadOptions& options,
    const std::function<void(int64_t done, int64_t total)>& progress = {});

// The text side alone, for verbs that need no weights. `model` may also be a file or directory that
// holds a tokenizer only.
struct TextParts {
  std::unique_ptr<Tokenizer> tokenizer;
  Result<std::unique_ptr<ChatTemplate>> chat_template = nullptr;
};
Result<TextParts> load_text_parts(const std::string& path);

}  // namespace ruvllm
