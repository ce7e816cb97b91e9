#include "tokenizer/spm_normalizer.h"

#include "tokenizer/utf8.h"

namespace ruvllm {

Result<SpmNormalizer> SpmNormalizer::make(const NormalizeSpmWhitespace& options,
                                          const std::vector<std::string>& user_defined) {
  SpmNormalizer normalizer;
  normalizer.options_ = options;
  if (!options.charsmap.empty()) {
    RUVLLM_ASSIGN(normalizer.map_, Charsmap::make(options.charsmap));
  }
  normalizer.options_.charsmap.clear();
  std::vector<std::pair<std::string_view, int32_t>> keys;
  for (const std::string& piece : user_defined) keys.emplace_back(piece, 0);
  normalizer.user_defined_ = ByteTrie(std::move(keys));
  return normalizer;
}

SpmNormalizer::Piece SpmNormalizer::next(std::string_view text, size_t from) const {
  if (!user_defined_.empty()) {
    const size_t length = user_defined_.longest_prefix(text, from).first;
    if (length > 0) return {length, text.substr(from, length)};
  }
  if (map_) {
    const Charsmap::Match match = map_->longest(text, from);
    if (match.length > 0) return {match.length, match.replacement};
  }
  // A rule may end within a character; what is left of it is ill formed, byte by byte.
  const CheckedChar c = check_utf8(text, from);
  if (c.size == 0) return {1, kReplacementUtf8};
  return {c.size, text.substr(from, c.size)};
}

std::string SpmNormalizer::apply(std::string_view text) const {
  const std::string_view space = options_.escape_whitespaces ? "\xe2\x96\x81" : " ";
  const bool trims = options_.remove_extra_whitespaces;
  size_t from = 0;
  while (trims && from < text.size()) {
    const Piece piece = next(text, from);
    if (piece.text != " ") break;
    from += piece.length;
  }
  std::string out;
  if (from == text.size()) return out;
  out.reserve(text.size() + text.size() / 2);
  if (options_.add_dummy_prefix && !options_.whitespace_as_suffix) out += space;
  bool after_space = trims;
  while (from < text.size()) {
    Piece piece = next(text, from);
    from += piece.length;
    while (after_space && piece.text.starts_with(' ')) piece.text.remove_prefix(1);
    for (const char c : piece.text) {
      if (c == ' ' && options_.escape_whitespaces) {
        out += space;
      } else {
        out += c;
      }
    }
    if (!piece.text.empty()) after_space = trims && piece.text.ends_with(' ');
  }
  while (trims && out.ends_with(space)) out.resize(out.size() - space.size());
  if (options_.add_dummy_prefix && options_.whitespace_as_suffix) out += space;
  if (map_ && find_invalid_utf8(out) != out.size()) out = to_valid_utf8(out);  // the file's fault
  return out;
}

}  // namespace ruvllm
