// The encodings of short words seen in one call of encode: real text repeats its words. Direct
// mapped: a new word takes the place of another, so memory is fixed and no text can slow it down.
// One call each; not thread-safe.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "tokenizer/byte_hash.h"

namespace ruvllm {

class WordCache {
 public:
  static constexpr size_t kMaxWordBytes = 24;

  // `text_bytes`: how much will be encoded; a short text gets a small cache.
  explicit WordCache(size_t text_bytes)
      : slots_(std::clamp(std::bit_ceil(text_bytes / 32), size_t{16}, size_t{1} << 14)) {}

  // Appends the ids of `word`, from the cache or by encode_word(word, out).
  template <typename EncodeWord>
  void encode(std::string_view word, std::vector<int32_t>& out, EncodeWord&& encode_word) {
    if (word.size() > kMaxWordBytes || word.empty()) return encode_word(word, out);
    const Key key = key_of(word);
    Slot& slot = slots_[hash_of(key) & (slots_.size() - 1)];
    if (slot.key == key) {
      out.insert(out.end(), slot.ids, slot.ids + slot.num_ids);
      return;
    }
    const size_t begin = out.size();
    encode_word(word, out);
    const size_t num_ids = out.size() - begin;
    if (num_ids > kMaxIds) return;
    slot.key = key;
    slot.num_ids = static_cast<uint32_t>(num_ids);
    std::copy(out.begin() + static_cast<std::ptrdiff_t>(begin), out.end(), slot.ids);
  }

 private:
  static constexpr size_t kMaxIds = 7;
  // The word's bytes (read as overlapping words where that fits better) and its length, which
  // together determine it; length 0: an empty slot.
  struct Key {
    uint64_t words[3] = {};
    uint32_t size = 0;
    bool operator==(const Key&) const = default;
  };
  struct Slot {  // one cache line
    Key key;
    uint32_t num_ids;
    int32_t ids[kMaxIds];
  };

  static uint64_t load8(const char* p) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    return word;
  }
  static uint32_t load4(const char* p) {
    uint32_t word;
    std::memcpy(&word, p, 4);
    return word;
  }
  static Key key_of(std::string_view word) {
    const char* p = word.data();
    const size_t n = word.size();
    Key key;
    key.size = static_cast<uint32_t>(n);
    if (n >= 8) {
      key.words[0] = load8(p);
      key.words[1] = load8(p + n - 8);
      if (n > 16) key.words[2] = load8(p + 8);
    } else if (n >= 4) {
      key.words[0] = load4(p) | static_cast<uint64_t>(load4(p + n - 4)) << 32;
    } else {
      const auto byte = [&](size_t i) { return static_cast<uint64_t>(static_cast<uint8_t>(p[i])); };
      key.words[0] = byte(0) | byte(n / 2) << 8 | byte(n - 1) << 16;
    }
    return key;
  }
  static size_t hash_of(const Key& key) {
    uint64_t h = key.words[0] * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
    h = (h ^ key.words[1]) * 0xbf58476d1ce4e5b9u;
    h ^= h >> 29;
    h = (h ^ key.words[2] ^ key.size) * 0x94d049bb133111ebu;
    return static_cast<size_t>(h >> 40);
  }

  std::vector<Slot> slots_;
};

}  // namespace ruvllm
