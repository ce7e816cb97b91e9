// The fields of one protocol buffer message, in order, from untrusted bytes: a tag, then a varint,
// 4 or 8 bytes, or a length and that many bytes. Values are views; no allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ruvllm {

class ProtobufReader {
 public:
  explicit ProtobufReader(std::string_view bytes) : bytes_(bytes) {}

  // Goes to the next field; false at the end and where the bytes are ill formed (then !ok()).
  bool next() {
    if (!ok_ || position_ == bytes_.size()) return false;
    ok_ = read_field();
    return ok_;
  }
  bool ok() const { return ok_; }
  size_t position() const { return position_; }

  uint64_t field() const { return field_; }
  // The value, or 0 / "" when the field is of another wire type.
  uint64_t varint() const { return wire_ == kVarint ? number_ : 0; }
  uint32_t fixed32() const { return wire_ == kFixed32 ? static_cast<uint32_t>(number_) : 0; }
  std::string_view text() const { return wire_ == kBytes ? text_ : std::string_view(); }

 private:
  enum Wire : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  bool read_varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && position_ < bytes_.size(); shift += 7) {
      const uint64_t byte = static_cast<unsigned char>(bytes_[position_++]);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool read_fixed(size_t size) {
    if (bytes_.size() - position_ < size) return false;
    number_ = 0;
    for (size_t i = 0; i < size; ++i) {
      number_ |= static_cast<uint64_t>(static_cast<unsigned char>(bytes_[position_++])) << (8 * i);
    }
    return true;
  }
  bool read_field() {
    uint64_t tag = 0;
    if (!read_varint(tag)) return false;
    field_ = tag >> 3;
    wire_ = tag & 7;
    if (field_ == 0) return false;
    if (wire_ == kVarint) return read_varint(number_);
    if (wire_ == kFixed64) return read_fixed(8);
    if (wire_ == kFixed32) return read_fixed(4);
    uint64_t size = 0;
    if (wire_ != kBytes || !read_varint(size) || size > bytes_.size() - position_) return false;
    text_ = bytes_.substr(position_, static_cast<size_t>(size));
    position_ += static_cast<size_t>(size);
    return true;
  }

  std::string_view bytes_;
  size_t position_ = 0;
  bool ok_ = true;
  uint64_t field_ = 0;
  uint64_t wire_ = 0;
  uint64_t number_ = 0;
  std::string_view text_;
};

}  // namespace ruvllm
