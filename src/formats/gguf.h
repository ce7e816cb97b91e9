// Reader of GGUF files, versions 2 and 3, little-endian (format: docs/gguf.md of the ggml project):
//
//   "GGUF" | u32 version | u64 tensors | u64 metadata entries
//   entries: string key | u32 type | value          string: u64 length | bytes
//   tensors: string name | u32 rank | u64 dims[rank], innermost first | u32 type | u64 offset
//   padding to the alignment | tensor data, each at its offset
//
// The parser takes bytes; keys, strings, arrays and tensors are views into them and live as long as
// they do. Everything is checked once while parsing: lengths against the file before any use,
// ranges of tensors against the data and each other. Memory used is proportional to the number of
// entries that are really in the file. Pure functions; const use from any thread.
// Failure: kBadFile or kUnsupported, one line naming file, key or tensor, found and expected.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mmap_file.h"
#include "ruvllm/result.h"
#include "spec/file_tensor.h"

namespace ruvllm {

enum class GgufType : uint8_t {
  kU8 = 0,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};
inline constexpr size_t kNumGgufTypes = 13;
std::string_view gguf_type_name(GgufType type);
size_t gguf_type_bytes(GgufType type);  // 0 for strings and arrays

// A metadata value. The accessors are total: nullopt or false when the value is of another type.
class GgufValue {
 public:
  GgufType type() const { return type_; }
  // "u32", "string", "array of 3 f32": for messages.
  std::string describe() const;

  std::optional<int64_t> as_int64() const;  // any integer type that fits; not bool, not float
  std::optional<double> as_double() const;  // any number
  std::optional<bool> as_bool() const;
  std::optional<std::string_view> as_string() const;  // any bytes; UTF-8 in well-made files

  bool is_array() const { return type_ == GgufType::kArray; }
  GgufType element_type() const { return element_; }  // of an array; never kArray
  uint64_t count() const { return count_; }           // of an array
  // The whole array, converted; false when the elements are of another kind. Integers also come
  // from an array of bool; doubles from any numbers.
  bool get_strings(std::vector<std::string_view>& out) const;
  bool get_integers(std::vector<int64_t>& out) const;
  bool get_doubles(std::vector<double>& out) const;
  // As it lies in the file: a scalar, the text of a string, or the elements of an array.
  std::span<const std::byte> raw() const { return bytes_; }

 private:
  friend class GgufParser;
  GgufType type_ = GgufType::kU8;
  GgufType element_ = GgufType::kU8;
  uint64_t count_ = 0;
  std::span<const std::byte> bytes_;  // scalar, text of a string, or elements of an array
};

struct GgufFile {
  std::string path;  // for messages
  uint32_t version = 0;
  uint64_t alignment = 32;
  std::vector<std::pair<std::string_view, GgufValue>> metadata;  // in file order
  std::unordered_map<std::string_view, size_t> keys;             // -> metadata
  std::vector<FileTensor> tensors;                               // shapes outermost first

  // The value of that key, or nullptr.
  const GgufValue* find(std::string_view key) const;
};

Result<GgufFile> parse_gguf(std::span<const std::byte> bytes, const std::string& path);

// A part of a split model: "NAME-00002-of-00005.gguf".
struct GgufSplitName {
  std::string prefix;  // NAME, with its folder
  uint32_t part = 0;   // from 1
  uint32_t parts = 0;
};
std::optional<GgufSplitName> parse_gguf_split_name(std::string_view path);
std::string gguf_split_path(const GgufSplitName& name, uint32_t part);

// Maps and parses the file, or all parts of the split model that `path` is a part of. Metadata is
// the first part's; tensors are those of all parts. `files` takes the mappings, which must outlive
// the result.
Result<GgufFile> open_gguf(const std::string& path, std::vector<MmapFile>& files);

}  // namespace ruvllm
