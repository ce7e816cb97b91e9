#include "tokenizer/pre_tokenizer.h"

#include "base/str.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/pattern.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace ruvllm {

// piece(text, at_start): one piece of what the stage makes of a text.
using PieceSink = FunctionRef<void(std::string_view, bool)>;

class PreTokenizerChain::Stage {
 public:
  virtual ~Stage() = default;
  virtual Status apply(std::string_view text, bool at_start, PieceSink piece) const = 0;
};

namespace {

using Stage = PreTokenizerChain::Stage;

class SplitByPattern final : public Stage {
 public:
  SplitByPattern(Pattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  Status apply(std::string_view text, bool at_start, PieceSink piece) const override {
    const auto emit = [&](Span s) {
      piece(text.substr(s.begin, s.end - s.begin), at_start && s.begin == 0);
    };
    if (behavior_ == SplitBehavior::kIsolated) return pattern_.for_each_span(text, emit);
    if (behavior_ == SplitBehavior::kRemoved) {
      return pattern_.for_each_span(text, [&](Span s) {
        if (s.is_match == invert_) emit(s);
      });
    }
    std::vector<Span> spans;
    RUVLLM_TRY(pattern_.for_each_span(
        text, [&](Span s) { spans.push_back({s.begin, s.end, s.is_match != invert_}); }));
    for (const Span& s : apply_behavior(spans, behavior_)) emit(s);
    return {};
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

// Each character that is a member is a match of its own.
class SplitByClass final : public Stage {
 public:
  using IsMember = bool (*)(char32_t);
  SplitByClass(IsMember is_member, SplitBehavior behavior)
      : is_member_(is_member), behavior_(behavior) {}

  Status apply(std::string_view text, bool at_start, PieceSink piece) const override {
    std::vector<Span> spans;
    size_t gap = 0;
    for (size_t i = 0; i < text.size();) {
      const DecodedChar c = decode_utf8(text, i);
      if (is_member_(c.code)) {
        if (gap < i) spans.push_back({gap, i, false});
        spans.push_back({i, i + c.size, true});
        gap = i + c.size;
      }
      i += c.size;
    }
    if (gap < text.size()) spans.push_back({gap, text.size(), false});
    if (behavior_ != SplitBehavior::kIsolated) spans = apply_behavior(spans, behavior_);
    for (const Span& s : spans) {
      piece(text.substr(s.begin, s.end - s.begin), at_start && s.begin == 0);
    }
    return {};
  }

 private:
  IsMember is_member_;
  SplitBehavior behavior_;
};

// As the reference's language has it, whose Unicode is one version newer.
bool is_number(char32_t c) {
  return in_set(c, kNumber) || (c >= 0x11de0 && c <= 0x11de9) || (c >= 0x16ff4 && c <= 0x16ff6);
}

// The reference's punctuation is Unicode 8's, with ASCII's symbols.
bool is_punctuation(char32_t c) {
  if (c < 0x80) return in_set(c, kPunctuation | kSymbol);
  if (c == 0x166d || c == 0x111c9) return true;
  if (!in_set(c, kPunctuation) || !is_in_unicode_9(c)) return false;
  const bool of_unicode_9 = c == 0x2e43 || c == 0x2e44 || (c >= 0x1144b && c <= 0x1145d) ||
                            (c >= 0x11660 && c <= 0x1166c) || (c >= 0x11c41 && c <= 0x11c45) ||
                            c == 0x11c70 || c == 0x11c71 || c == 0x1e95e || c == 0x1e95f;
  return !of_unicode_9;
}

// \w+|[^\w\s]+
class SplitToWords final : public Stage {
 public:
  Status apply(std::string_view text, bool at_start, PieceSink piece) const override {
    enum Kind { kSpaces, kWord, kOther };
    size_t begin = 0;
    Kind kind = kSpaces;
    const auto end_piece = [&](size_t end) {
      if (kind != kSpaces) piece(text.substr(begin, end - begin), at_start && begin == 0);
    };
    for (size_t i = 0; i < text.size();) {
      const DecodedChar c = decode_utf8(text, i);
      const Kind next = is_word(c.code) ? kWord : is_space(c.code) ? kSpaces : kOther;
      if (next != kind) {
        end_piece(i);
        begin = i;
        kind = next;
      }
      i += c.size;
    }
    end_piece(text.size());
    return {};
  }
};

class ByteLevel final : public Stage {
 public:
  ByteLevel(const PreByteLevel& options, Pattern gpt2, bool raw_bytes)
      : options_(options), gpt2_(std::move(gpt2)), raw_bytes_(raw_bytes) {}

  Status apply(std::string_view text, bool at_start, PieceSink piece) const override {
    std::string with_space;
    if (options_.add_prefix_space && !text.starts_with(' ')) {
      with_space.reserve(text.size() + 1);
      with_space.append(" ").append(text);
      text = with_space;
    }
    const auto emit = [&](std::string_view word, bool first) {
      if (raw_bytes_) {
        piece(word, first);
      } else {
        piece(bytes_to_letters(word), first);
      }
    };
    if (!options_.use_regex) {
      emit(text, at_start);
      return {};
    }
    return gpt2_.for_each_span(text, [&](Span s) {
      emit(text.substr(s.begin, s.end - s.begin), at_start && s.begin == 0);
    });
  }

 private:
  PreByteLevel options_;
  Pattern gpt2_;
  bool raw_bytes_;
};

class Metaspace final : public Stage {
 public:
  explicit Metaspace(PreMetaspace options) : options_(std::move(options)) {}

  Status apply(std::string_view text, bool at_start, PieceSink piece) const override {
    const std::string& mark = options_.replacement;
    std::string out;
    out.reserve(text.size() + text.size() / 2 + mark.size());
    const bool may_prepend = options_.prepend == PreMetaspace::kAlways ||
                             (options_.prepend == PreMetaspace::kFirst && at_start);
    if (may_prepend && !text.starts_with(mark) && !text.starts_with(' ')) out += mark;
    for (size_t done = 0; done < text.size();) {
      const size_t space = std::min(text.find(' ', done), text.size());
      out += text.substr(done, space - done);
      if (space < text.size()) out += mark;
      done = space + 1;
    }
    if (!options_.split) {
      piece(out, at_start);
      return {};
    }
    size_t begin = 0;
    const std::string_view view = out;
    while (begin < view.size()) {
      const size_t end = std::min(
          view.find(mark, begin + (view.substr(begin).starts_with(mark) ? mark.size() : 0)),
          view.size());
      piece(view.substr(begin, end - begin), at_start && begin == 0);
      begin = end;
    }
    return {};
  }

 private:
  PreMetaspace options_;
};

class FixedLength final : public Stage {
 public:
  explicit FixedLength(size_t num_characters) : num_characters_(num_characters) {}

  Status apply(std::string_view text, bool at_start, PieceSink piece) const override {
    for (size_t begin = 0; begin < text.size();) {
      size_t end = begin;
      for (size_t n = 0; n < num_characters_ && end < text.size(); ++n) {
        end += decode_utf8(text, end).size;
      }
      piece(text.substr(begin, end - begin), at_start && begin == 0);
      begin = end;
    }
    return {};
  }

 private:
  size_t num_characters_;
};

using Stages = std::vector<std::shared_ptr<const Stage>>;

struct StageMaker {
  Stages& stages;
  bool raw_bytes;

  Status operator()(const PreSplitRegex& s) const {
    RUVLLM_ASSIGN(Pattern pattern, Pattern::regex(s.pattern));
    stages.push_back(std::make_shared<SplitByPattern>(std::move(pattern), s.behavior, s.invert));
    return {};
  }
  Status operator()(const PreSplitLiteral& s) const {
    stages.push_back(
        std::make_shared<SplitByPattern>(Pattern::literal(s.pattern), s.behavior, s.invert));
    return {};
  }
  Status operator()(const PreByteLevel& s) const {
    RUVLLM_ASSIGN(Pattern gpt2, Pattern::regex(kGpt2Regex));
    stages.push_back(std::make_shared<ByteLevel>(s, std::move(gpt2), raw_bytes));
    return {};
  }
  Status operator()(const PreMetaspace& s) const {
    if (s.replacement.empty()) {
      return fail(ErrorCode::kBadFile, "tokenizer: Metaspace has an empty replacement");
    }
    stages.push_back(std::make_shared<Metaspace>(s));
    return {};
  }
  Status operator()(const PreDigits& s) const {
    stages.push_back(std::make_shared<SplitByClass>(
        is_number, s.individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
    return {};
  }
  Status operator()(const PrePunctuation& s) const {
    stages.push_back(std::make_shared<SplitByClass>(is_punctuation, s.behavior));
    return {};
  }
  Status operator()(const PreWhitespace&) const {
    stages.push_back(std::make_shared<SplitToWords>());
    return {};
  }
  Status operator()(const PreWhitespaceSplit&) const {
    stages.push_back(std::make_shared<SplitByClass>(is_space, SplitBehavior::kRemoved));
    return {};
  }
  Status operator()(const PreBert&) const {
    stages.push_back(std::make_shared<SplitByClass>(is_space, SplitBehavior::kRemoved));
    stages.push_back(std::make_shared<SplitByClass>(is_punctuation, SplitBehavior::kIsolated));
    return {};
  }
  Status operator()(const PreFixedLength& s) const {
    if (s.num_characters <= 0) {
      return fail(ErrorCode::kBadFile,
                  concat("tokenizer: FixedLength is ", s.num_characters, ", expected at least 1"));
    }
    stages.push_back(std::make_shared<FixedLength>(static_cast<size_t>(s.num_characters)));
    return {};
  }
};

}  // namespace

Result<PreTokenizerChain> PreTokenizerChain::make(const std::vector<PreTokenizer>& stages,
                                                  bool raw_bytes) {
  PreTokenizerChain chain;
  for (size_t i = 0; i < stages.size(); ++i) {
    const bool last = i + 1 == stages.size();
    RUVLLM_TRY(std::visit(StageMaker{chain.stages_, raw_bytes && last}, stages[i]));
  }
  return chain;
}

Status PreTokenizerChain::split(std::string_view text, bool at_start,
                                FunctionRef<void(std::string_view)> word) const {
  return run(0, text, at_start, word);
}

Status PreTokenizerChain::run(size_t stage, std::string_view text, bool at_start,
                              FunctionRef<void(std::string_view)> word) const {
  if (text.empty()) return {};
  if (stage == stages_.size()) {
    word(text);
    return {};
  }
  Status status;
  if (stage + 1 == stages_.size()) {
    RUVLLM_TRY(stages_[stage]->apply(text, at_start, [&](std::string_view piece, bool) {
      if (!piece.empty()) word(piece);
    }));
    return {};
  }
  RUVLLM_TRY(stages_[stage]->apply(text, at_start, [&](std::string_view piece, bool first) {
    if (status) status = run(stage + 1, piece, first, word);
  }));
  return status;
}

}  // namespace ruvllm
