// sentencepiece's precompiled character map: a double-array trie of byte strings and what replaces
// them. The blob is untrusted; every step stays within it. Constant after make; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ruvllm/result.h"

namespace ruvllm {

class Charsmap {
 public:
  // u32 (little-endian) size of the trie in bytes, its 32-bit units, then texts that end in NUL.
  static Result<Charsmap> make(std::string_view blob);

  struct Match {
    size_t length = 0;  // bytes of the text that are replaced; 0: no rule
    std::string_view replacement;
  };
  // The longest rule for text[from..].
  Match longest(std::string_view text, size_t from) const;
  // The shortest rule that `chunk` begins with.
  std::optional<std::string_view> shortest(std::string_view chunk) const;

  bool may_start(char byte) const { return starts_[static_cast<unsigned char>(byte)]; }

 private:
  template <typename Visit>  // visit(length, value); false stops
  void for_each_rule(std::string_view text, size_t from, Visit&& visit) const;
  std::string_view replacement(uint32_t at) const;

  std::vector<uint32_t> units_;
  std::string texts_;
  std::vector<bool> starts_ = std::vector<bool>(256);
};

}  // namespace ruvllm
