#include "tokenizer/charsmap.h"

#include "base/str.h"

namespace ruvllm {
namespace {

// A unit of the double array: the offset to its children, its label, whether it ends a key.
uint32_t offset_of(uint32_t unit) {
  return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}
uint32_t label_of(uint32_t unit) {
  return unit & (1u << 31 | 0xffu);
}
bool has_leaf(uint32_t unit) {
  return (unit >> 8 & 1u) != 0;
}
uint32_t value_of(uint32_t unit) {
  return unit & 0x7fffffffu;
}

}  // namespace

Result<Charsmap> Charsmap::make(std::string_view blob) {
  const auto read_u32 = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) {
      value |= static_cast<uint32_t>(static_cast<unsigned char>(blob[at + i])) << (8 * i);
    }
    return value;
  };
  if (blob.size() < 4) {
    return fail(ErrorCode::kBadFile, concat("tokenizer: precompiled_charsmap has ", blob.size(),
                                            " bytes, expected at least 4"));
  }
  const size_t trie_bytes = read_u32(0);
  if (trie_bytes > blob.size() - 4 || trie_bytes % 4 != 0 || trie_bytes == 0) {
    return fail(ErrorCode::kBadFile,
                concat("tokenizer: precompiled_charsmap says its trie has ", trie_bytes,
                       " bytes, expected a multiple of 4 within ", blob.size() - 4));
  }
  Charsmap map;
  map.units_.reserve(trie_bytes / 4);
  for (size_t i = 0; i < trie_bytes; i += 4) map.units_.push_back(read_u32(4 + i));
  map.texts_ = blob.substr(4 + trie_bytes);
  const size_t root = offset_of(map.units_[0]);
  for (uint32_t b = 0; b < 256; ++b) {
    const size_t child = root ^ b;
    map.starts_[b] = child < map.units_.size() && label_of(map.units_[child]) == b;
  }
  return map;
}

template <typename Visit>
void Charsmap::for_each_rule(std::string_view text, size_t from, Visit&& visit) const {
  size_t node = offset_of(units_[0]);
  for (size_t i = from; i < text.size(); ++i) {
    const uint32_t byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (node >= units_.size()) return;
    const uint32_t unit = units_[node];
    if (label_of(unit) != byte) return;
    node ^= offset_of(unit);
    if (node >= units_.size()) return;
    if (has_leaf(unit) && !visit(i + 1 - from, value_of(units_[node]))) return;
  }
}

std::string_view Charsmap::replacement(uint32_t at) const {
  if (at >= texts_.size()) return {};
  const std::string_view rest = std::string_view(texts_).substr(at);
  return rest.substr(0, rest.find('\0'));
}

Charsmap::Match Charsmap::longest(std::string_view text, size_t from) const {
  Match match;
  if (!may_start(text[from])) return match;
  uint32_t at = 0;
  for_each_rule(text, from, [&](size_t length, uint32_t value) {
    match.length = length;
    at = value;
    return true;
  });
  if (match.length > 0) match.replacement = replacement(at);
  return match;
}

std::optional<std::string_view> Charsmap::shortest(std::string_view chunk) const {
  std::optional<std::string_view> found;
  for_each_rule(chunk, 0, [&](size_t, uint32_t value) {
    found = replacement(value);
    return false;
  });
  return found;
}

}  // namespace ruvllm
