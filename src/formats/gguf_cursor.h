// A reading position in a span of bytes that never passes its end. Internal to gguf.cc.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace ruvllm {

static_assert(std::endian::native == std::endian::little, "GGUF is read in place");

class GgufCursor {
 public:
  explicit GgufCursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  size_t position() const { return position_; }
  size_t size() const { return bytes_.size(); }
  uint64_t left() const { return bytes_.size() - position_; }
  const std::byte* at(size_t position) const { return bytes_.data() + position; }
  std::span<const std::byte> since(size_t begin) const {
    return bytes_.subspan(begin, position_ - begin);
  }

  // Each moves past what it reads, or returns false and stays.
  bool bytes(uint64_t count, std::span<const std::byte>& out) {
    if (count > left()) return false;
    out = bytes_.subspan(position_, static_cast<size_t>(count));
    position_ += static_cast<size_t>(count);
    return true;
  }
  bool text(uint64_t count, std::string_view& out) {
    std::span<const std::byte> view;
    if (!bytes(count, view)) return false;
    out = {reinterpret_cast<const char*>(view.data()), view.size()};
    return true;
  }
  template <typename T>
  bool number(T& out) {
    std::span<const std::byte> view;
    if (!bytes(sizeof out, view)) return false;
    std::memcpy(&out, view.data(), sizeof out);
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
  size_t position_ = 0;
};

// Well-formed UTF-8 (no surrogates, nothing overlong) without control characters.
inline bool is_printable_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t n) {
      return i + n < text.size() ? static_cast<unsigned>(static_cast<unsigned char>(text[i + n]))
                                 : 0u;
    };
    const unsigned lead = byte(0);
    if (lead < 0x80) {
      if (lead < 0x20 || lead == 0x7f) return false;
      ++i;
      continue;
    }
    const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    uint32_t code = lead & (0xffu >> (length + 1));
    for (size_t n = 1; n < length; ++n) {
      if ((byte(n) & 0xc0u) != 0x80u) return false;
      code = (code << 6) | (byte(n) & 0x3fu);
    }
    constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (lead < 0xc2 || lead > 0xf4 || code < kSmallest[length] || code > 0x10ffff ||
        (code >= 0xd800 && code < 0xe000)) {
      return false;
    }
    i += length;
  }
  return true;
}

}  // namespace ruvllm
