// The decoders of a tokenizer file as a chain of stages through which token texts stream: each
// stage passes text on as soon as no later token can change it, so decoding at once and decoding
// token by token are the same code.
//
// A token is some chunks of well-formed UTF-8, none ending within a character, and an end. One
// decoding each; not thread-safe; a stage holds what it must wait for and nothing else.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ruvllm/result.h"
#include "spec/tokenizer_data.h"
#include "tokenizer/pattern.h"

namespace ruvllm {

class DecodeStage {
 public:
  virtual ~DecodeStage() = default;
  virtual void chunk(std::string_view text) = 0;
  virtual void end_token() = 0;
  virtual void finish() = 0;  // no more tokens
  // A whole token of the vocabulary: what the first stage gets.
  virtual void vocabulary_token(PieceKind, std::string_view text) {
    chunk(text);
    end_token();
  }
  DecodeStage* next = nullptr;
};

// Appends what arrives to a text.
class DecodeSink final : public DecodeStage {
 public:
  void chunk(std::string_view text) override { out += text; }
  void end_token() override {}
  void finish() override {}
  std::string out;
};

// Decoders that were checked and whose regexes are compiled; shared by all decodings.
class DecodePlan {
 public:
  static Result<DecodePlan> make(const std::vector<Decoder>& decoders, bool clean_up_spaces);

  // Stages in order, linked; the last one's `next` is `sink`. Never empty.
  std::vector<std::unique_ptr<DecodeStage>> start(DecodeSink& sink) const;

  // The first decoder is ByteLevel: the first stage takes tokens as bytes, not as letters.
  bool takes_bytes() const { return takes_bytes_; }

 private:
  std::vector<Decoder> decoders_;
  std::vector<Pattern> patterns_;  // of the decoders that replace a regex, in order
  bool takes_bytes_ = false;
};

}  // namespace ruvllm
