#include "tokenizer/normalizer.h"

#include <optional>

#include "base/str.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/pattern.h"
#include "tokenizer/spm_normalizer.h"
#include "tokenizer/unicode.h"
#include "tokenizer/unicode_forms.h"
#include "tokenizer/utf8.h"

namespace ruvllm {

class NormalizerChain::Stage {
 public:
  virtual ~Stage() = default;
  virtual Status apply(std::string& text) const = 0;
};

namespace {

using Stage = NormalizerChain::Stage;

// A stage that is a function of each character: it appends what becomes of it.
class PerCharacter final : public Stage {
 public:
  using Function = void (*)(std::string& out, char32_t code);
  explicit PerCharacter(Function function) : function_(function) {}
  Status apply(std::string& text) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t i = 0; i < text.size();) {
      const DecodedChar c = decode_utf8(text, i);
      function_(out, c.code);
      i += c.size;
    }
    text = std::move(out);
    return {};
  }

 private:
  Function function_;
};

// Marks as Unicode 9 had them: two have become letters since, one has become a mark.
bool is_mark_of_unicode_9(char32_t code) {
  if (code == 0x1cf2 || code == 0x1cf3) return true;
  return in_set(code, kMark) && is_in_unicode_9(code) && code != 0x111c9;
}
void drop_marks(std::string& out, char32_t code) {
  if (!is_mark_of_unicode_9(code)) append_utf8(out, code);
}

// sentencepiece's "nmt" rules: controls vanish, odd spaces become spaces.
void nmt(std::string& out, char32_t code) {
  const bool dropped = (code >= 1 && code <= 8) || code == 0xb || (code >= 0xe && code <= 0x1f) ||
                       code == 0x7f || code == 0x8f || code == 0x9f;
  if (dropped) return;
  const bool space = code == 9 || code == 0xa || code == 0xc || code == 0xd || code == 0x1680 ||
                     (code >= 0x200b && code <= 0x200f) || code == 0x2028 || code == 0x2029 ||
                     code == 0x2581 || code == 0xfeff || code == 0xfffd;
  append_utf8(out, space ? U' ' : code);
}

void to_letters(std::string& out, char32_t code) {
  std::string bytes;
  append_utf8(bytes, code);
  out += bytes_to_letters(bytes);
}

void bert_clean(std::string& out, char32_t code) {
  constexpr CategorySet kDropped =
      category_bit(Category::kCc) | category_bit(Category::kCf) | category_bit(Category::kCo);
  if (code == '\t' || code == '\n' || code == '\r' || is_space(code)) {
    out += ' ';
  } else if (code != 0 && code != 0xfffd && !in_set(code, kDropped)) {
    append_utf8(out, code);
  }
}

