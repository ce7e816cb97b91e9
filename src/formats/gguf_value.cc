#include <cstring>
#include <limits>

#include "base/str.h"
#include "formats/gguf.h"

namespace ruvllm {
namespace {

constexpr std::string_view kTypeNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                           "bool", "string", "array", "u64", "i64", "f64"};
constexpr uint8_t kTypeBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static_assert(std::size(kTypeNames) == kNumGgufTypes && std::size(kTypeBytes) == kNumGgufTypes);

bool is_float(GgufType type) {
  return type == GgufType::kF32 || type == GgufType::kF64;
}
bool is_number(GgufType type) {
  return type != GgufType::kString && type != GgufType::kArray && type != GgufType::kBool;
}

template <typename T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// An integer or bool at `at`; nullopt for u64 values above 2^63-1.
std::optional<int64_t> load_integer(GgufType type, const std::byte* at) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kBool:
      return load<uint8_t>(at);
    case GgufType::kI8:
      return load<int8_t>(at);
    case GgufType::kU16:
      return load<uint16_t>(at);
    case GgufType::kI16:
      return load<int16_t>(at);
    case GgufType::kU32:
      return load<uint32_t>(at);
    case GgufType::kI32:
      return load<int32_t>(at);
    case GgufType::kI64:
      return load<int64_t>(at);
    case GgufType::kU64: {
      const auto value = load<uint64_t>(at);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

double load_double(GgufType type, const std::byte* at) {
  if (type == GgufType::kF32) return static_cast<double>(load<float>(at));
  if (type == GgufType::kF64) return load<double>(at);
  if (type == GgufType::kU64) return static_cast<double>(load<uint64_t>(at));
  return static_cast<double>(load_integer(type, at).value_or(0));
}

}  // namespace

std::string_view gguf_type_name(GgufType type) {
  return kTypeNames[static_cast<size_t>(type)];
}

size_t gguf_type_bytes(GgufType type) {
  return kTypeBytes[static_cast<size_t>(type)];
}

std::string GgufValue::describe() const {
  if (type_ == GgufType::kArray) return concat("array of ", count_, " ", gguf_type_name(element_));
  if (type_ == GgufType::kString) return concat("\"", printable(*as_string(), 40), "\"");
  if (is_float(type_)) return concat(load_double(type_, bytes_.data()));
  if (type_ == GgufType::kU64) return concat(load<uint64_t>(bytes_.data()));
  if (type_ == GgufType::kBool) return load<uint8_t>(bytes_.data()) != 0 ? "true" : "false";
  return concat(*load_integer(type_, bytes_.data()));
}

std::optional<int64_t> GgufValue::as_int64() const {
  if (!is_number(type_) || is_float(type_)) return std::nullopt;
  return load_integer(type_, bytes_.data());
}

std::optional<double> GgufValue::as_double() const {
  if (!is_number(type_)) return std::nullopt;
  return load_double(type_, bytes_.data());
}

std::optional<bool> GgufValue::as_bool() const {
  if (type_ != GgufType::kBool) return std::nullopt;
  return load<uint8_t>(bytes_.data()) != 0;
}

std::optional<std::string_view> GgufValue::as_string() const {
  if (type_ != GgufType::kString) return std::nullopt;
  return std::string_view(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
}

bool GgufValue::get_strings(std::vector<std::string_view>& out) const {
  if (type_ != GgufType::kArray || element_ != GgufType::kString) return false;
  out.clear();
  out.reserve(static_cast<size_t>(count_));
  const std::byte* at = bytes_.data();
  for (uint64_t i = 0; i < count_; ++i) {  // the lengths were checked when the file was parsed
    const auto length = static_cast<size_t>(load<uint64_t>(at));
    out.emplace_back(reinterpret_cast<const char*>(at) + 8, length);
    at += 8 + length;
  }
  return true;
}

bool GgufValue::get_integers(std::vector<int64_t>& out) const {
  if (type_ != GgufType::kArray || element_ == GgufType::kString || is_float(element_)) {
    return false;
  }
  out.clear();
  out.reserve(static_cast<size_t>(count_));
  const size_t size = gguf_type_bytes(element_);
  for (uint64_t i = 0; i < count_; ++i) {
    const auto value = load_integer(element_, bytes_.data() + i * size);
    if (!value) return false;
    out.push_back(*value);
  }
  return true;
}

bool GgufValue::get_doubles(std::vector<double>& out) const {
  if (type_ != GgufType::kArray || !is_number(element_)) return false;
  out.clear();
  out.reserve(static_cast<size_t>(count_));
  const size_t size = gguf_type_bytes(element_);
  for (uint64_t i = 0; i < count_; ++i) {
    out.push_back(load_double(element_, bytes_.data() + i * size));
  }
  return true;
}

}  // namespace ruvllm
