#include "formats/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "base/checked.h"
#include "base/json.h"
#include "base/str.h"

namespace ruvllm {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference library's limit
constexpr int kMaxHeaderDepth = 8;
constexpr size_t kMaxShards = 100'000;  // "-00001-of-00003" has five digits

struct DTypeName {
  std::string_view name;
  DType dtype;
};
constexpr DTypeName kDTypeNames[] = {
    {"F32", DType::kF32},        {"F16", DType::kF16},        {"BF16", DType::kBF16},
    {"F8_E4M3", DType::kF8E4M3}, {"F8_E5M2", DType::kF8E5M2}, {"F64", DType::kF64},
    {"I8", DType::kI8},          {"U8", DType::kU8},          {"I16", DType::kI16},
    {"I32", DType::kI32},        {"I64", DType::kI64},        {"BOOL", DType::kBool},
};
// Formats that exist elsewhere but that no element format here stands for.
constexpr std::string_view kKnownElsewhere[] = {
    "U16", "U32", "U64", "F8_E8M0", "F4", "F6_E2M3", "F6_E3M2", "F8_E4M3FNUZ", "C64"};

struct ByteRange {
  uint64_t begin = 0;
  uint64_t end = 0;
  size_t tensor = 0;
};

std::unexpected<Error> bad(const std::string& file, const std::string& what) {
  return fail(ErrorCode::kBadFile, concat(file, ": ", what));
}

// What a file that is not safetensors probably is; "" when there is no guess.
std::string_view guess_content(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                              std::min<size_t>(bytes.size(), 64));
  if (text.starts_with("version https://git-lfs")) {
    return " (it is a git-lfs pointer: the file itself was not fetched)";
  }
  if (text.starts_with("PK\x03\x04") || text.starts_with("\x80\x02")) {
    return " (it looks like a PyTorch pickle, which is not read)";
  }
  if (text.starts_with("GGUF")) return " (it is a GGUF file)";
  if (text.starts_with("<")) return " (it looks like a web page)";
  return "";
}

// The header's text, or what is wrong with its length.
Result<std::string_view> header_text(std::span<const std::byte> bytes, const std::string& file) {
  if (bytes.size() < 8) {
    return bad(file, concat("found ", bytes.size(),
                            " bytes, expected a safetensors file of at "
                            "least 8"));
  }
  uint64_t length = 0;
  for (size_t i = 8; i-- > 0;) length = (length << 8) | static_cast<uint64_t>(bytes[i]);
  if (length > kMaxHeaderBytes || !range_fits(8, length, bytes.size())) {
    return bad(file,
               concat("header length: found ", length, ", expected at most ",
                      std::min<uint64_t>(kMaxHeaderBytes, bytes.size() - 8), guess_content(bytes)));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8,
                              static_cast<size_t>(length));
  if (!text.starts_with('{')) {
    return bad(file, concat("header: expected a JSON object, found \"", printable(text, 16), "\"",
                            guess_content(bytes)));
  }
  return text;
}

Result<DType> parse_dtype(const Json& entry, const std::string& where) {
  const Json* field = entry.find("dtype");
  const std::string* name = field != nullptr ? field->as_string() : nullptr;
  if (name == nullptr) {
    return fail(ErrorCode::kBadFile,
                concat(where, "dtype: found ", field != nullptr ? field->type_name() : "nothing",
                       ", expected a string"));
  }
  for (const DTypeName& row : kDTypeNames) {
    if (row.name == *name) return row.dtype;
  }
  const bool known = std::ranges::find(kKnownElsewhere, *name) != std::end(kKnownElsewhere);
  return fail(
      known ? ErrorCode::kUnsupported : ErrorCode::kBadFile,
      concat(where, "dtype ", printable(*name, 32), known ? " is not supported" : " is unknown"));
}

