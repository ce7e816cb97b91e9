// EdgeModel: a loaded model and the single sequence the edge backend runs on it.
//
// Threads: constant parts from any; runner and session only while holding a turn of the turnstile.
#pragma once

#include <memory>
#include <vector>

#if !defined(__wasm__)
#include <mutex>
#endif

#include "engine/kv_session.h"
#include "engine/model_parts.h"
#include "engine/token_stream.h"
#include "engine/turnstile.h"

namespace ruvllm {

class EdgeModel {
 public:
  explicit EdgeModel(ModelParts model_parts)
      : parts(std::move(model_parts)), session(*parts.runner) {
    session.set_adapter(parts.adapters.chosen());
  }

  // A generation that is running or waiting; cancel_all() reaches it.
  void remember(const std::shared_ptr<CancelFlag>& flag);
  void cancel_all();

  const ModelParts parts;
  Turnstile turnstile;
  KvSession session;

 private:
#if !defined(__wasm__)
  std::mutex mutex_;
#endif
  std::vector<std::weak_ptr<CancelFlag>> flags_;
};

}  // namespace ruvllm
