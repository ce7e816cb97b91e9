// A model without weights for tests of the engine's logic. Its "KV cache" stores the tokens
// themselves, read back through the block table, so a test sees at once when a cached prefix, a
// block or a rotary regime is wrong; its next token is any function of the tokens before it.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/model_parts.h"

namespace ruvllm::test {

constexpr int32_t kFakeBos = 256;
constexpr int32_t kFakeEos = 257;
constexpr int32_t kFakeVocab = 260;

// Bytes are tokens; 256 is BOS, 257 EOS, 258 and 259 are special without text.
class ByteTokenizer final : public Tokenizer {
 public:
  Result<std::vector<int32_t>> encode(std::string_view text, bool add_special) const override {
    std::vector<int32_t> ids;
    if (add_special) ids.push_back(kFakeBos);
    for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
    return ids;
  }
  std::string decode(const std::vector<int32_t>& ids, bool) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id < 256) text += static_cast<char>(id);
    }
    return text;
  }
  int32_t vocab_size() const override { return kFakeVocab; }
};

// Holds the bytes of an unfinished UTF-8 character back.
class ByteDecoder final : public IncrementalDecoder {
 public:
  std::string push(int32_t id) override {
    if (id < 256) held_ += static_cast<char>(id);
    const auto lead = static_cast<uint8_t>(held_.empty() ? 0 : held_[0]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    return held_.size() < length ? std::string() : std::exchange(held_, {});
  }
  std::string flush() override { return std::exchange(held_, {}); }

 private:
  std::string held_;
};

using NextToken = std::function<int32_t(const std::vector<int32_t>& tokens)>;

class FakeRunner final : public ModelRunner {
 public:
  FakeRunner(int64_t max_seq_len, NextToken next) : max_seq_len_(max_seq_len), next_(next) {
    config_.architecture = "fake";
    config_.vocab_size = kFakeVocab;
    config_.hidden_size = 4;
    config_.max_positions = max_seq_len;
    config_.layers.resize(1);
    config_.bos_id = kFakeBos;
    config_.eos_ids = {kFakeEos};
  }

  const ModelConfig& config() const override { return config_; }
  int64_t max_seq_len() const override { return max_seq_len_; }
  int64_t max_step_rows() const override { return step_rows; }
  int32_t kv_block_tokens() const override { return 8; }
  uint64_t weight_bytes() const override { return 1000; }
  uint64_t num_parameters() const override { return 500; }
  uint64_t kv_block_bytes() const override { return 64; }
  std::string_view quantization() const override { return "f32"; }
  std::string_view kernels() const override { return "fake"; }
  Status reserve_kv_blocks(int64_t num_blocks) override {
    if (num_blocks > block_limit)
      return fail(ErrorCode::kOutOfMemory, "no memory for the KV cache");
    slots_.resize(static_cast<size_t>(num_blocks * kv_block_tokens()), {-1, 0});
    return {};
  }
  int64_t num_kv_blocks() const override {
    return static_cast<int64_t>(slots_.size()) / kv_block_tokens();
  }
  void copy_kv_block(int32_t from, int32_t to) override {
    const auto size = kv_block_tokens();
    std::copy_n(slots_.begin() + from * size, size, slots_.begin() + to * size);
  }
  uint8_t rope_regime(int64_t tokens) const override { return tokens > regime_limit ? 1 : 0; }

