#include "tokenizer/vocabulary.h"

#include <bit>

#include "tokenizer/byte_hash.h"

namespace ruvllm {

Vocabulary::Vocabulary(const std::vector<std::string>& texts) {
  size_t num_bytes = 0;
  for (const std::string& text : texts) num_bytes += text.size();
  bytes_.reserve(num_bytes);
  starts_.reserve(texts.size() + 1);
  for (const std::string& text : texts) {
    bytes_ += text;
    starts_.push_back(bytes_.size());
  }
  slots_.resize(std::bit_ceil(texts.size() * 2 + 1));
  const size_t mask = slots_.size() - 1;
  for (int32_t id = 0; id < size(); ++id) {
    const std::string_view key = text(id);
    if (key.empty()) continue;
    const uint64_t hash = hash_bytes(key);
    const auto tag = static_cast<uint32_t>(hash >> 32);
    size_t i = hash & mask;
    while (slots_[i].id >= 0 && !(slots_[i].tag == tag && text(slots_[i].id) == key)) {
      i = (i + 1) & mask;
    }
    slots_[i] = {tag, id};
  }
}

int32_t Vocabulary::find(std::string_view key) const {
  if (key.empty() || slots_.empty()) return -1;
  const uint64_t hash = hash_bytes(key);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask; slots_[i].id >= 0; i = (i + 1) & mask) {
    if (slots_[i].tag == tag && text(slots_[i].id) == key) return slots_[i].id;
  }
  return -1;
}

}  // namespace ruvllm
