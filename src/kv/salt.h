// A cache salt (text of any length that separates tenants in the prefix cache) as part of a
// PrefixKey: a 128-bit keyed hash. The empty salt is shared by all who give none.
#pragma once

#include <string_view>

#include "kv/prefix_index.h"
#include "kv/siphash.h"

namespace ruvllm {

inline void set_salt(PrefixKey& key, std::string_view salt, uint64_t seed) {
  key.salt_low = key.salt_high = 0;
  if (salt.empty()) return;
  SipHash low(seed, 0x6c6f77);
  SipHash high(seed, 0x68696768);
  for (size_t i = 0; i < salt.size(); i += 8) {
    uint64_t word = 0;
    for (size_t j = i; j < salt.size() && j < i + 8; ++j) {
      word |= uint64_t{static_cast<uint8_t>(salt[j])} << (8 * (j - i));
    }
    low.add(word);
    high.add(word);
  }
  low.add(salt.size());
  high.add(salt.size());
  key.salt_low = low.finish();
  key.salt_high = high.finish() | 1;  // never the key of the empty salt
}

}  // namespace ruvllm
