#include "tokenizer/decode_stages.h"

#include <algorithm>
#include <optional>

#include "base/str.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/utf8.h"

namespace ruvllm {
namespace {

// Text arriving in bytes; passes on whole characters and U+FFFD for what can be none.
class CharacterAssembler {
 public:
  // `bytes_per_replacement_is_one`: U+FFFD for each ill-formed byte instead of each maximal part.
  explicit CharacterAssembler(bool one_per_byte) : one_per_byte_(one_per_byte) {}

  void push(std::string_view bytes, std::string& out) {
    held_ += bytes;
    size_t i = 0;
    while (i < held_.size()) {
      const CheckedChar c = check_utf8(held_, i);
      if (c.size > 0) {
        out.append(held_, i, c.size);
        i += c.size;
      } else if (c.cut_short) {
        break;
      } else {
        out += kReplacementUtf8;
        i += one_per_byte_ ? 1 : c.bad_bytes;
      }
    }
    held_.erase(0, i);
  }
  void finish(std::string& out) {
    const size_t times = one_per_byte_ ? held_.size() : held_.empty() ? 0 : 1;
    for (size_t i = 0; i < times; ++i) out += kReplacementUtf8;
    held_.clear();
  }
  bool empty() const { return held_.empty(); }

 private:
  bool one_per_byte_;
  std::string held_;  // the beginning of a character: at most three bytes
};

// A stage that looks at whole tokens.
class WholeTokenStage : public DecodeStage {
 public:
  void chunk(std::string_view text) final { token_ += text; }
  void end_token() final {
    on_token(token_);
    token_.clear();
  }
  void finish() override { next->finish(); }

 protected:
  virtual void on_token(std::string& token) = 0;
  void pass(std::string_view token) {
    next->chunk(token);
    next->end_token();
  }

 private:
  std::string token_;
};

class ByteLevelStage final : public DecodeStage {
 public:
  explicit ByteLevelStage(bool takes_bytes) : takes_bytes_(takes_bytes) {}
  void chunk(std::string_view text) override {
    if (takes_bytes_) {
      pass(text);
    } else {
      token_ += text;
    }
  }
  void end_token() override {
    if (takes_bytes_) return;
    const std::optional<std::string> bytes = letters_to_bytes(token_);
    pass(bytes ? *bytes : token_);
    token_.clear();
  }
  void finish() override {
    std::string out;
    assembler_.finish(out);
    next->chunk(out);
    next->end_token();
    next->finish();
  }

 private:
  void pass(std::string_view bytes) {
    std::string out;
    assembler_.push(bytes, out);
    next->chunk(out);
  }
  bool takes_bytes_;
  std::string token_;
  CharacterAssembler assembler_{false};
};

// A run of <0xNN> tokens is their characters when it is well formed as a whole, else one U+FFFD per
// token. So a run waits for its end.
class ByteFallbackStage final : public WholeTokenStage {
 public:
  void finish() override {
    end_run();
    next->finish();
  }

 private:
  static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  }
  void on_token(std::string& token) override {
    if (token.size() == 6 && token.starts_with("<0x") && token[5] == '>') {
      const int high = hex_digit(token[3]), low = hex_digit(token[4]);
      if (high >= 0 && low >= 0) {
        run_ += static_cast<char>(high * 16 + low);
        return;
      }
    }
    end_run();
    pass(token);
  }
  void end_run() {
    if (run_.empty()) return;
    if (find_invalid_utf8(run_) == run_.size()) {
      pass(run_);
    } else {
      for (size_t i = 0; i < run_.size(); ++i) pass(kReplacementUtf8);
    }
    run_.clear();
  }
  std::string run_;
};

class FuseStage final : public DecodeStage {
 public:
  void chunk(std::string_view text) override { next->chunk(text); }
  void end_token() override {}
  void finish() override {
    next->end_token();
    next->finish();
  }
};

class MetaspaceStage final : public DecodeStage {
 public:
  explicit MetaspaceStage(const DecodeMetaspace& options) : options_(options) {}
  void chunk(std::string_view text) override {
    std::string out;
    const std::string& mark = options_.replacement;
    for (size_t done = 0; done < text.size();) {
      const size_t at = std::min(text.find(mark, done), text.size());
      out += text.substr(done, at - done);
      if (at < text.size() && !(first_ && options_.strip_prefix)) out += ' ';
      done = at + mark.size();
    }
    next->chunk(out);
  }
  void end_token() override {
    first_ = false;
    next->end_token();
  }
  void finish() override { next->finish(); }

