// Hashing of short byte strings and of pairs of ids, for tables in memory only (the values differ
// between machines of different byte order).
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace ruvllm {

inline uint64_t mix_hash(uint64_t h) {  // every input bit reaches the upper half
  h ^= h >> 32;
  h *= 0x9e3779b97f4a7c15u;
  h ^= h >> 29;
  h *= 0xbf58476d1ce4e5b9u;
  return h ^ h >> 32;
}

inline uint64_t hash_bytes(std::string_view bytes) {
  uint64_t h = bytes.size() * 0x9e3779b97f4a7c15u;
  const char* p = bytes.data();
  size_t left = bytes.size();
  uint64_t word;
  for (; left >= 8; p += 8, left -= 8) {
    std::memcpy(&word, p, 8);
    h = (h ^ word) * 0xbf58476d1ce4e5b9u;
    h ^= h >> 29;
  }
  if (left > 0) {
    word = 0;
    std::memcpy(&word, p, left);
    h = (h ^ word) * 0xbf58476d1ce4e5b9u;
  }
  return mix_hash(h);
}

}  // namespace ruvllm
