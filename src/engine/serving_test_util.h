// Tests only: a serving backend on a fake model, or on a small one of random weights.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/fake_model.h"
#include "engine/serving_backend.h"

namespace ruvllm::test {

inline ServingConfig small_config(int32_t blocks = 64, int32_t running = 8) {
  ServingConfig config;
  config.paged_attention.block_size = 8;
  config.paged_attention.max_blocks = blocks;
  config.max_concurrent_requests = running;
  config.max_waiting_requests = 64;
  config.max_batched_tokens = 16;
  return config;
}

// A backend over a FakeRunner that the test can look into.
struct ServingFake {
  explicit ServingFake(NextToken next, const ServingConfig& config = small_config(),
                       int64_t max_seq_len = 256, std::function<void(EnginePlan&)> adjust = {})
      : backend(config, fake_loader(runner, std::move(next), max_seq_len), byte_decoders(),
                std::move(adjust)) {
    const Status status = backend.load_model("fake", {});
    EXPECT_TRUE(status) << (status ? "" : status.error().message);
  }

  FakeRunner* runner = nullptr;
  ServingBackend backend;
};

// How a real model is served in a test of "the same bits however it is scheduled".
struct ServingCase {
  int32_t block = 16;
  int32_t blocks = 512;
  int32_t chunk = 0;
  int32_t threads = 1;
  int32_t step_rows = 256;
  bool prefix_caching = true;
  bool share_prefixes = true;
};

inline std::unique_ptr<ServingBackend> open_served(const std::string& model, const ServingCase& c,
                                                   LoadOptions options = {}) {
  ServingConfig config;
  config.paged_attention.block_size = c.block;
  config.paged_attention.max_blocks = c.blocks;
  config.paged_attention.enable_prefix_caching = c.prefix_caching;
  config.max_batched_tokens = c.step_rows;
  LoaderSettings settings;
  settings.max_step_rows = c.step_rows;
  settings.kv_block_tokens = c.block;
  auto backend = std::make_unique<ServingBackend>(
      config,
      [settings](const std::string& name, const LoadOptions& load) {
        return load_model_parts(name, load, settings);
      },
      make_incremental_decoder,
      [c](EnginePlan& plan) {
        plan.max_chunk = c.chunk;
        plan.share_prefixes = c.share_prefixes;
      });
  options.threads = c.threads;
  const Status status = backend->load_model(model, options);
  EXPECT_TRUE(status) << (status ? "" : status.error().message);
  return backend;
}

// What another thread does soon. False: it did not within 5 seconds.
inline bool eventually(const std::function<bool()>& check) {
  for (int i = 0; i < 5000; ++i) {
    if (check()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

// Everything a stream gives, to its end.
struct Heard {
  std::string text;
  std::vector<int32_t> ids;
  std::optional<GenerateResult> result;
  std::optional<Error> error;
};

inline Heard listen(TokenStream& stream) {
  Heard heard;
  while (auto event = stream.next()) {
    if (auto* token = std::get_if<Token>(&*event)) {
      heard.text += token->text;
      heard.ids.push_back(token->id);
    } else if (auto* done = std::get_if<Done>(&*event)) {
      heard.result = std::move(done->result);
    } else {
      heard.error = std::get<Error>(*event);
    }
  }
  return heard;
}

}  // namespace ruvllm::test