 private:
  DecodeMetaspace options_;
  bool first_ = true;
};

class ReplaceLiteralStage final : public DecodeStage {
 public:
  ReplaceLiteralStage(std::string pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void chunk(std::string_view text) override {
    held_ += text;
    std::string out;
    size_t done = 0;
    for (size_t at; (at = held_.find(pattern_, done)) != std::string::npos;) {
      out.append(held_, done, at - done).append(content_);
      done = at + pattern_.size();
    }
    const size_t keep = held_back(std::string_view(held_).substr(done));
    out.append(held_, done, held_.size() - keep - done);
    held_.erase(0, held_.size() - keep);
    next->chunk(out);
  }
  void end_token() override {
    next->chunk(held_);
    held_.clear();
    next->end_token();
  }
  void finish() override { next->finish(); }

 private:
  // The longest end of `text` that the pattern might begin with.
  size_t held_back(std::string_view text) const {
    size_t length = std::min(text.size(), pattern_.size() - 1);
    while (length > 0 && !pattern_.starts_with(text.substr(text.size() - length))) --length;
    return length;
  }
  std::string pattern_, content_;
  std::string held_;
};

class ReplaceRegexStage final : public WholeTokenStage {
 public:
  ReplaceRegexStage(const Pattern& pattern, std::string content)
      : pattern_(pattern), content_(std::move(content)) {}

 private:
  void on_token(std::string& token) override {
    std::string out;
    const Status status = pattern_.for_each_span(token, [&](Span s) {
      out += s.is_match ? std::string_view(content_)
                        : std::string_view(token).substr(s.begin, s.end - s.begin);
    });
    pass(status ? out : token);  // a regex that hits its limits replaces nothing
  }
  const Pattern& pattern_;
  std::string content_;
};

class StripStage final : public DecodeStage {
 public:
  explicit StripStage(const DecodeStrip& options) : options_(options) {}
  void chunk(std::string_view text) override {
    const std::string& c = options_.content;
    while (cut_ < options_.start && text.starts_with(c)) {
      text.remove_prefix(c.size());
      ++cut_;
    }
    if (!text.empty()) cut_ = options_.start;
    // What may be the end of the token is held back; at most `stop` characters of it are cut.
    size_t kept = text.size();
    while (kept >= c.size() && text.substr(0, kept).ends_with(c)) kept -= c.size();
    if (kept > 0) {
      pass_held(held_);
      next->chunk(text.substr(0, kept));
    }
    held_ += static_cast<int64_t>((text.size() - kept) / c.size());
    if (held_ > options_.stop) pass_held(held_ - options_.stop);
  }
  void end_token() override {
    held_ = 0;
    cut_ = 0;
    next->end_token();
  }
  void finish() override { next->finish(); }