void bert_space_cjk(std::string& out, char32_t c) {
  const bool cjk = (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
                   (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
                   (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
                   (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
  if (cjk) out += ' ';
  append_utf8(out, c);
  if (cjk) out += ' ';
}

void bert_drop_nonspacing(std::string& out, char32_t code) {
  if (category(code) != Category::kMn || !is_in_unicode_9(code)) append_utf8(out, code);
}

class ToForm final : public Stage {
 public:
  explicit ToForm(NormalizeUnicode::Form form) : form_(form) {}
  Status apply(std::string& text) const override {
    text = form_.apply(text);
    return {};
  }

 private:
  UnicodeForm form_;
};

class Strip final : public Stage {
 public:
  explicit Strip(NormalizeStrip options) : options_(options) {}
  Status apply(std::string& text) const override {
    size_t begin = 0, end = text.size();
    while (options_.left && begin < end) {
      const DecodedChar c = decode_utf8(text, begin);
      if (!is_space(c.code)) break;
      begin += c.size;
    }
    while (options_.right && begin < end) {
      const DecodedChar c = decode_utf8_before(text, end);
      if (!is_space(c.code)) break;
      end -= c.size;
    }
    text = text.substr(begin, end - begin);
    return {};
  }

 private:
  NormalizeStrip options_;
};

class Prepend final : public Stage {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  Status apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, prefix_);
    return {};
  }

 private:
  std::string prefix_;
};

class Replace final : public Stage {
 public:
  Replace(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  Status apply(std::string& text) const override {
    std::string out;
    out.reserve(text.size() + text.size() / 2);
    RUVLLM_TRY(pattern_.for_each_span(text, [&](Span s) {
      if (s.is_match) {
        out += content_;
      } else {
        out.append(text, s.begin, s.end - s.begin);
      }
    }));
    text = std::move(out);
    return {};
  }

 private:
  Pattern pattern_;
  std::string content_;
};

// tokenizer.json's reading of the character map: whole grapheme clusters of up to five bytes first,
// by their shortest rule; then single characters.
class Precompiled final : public Stage {
 public:
  explicit Precompiled(Charsmap map) : map_(std::move(map)) {}
  Status apply(std::string& text) const override {
    std::string out;
    out.reserve(text.size() + text.size() / 8);
    const std::string_view view = text;
    for (size_t i = 0; i < view.size();) {
      const size_t end = end_of_grapheme(view, i);
      append_cluster(view.substr(i, end - i), out);
      i = end;
    }
    // Only a damaged map has ill-formed texts.
    text = find_invalid_utf8(out) == out.size() ? std::move(out) : to_valid_utf8(out);
    return {};
  }

 private:
  static constexpr size_t kMaxClusterBytes = 5;

  bool append_replacement(std::string_view part, std::string& out) const {
    if (!map_.may_start(part[0])) return false;
    const auto replacement = map_.shortest(part);
    if (replacement) out += *replacement;
    return replacement.has_value();
  }
  void append_cluster(std::string_view cluster, std::string& out) const {
    if (cluster.size() <= kMaxClusterBytes && append_replacement(cluster, out)) return;
    for (size_t i = 0; i < cluster.size();) {
      const std::string_view part = cluster.substr(i, decode_utf8(cluster, i).size);
      if (!append_replacement(part, out)) out += part;
      i += part.size();
    }
  }

  Charsmap map_;
};

class Spm final : public Stage {
 public:
  explicit Spm(SpmNormalizer normalizer) : normalizer_(std::move(normalizer)) {}
  Status apply(std::string& text) const override {
    text = normalizer_.apply(text);
    return {};
  }

 private:
  SpmNormalizer normalizer_;
};

Status need_utf8proc(const char* what) {
  if (UnicodeForm::available()) return {};
  return fail(ErrorCode::kUnsupported, concat("tokenizer: the ", what,
                                              " normalizer needs utf8proc, "
                                              "which this build is without (RUVLLM_UTF8PROC)"));
}

struct StageMaker {
  std::vector<std::shared_ptr<const Stage>>& stages;
  const std::vector<std::string>& user_defined;

  void add(PerCharacter::Function function) const {
    stages.push_back(std::make_shared<PerCharacter>(function));
  }
  Status operator()(const NormalizeUnicode& s) const {
    RUVLLM_TRY(need_utf8proc("NFC/NFD/NFKC/NFKD"));
    stages.push_back(std::make_shared<ToForm>(s.form));
    return {};
  }
  Status operator()(const NormalizeLowercase&) const { return add(append_lower_case), Status(); }
  Status operator()(const NormalizeStripAccents&) const { return add(drop_marks), Status(); }
  Status operator()(const NormalizeNmt&) const { return add(nmt), Status(); }
  Status operator()(const NormalizeByteLevel&) const { return add(to_letters), Status(); }
  Status operator()(const NormalizeStrip& s) const {
    stages.push_back(std::make_shared<Strip>(s));
    return {};
  }
  Status operator()(const NormalizePrepend& s) const {
    stages.push_back(std::make_shared<Prepend>(s.text));
    return {};
  }
  Status operator()(const NormalizeReplace& s) const {
    if (!s.is_regex) {
      stages.push_back(std::make_shared<Replace>(Pattern::literal(s.pattern), s.content));
      return {};
    }
    RUVLLM_ASSIGN(Pattern pattern, Pattern::regex(s.pattern));
    stages.push_back(std::make_shared<Replace>(std::move(pattern), s.content));
    return {};
  }
  Status operator()(const NormalizeBert& s) const {
    if (s.clean_text) add(bert_clean);
    if (s.handle_chinese_chars) add(bert_space_cjk);
    if (s.strip_accents) {
      RUVLLM_TRY((*this)(NormalizeUnicode{NormalizeUnicode::kNfd}));
      add(bert_drop_nonspacing);
    }
    if (s.lowercase) add(append_lower_case);
    return {};
  }
  Status operator()(const NormalizePrecompiled& s) const {
    if (s.charsmap.empty()) return {};
    RUVLLM_TRY(need_utf8proc("Precompiled"));
    RUVLLM_ASSIGN(Charsmap map, Charsmap::make(s.charsmap));
    stages.push_back(std::make_shared<Precompiled>(std::move(map)));
    return {};
  }
  Status operator()(const NormalizeSpmWhitespace& s) const {
    RUVLLM_ASSIGN(SpmNormalizer normalizer, SpmNormalizer::make(s, user_defined));
    stages.push_back(std::make_shared<Spm>(std::move(normalizer)));
    return {};
  }
};

}  // namespace

Result<NormalizerChain> NormalizerChain::make(const std::vector<Normalizer>& stages,
                                              const std::vector<std::string>& user_defined) {
  NormalizerChain chain;
  for (const Normalizer& stage : stages) {
    RUVLLM_TRY(std::visit(StageMaker{chain.stages_, user_defined}, stage));
  }
  return chain;
}

Status NormalizerChain::apply(std::string& text) const {
  for (const auto& stage : stages_) RUVLLM_TRY(stage->apply(text));
  return {};
}

}  // namespace ruvllm