  ForwardOutput forward(const ForwardBatch& batch) override {
    ++num_steps;
    num_rows += static_cast<int64_t>(batch.ids.size());
    if (step_time.count() > 0) std::this_thread::sleep_for(step_time);
    for (size_t s = 0; s < batch.sequences.size(); ++s) {
      const SequenceSpan& sequence = batch.sequences[s];
      for (int64_t i = 0; i < sequence.num_tokens; ++i) {
        slot(sequence, sequence.first_position + i) = {
            batch.ids[static_cast<size_t>(sequence.first_row + i)], batch.rope_regimes[s]};
      }
    }
    const size_t rows = batch.output_rows.size();
    logits_.assign(rows * kFakeVocab, 0.0f);
    hidden_.assign(rows * 4, 0.0f);
    for (size_t r = 0; r < rows; ++r) {
      const int64_t row = batch.output_rows[r];
      size_t s = 0;
      while (row >= batch.sequences[s].first_row + batch.sequences[s].num_tokens) ++s;
      const SequenceSpan& sequence = batch.sequences[s];
      const int64_t end = sequence.first_position + (row - sequence.first_row) + 1;
      std::vector<int32_t> tokens;
      for (int64_t p = 0; p < end; ++p) {
        const auto [id, regime] = slot(sequence, p);
        if (regime != batch.rope_regimes[s]) ++num_mixed_regimes;
        tokens.push_back(id);
      }
      const int32_t next = next_(tokens);
      if (next < 0) {  // a model that has gone wrong
        std::fill_n(logits_.begin() + static_cast<std::ptrdiff_t>(r * kFakeVocab), kFakeVocab,
                    std::numeric_limits<float>::quiet_NaN());
      } else {
        logits_[r * kFakeVocab + static_cast<size_t>(next)] = 20.0f;
      }
      for (size_t j = 0; j < 4; ++j) {
        hidden_[r * 4 + j] =
            static_cast<float>(tokens.back()) * static_cast<float>(j + 1) + static_cast<float>(end);
      }
    }
    const auto n = static_cast<int64_t>(rows);
    return {make_matrix(logits_.data(), n, kFakeVocab), make_matrix(hidden_.data(), n, 4)};
  }

  int64_t step_rows = 16;
  int64_t block_limit = 1 << 20;
  int64_t regime_limit = 1 << 30;
  std::chrono::milliseconds step_time{0};
  std::atomic<int64_t> num_steps = 0;
  std::atomic<int64_t> num_rows = 0;
  std::atomic<int64_t> num_mixed_regimes = 0;

 private:
  std::pair<int32_t, uint8_t>& slot(const SequenceSpan& sequence, int64_t position) {
    const auto block = sequence.block_table[static_cast<size_t>(position / kv_block_tokens())];
    return slots_[static_cast<size_t>(block * kv_block_tokens() + position % kv_block_tokens())];
  }

  ModelConfig config_;
  int64_t max_seq_len_;
  NextToken next_;
  std::vector<std::pair<int32_t, uint8_t>> slots_;
  std::vector<float> logits_;
  std::vector<float> hidden_;
};

// Loads a FakeRunner, which the test finds in `runner`; "missing" is no model, "textless" has no
// tokenizer.
inline ModelLoader fake_loader(FakeRunner*& runner, NextToken next, int64_t max_seq_len) {
  return [&runner, next = std::move(next), max_seq_len](const std::string& name,
                                                        const LoadOptions&) -> Result<ModelParts> {
    if (name == "missing") return fail(ErrorCode::kNotFound, "missing: no such model");
    ModelParts parts;
    parts.name = name;
    auto owned = std::make_unique<FakeRunner>(max_seq_len, next);
    runner = owned.get();
    parts.runner = std::move(owned);
    if (name != "textless") parts.tokenizer = std::make_unique<ByteTokenizer>();
    return parts;
  };
}

inline DecoderFactory byte_decoders() {
  return [](const Tokenizer&, bool) { return std::make_unique<ByteDecoder>(); };
}

// Answers every prompt with `text`, then EOS. The answer begins after the last BOS or '|'.
inline NextToken answer_with(std::string text) {
  return [text = std::move(text)](const std::vector<int32_t>& tokens) -> int32_t {
    size_t begin = tokens.size();
    while (begin > 0 && tokens[begin - 1] != '|' && tokens[begin - 1] != kFakeBos) --begin;
    const size_t index = tokens.size() - begin;
    return index < text.size() ? static_cast<uint8_t>(text[index]) : kFakeEos;
  };
}

// A token that depends on every token before it.
inline int32_t hash_token(const std::vector<int32_t>& tokens) {
  uint32_t hash = 2166136261u;
  for (const int32_t id : tokens) hash = (hash ^ static_cast<uint32_t>(id)) * 16777619u;
  return static_cast<int32_t>('a' + hash % 26);
}

}  // namespace ruvllm::test