// Fills rank, shape and stride of `view`; gives the number of elements.
Result<uint64_t> parse_shape(const Json& entry, const std::string& where, TensorView& view) {
  const Json* field = entry.find("shape");
  const Json::Array* dims = field != nullptr ? field->as_array() : nullptr;
  if (dims == nullptr) {
    return fail(ErrorCode::kBadFile,
                concat(where, "shape: found ", field != nullptr ? field->type_name() : "nothing",
                       ", expected an array"));
  }
  if (dims->size() > TensorView::kMaxRank) {
    return fail(ErrorCode::kUnsupported,
                concat(where, "shape: found ", dims->size(), " dimensions, expected at most ",
                       int{TensorView::kMaxRank}));
  }
  view.rank = static_cast<int>(dims->size());
  uint64_t elements = 1;
  for (size_t i = 0; i < dims->size(); ++i) {
    const auto dim = (*dims)[i].as_int64();
    if (!dim || *dim < 0) {
      return fail(ErrorCode::kBadFile,
                  concat(where, "shape[", i, "]: found ", printable((*dims)[i].dump(), 32),
                         ", expected an integer from 0 to 2^63-1"));
    }
    view.shape[i] = *dim;
    if (!checked_mul(elements, static_cast<uint64_t>(*dim), elements) ||
        elements > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return fail(ErrorCode::kBadFile, concat(where, "shape: the number of elements overflows"));
    }
  }
  int64_t stride = 1;
  for (size_t i = dims->size(); i-- > 0;) {
    view.stride[i] = stride;
    // Cannot overflow unless a dimension further out is 0; then strides mean nothing.
    if (elements != 0) stride *= view.shape[i];
  }
  return elements;
}

Result<ByteRange> parse_range(const Json& entry, const std::string& where, uint64_t data_bytes) {
  const Json* field = entry.find("data_offsets");
  const Json::Array* pair = field != nullptr ? field->as_array() : nullptr;
  if (pair == nullptr || pair->size() != 2) {
    return fail(ErrorCode::kBadFile,
                concat(where, "data_offsets: found ",
                       field != nullptr ? printable(field->dump(), 48) : "nothing",
                       ", expected [begin, end]"));
  }
  const auto begin = (*pair)[0].as_uint64();
  const auto end = (*pair)[1].as_uint64();
  if (!begin || !end || *begin > *end || *end > data_bytes) {
    return fail(ErrorCode::kBadFile,
                concat(where, "data_offsets: found ", printable(field->dump(), 64),
                       ", expected begin <= end <= ", data_bytes));
  }
  return ByteRange{*begin, *end, 0};
}

// One entry of the header. `range.tensor` is left to the caller.
Result<FileTensor> parse_entry(const JsonMember& member, const std::string& file,
                               std::span<const std::byte> data, ByteRange& range) {
  const std::string where = concat(file, ": tensor \"", printable(member.key), "\": ");
  if (!member.value.is_object()) {
    return fail(ErrorCode::kBadFile,
                concat(where, "found ", member.value.type_name(), ", expected an object"));
  }
  FileTensor tensor;
  tensor.name = member.key;
  tensor.file = file;
  RUVLLM_ASSIGN(tensor.view.dtype, parse_dtype(member.value, where));
  RUVLLM_ASSIGN(const uint64_t elements, parse_shape(member.value, where, tensor.view));
  RUVLLM_ASSIGN(range, parse_range(member.value, where, data.size()));
  uint64_t bytes = 0;
  if (!row_bytes(tensor.view.dtype, static_cast<int64_t>(elements), bytes) ||
      bytes != range.end - range.begin) {
    return fail(ErrorCode::kBadFile,
                concat(where, "data_offsets hold ", range.end - range.begin, " bytes, expected ",
                       bytes, " for ", tensor.view.describe()));
  }
  tensor.view.data = data.data() + range.begin;
  return tensor;
}