 private:
  void pass_held(int64_t count) {
    for (int64_t i = 0; i < count; ++i) next->chunk(options_.content);
    held_ -= count;
  }
  DecodeStrip options_;
  int64_t cut_ = 0;   // characters cut at the start of this token, or `start` when that is over
  int64_t held_ = 0;  // trailing characters not passed on yet
};

void replace_all(std::string& text, std::string_view pattern, std::string_view content) {
  std::string out;
  size_t done = 0;
  for (size_t at; (at = text.find(pattern, done)) != std::string::npos;) {
    out.append(text, done, at - done).append(content);
    done = at + pattern.size();
  }
  if (done > 0) text = out.append(text, done);
}

struct Replacement {
  std::string_view pattern, content;
};
constexpr Replacement kWordPieceCleanUp[] = {
    {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
    {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
    {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
// transformers' clean_up_tokenization.
constexpr Replacement kCleanUp[] = {{" .", "."},     {" ?", "?"},     {" !", "!"},   {" ,", ","},
                                    {" ' ", "'"},    {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"},
                                    {" 've", "'ve"}, {" 're", "'re"}};

class WordPieceStage final : public WholeTokenStage {
 public:
  explicit WordPieceStage(const DecodeWordPiece& options) : options_(options) {}

 private:
  void on_token(std::string& token) override {
    if (!first_) {
      if (!options_.prefix.empty() && token.starts_with(options_.prefix)) {
        token.erase(0, options_.prefix.size());
      } else if (!options_.prefix.empty()) {
        token = concat(" ", token);
      }
    }
    first_ = false;
    if (options_.cleanup) {
      for (const auto& [pattern, content] : kWordPieceCleanUp) replace_all(token, pattern, content);
    }
    pass(token);
  }
  DecodeWordPiece options_;
  bool first_ = true;
};

// The suffix becomes a space, but nothing in the last token: a token waits for the next one from
// its first suffix on.
class BpeSuffixStage final : public WholeTokenStage {
 public:
  explicit BpeSuffixStage(std::string suffix) : suffix_(std::move(suffix)) {}
  void finish() override {
    release("");
    next->finish();
  }

 private:
  void on_token(std::string& token) override {
    release(" ");
    const size_t at = std::min(token.find(suffix_), token.size());
    next->chunk(std::string_view(token).substr(0, at));
    waiting_ = token.substr(at);
    open_ = true;
  }
  void release(std::string_view content) {
    if (!open_) return;
    replace_all(waiting_, suffix_, content);
    next->chunk(waiting_);
    next->end_token();
    open_ = false;
  }
  std::string suffix_, waiting_;
  bool open_ = false;
};

class SentencePieceStage final : public DecodeStage {
 public:
  explicit SentencePieceStage(const DecodeSentencePiece& options) : options_(options) {}
  void vocabulary_token(PieceKind kind, std::string_view text) override {
    std::string out;
    if (kind == PieceKind::kByte && text.size() == 6) {
      unsigned byte = 0;
      std::from_chars(text.data() + 3, text.data() + 5, byte, 16);
      const char c = static_cast<char>(byte);
      bytes_.push({&c, 1}, out);
    } else {
      bytes_.finish(out);
      has_text_ = has_text_ || !out.empty();
      if (space_was_stripped_ || has_text_) at_start_ = false;
      space_was_stripped_ = false;
      append_piece(kind, text, out);
    }
    has_text_ = has_text_ || !out.empty();
    next->chunk(out);
  }
  void chunk(std::string_view text) override { next->chunk(text); }
  void end_token() override {}
  void finish() override {
    std::string out;
    bytes_.finish(out);
    next->chunk(out);
    next->end_token();
    next->finish();
  }

 private:
  void append_piece(PieceKind kind, std::string_view text, std::string& out) {
    constexpr std::string_view kSpace = "\xe2\x96\x81";
    if (kind == PieceKind::kControl) return;
    if (kind == PieceKind::kUnknown) {
      out += options_.unknown_text;
      return;
    }
    if (at_start_ && (options_.strip_first_space || options_.strip_all_spaces) &&
        text.starts_with(kSpace)) {
      text.remove_prefix(kSpace.size());
      space_was_stripped_ = !options_.strip_all_spaces;
    }
    std::string piece(text);
    replace_all(piece, kSpace, " ");
    out += piece;
  }
  DecodeSentencePiece options_;
  CharacterAssembler bytes_{true};
  bool at_start_ = true;
  bool space_was_stripped_ = false;
  bool has_text_ = false;
};

class JoinWithSpacesStage final : public DecodeStage {
 public:
  void chunk(std::string_view text) override {
    if (starts_ && !first_) next->chunk(" ");
    starts_ = first_ = false;
    next->chunk(text);
  }
  void end_token() override {
    if (starts_) chunk("");
    starts_ = true;
  }
  void finish() override { next->finish(); }

 private:
  bool first_ = true;
  bool starts_ = true;
};

struct StageMaker {
  const std::vector<Pattern>& patterns;
  bool takes_bytes;
  size_t& next_pattern;

  std::unique_ptr<DecodeStage> operator()(const DecodeByteLevel&) const {
    return std::make_unique<ByteLevelStage>(takes_bytes);
  }
  std::unique_ptr<DecodeStage> operator()(const DecodeByteFallback&) const {
    return std::make_unique<ByteFallbackStage>();
  }
  std::unique_ptr<DecodeStage> operator()(const DecodeFuse&) const {
    return std::make_unique<FuseStage>();
  }
  std::unique_ptr<DecodeStage> operator()(const DecodeMetaspace& d) const {
    return std::make_unique<MetaspaceStage>(d);
  }
  std::unique_ptr<DecodeStage> operator()(const DecodeReplace& d) const {
    if (d.is_regex) return std::make_unique<ReplaceRegexStage>(patterns[next_pattern++], d.content);
    return std::make_unique<ReplaceLiteralStage>(d.pattern, d.content);
  }
  std::unique_ptr<DecodeStage> operator()(const DecodeStrip& d) const {
    return std::make_unique<StripStage>(d);
  }
  std::unique_ptr<DecodeStage> operator()(const DecodeWordPiece& d) const {
    return std::make_unique<WordPieceStage>(d);
  }
  std::unique_ptr<DecodeStage> operator()(const DecodeBpeSuffix& d) const {
    return std::make_unique<BpeSuffixStage>(d.suffix);
  }
  std::unique_ptr<DecodeStage> operator()(const DecodeSentencePiece& d) const {
    return std::make_unique<SentencePieceStage>(d);
  }
};

}  // namespace

Result<DecodePlan> DecodePlan::make(const std::vector<Decoder>& decoders, bool clean_up_spaces) {
  DecodePlan plan;
  plan.decoders_ = decoders;
  if (clean_up_spaces) {
    plan.decoders_.push_back(DecodeFuse{});
    for (const auto& [pattern, content] : kCleanUp) {
      plan.decoders_.push_back(DecodeReplace{std::string(pattern), false, std::string(content)});
    }
  }
  plan.takes_bytes_ =
      !plan.decoders_.empty() && std::holds_alternative<DecodeByteLevel>(plan.decoders_[0]);
  for (const Decoder& decoder : plan.decoders_) {
    if (const auto* replace = std::get_if<DecodeReplace>(&decoder)) {
      if (replace->is_regex) {
        RUVLLM_ASSIGN(Pattern pattern, Pattern::regex(replace->pattern));
        plan.patterns_.push_back(std::move(pattern));
      } else if (replace->pattern.empty()) {
        return fail(ErrorCode::kUnsupported, "tokenizer: a Replace decoder has an empty pattern");
      }
    }
    const auto* strip = std::get_if<DecodeStrip>(&decoder);
    const auto* metaspace = std::get_if<DecodeMetaspace>(&decoder);
    const auto* suffix = std::get_if<DecodeBpeSuffix>(&decoder);
    if ((strip != nullptr && (strip->content.empty() || strip->start < 0 || strip->stop < 0)) ||
        (metaspace != nullptr && metaspace->replacement.empty()) ||
        (suffix != nullptr && suffix->suffix.empty())) {
      return fail(ErrorCode::kBadFile,
                  "tokenizer: a Strip, Metaspace or BPEDecoder decoder has an empty character or a "
                  "negative count");
    }
  }
  return plan;
}

std::vector<std::unique_ptr<DecodeStage>> DecodePlan::start(DecodeSink& sink) const {
  std::vector<std::unique_ptr<DecodeStage>> stages;
  size_t next_pattern = 0;
  for (const Decoder& decoder : decoders_) {
    stages.push_back(
        std::visit(StageMaker{patterns_, takes_bytes_ && stages.empty(), next_pattern}, decoder));
  }
  if (stages.empty()) stages.push_back(std::make_unique<JoinWithSpacesStage>());
  for (size_t i = 0; i < stages.size(); ++i) {
    stages[i]->next = i + 1 < stages.size() ? stages[i + 1].get() : &sink;
  }
  return stages;
}

}  // namespace ruvllm
