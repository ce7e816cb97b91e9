// The tokens of a vocabulary as bytes, by id and by text. Constant after construction; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ruvllm {

class Vocabulary {
 public:
  Vocabulary() = default;
  // texts[id]; an empty text is a hole. Of equal texts, find() knows the last.
  explicit Vocabulary(const std::vector<std::string>& texts);

  int32_t size() const { return static_cast<int32_t>(starts_.size()) - 1; }
  std::string_view text(int32_t id) const {
    const auto i = static_cast<size_t>(id);
    return {bytes_.data() + starts_[i], starts_[i + 1] - starts_[i]};
  }
  int32_t find(std::string_view text) const;  // -1: none

 private:
  struct Slot {
    uint32_t tag = 0;
    int32_t id = -1;
  };
  std::string bytes_;
  std::vector<size_t> starts_ = {0};  // [V + 1]
  std::vector<Slot> slots_;           // power of two, at most half full
};

}  // namespace ruvllm