// The ranges must tile the data: what belongs to no tensor, or to two, is a damaged file.
Status check_tiling(std::vector<ByteRange>& ranges, const std::vector<FileTensor>& tensors,
                    uint64_t data_bytes, const std::string& file) {
  std::ranges::sort(ranges, [](const ByteRange& a, const ByteRange& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t covered = 0;
  for (const ByteRange& range : ranges) {
    if (range.begin != covered) {
      return bad(file, concat("tensor \"", printable(tensors[range.tensor].name),
                              "\": data_offsets begin at ", range.begin, ", expected ", covered,
                              range.begin < covered ? " (two tensors overlap)"
                                                    : " (bytes that belong to no tensor)"));
    }
    covered = range.end;
  }
  if (covered != data_bytes) {
    return bad(file, concat("found ", data_bytes, " bytes of tensor data, the header describes ",
                            covered));
  }
  return {};
}

Status check_metadata(const Json& value, const std::string& file) {
  const Json::Object* object = value.as_object();
  if (object == nullptr) {
    return bad(file, concat("__metadata__: found ", value.type_name(), ", expected an object"));
  }
  for (const JsonMember& member : *object) {
    if (!member.value.is_string()) {
      return bad(file, concat("__metadata__.", printable(member.key), ": found ",
                              member.value.type_name(), ", expected a string"));
    }
  }
  return {};
}

// Whether `name` is a plain file name of a shard: no folders, nothing hidden, the right ending.
bool is_shard_name(std::string_view name) {
  if (!name.ends_with(".safetensors") || name.starts_with('.') || name.size() > 255) return false;
  return std::ranges::none_of(name, [](char c) {
    return c == '/' || c == '\\' || c == ':' || static_cast<unsigned char>(c) < 0x20;
  });
}

}  // namespace

std::string_view safetensors_dtype_name(DType dtype) {
  for (const DTypeName& row : kDTypeNames) {
    if (row.dtype == dtype) return row.name;
  }
  return "";
}

Result<std::vector<FileTensor>> parse_safetensors(std::span<const std::byte> bytes,
                                                  const std::string& file) {
  RUVLLM_ASSIGN(const std::string_view text, header_text(bytes, file));
  auto header = Json::parse(text, kMaxHeaderDepth);
  if (!header) return bad(file, concat("header: ", header.error().message));
  const Json::Object& entries = *header->as_object();  // it starts with '{'
  const std::span<const std::byte> data = bytes.subspan(8 + text.size());

  std::vector<FileTensor> tensors;
  std::vector<ByteRange> ranges;
  tensors.reserve(entries.size());
  ranges.reserve(entries.size());
  for (const JsonMember& member : entries) {
    if (member.key == "__metadata__") {
      RUVLLM_TRY(check_metadata(member.value, file));
      continue;
    }
    ByteRange range;
    RUVLLM_ASSIGN(FileTensor tensor, parse_entry(member, file, data, range));
    range.tensor = tensors.size();
    ranges.push_back(range);
    tensors.push_back(std::move(tensor));
  }
  RUVLLM_TRY(check_tiling(ranges, tensors, data.size(), file));
  return tensors;
}

Result<SafetensorsIndex> parse_safetensors_index(std::string_view json, const std::string& file) {
  auto root = Json::parse(json, kMaxHeaderDepth);
  if (!root) return bad(file, root.error().message);
  const Json* map = root->find("weight_map");
  if (map == nullptr || !map->is_object()) {
    return bad(file, concat("weight_map: found ", map != nullptr ? map->type_name() : "nothing",
                            ", expected an object"));
  }
  SafetensorsIndex index;
  for (const JsonMember& member : *map->as_object()) {
    const std::string* shard = member.value.as_string();
    if (shard == nullptr || !is_shard_name(*shard)) {
      return bad(file, concat("weight_map: \"", printable(member.key), "\": found ",
                              printable(member.value.dump()),
                              ", expected the name of a .safetensors file in the same folder"));
    }
    index.tensor_to_shard.emplace_back(member.key, *shard);
    index.shards.push_back(*shard);
  }
  std::ranges::sort(index.shards);
  const auto repeated = std::ranges::unique(index.shards);
  index.shards.erase(repeated.begin(), repeated.end());
  if (index.shards.empty() || index.shards.size() > kMaxShards) {
    return bad(file, concat("weight_map: found ", index.shards.size(),
                            " shards, expected from 1 to ", kMaxShards));
  }
  return index;
}

}  // namespace ruvllm
