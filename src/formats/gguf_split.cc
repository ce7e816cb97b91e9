// Split models: the names of their parts, and opening them as one.
#include <iterator>

#include "base/str.h"
#include "formats/gguf.h"

namespace ruvllm {
namespace {

// An integer of the metadata; `fallback` when there is no such key.
Result<int64_t> split_field(const GgufFile& file, std::string_view key, int64_t fallback) {
  const GgufValue* value = file.find(key);
  if (value == nullptr) return fallback;
  const auto number = value->as_int64();
  if (number && *number >= 0) return *number;
  return fail(ErrorCode::kBadFile,
              concat(file.path, ": ", key, ": found ", value->describe(), ", expected a count"));
}

// A part must say that it is the part its name says.
Status check_part(const GgufFile& file, const GgufSplitName& name, uint32_t part) {
  RUVLLM_ASSIGN(const int64_t count, split_field(file, "split.count", -1));
  RUVLLM_ASSIGN(const int64_t number, split_field(file, "split.no", -1));
  if (count == name.parts && number == int64_t{part} - 1) return {};
  return fail(ErrorCode::kBadFile,
              concat(file.path, ": split.no, split.count: found ", number, ", ", count,
                     ", expected ", part - 1, ", ", name.parts, " as the file is named"));
}

Result<GgufFile> open_one(const std::string& path, std::vector<MmapFile>& files) {
  RUVLLM_ASSIGN(MmapFile mapped, MmapFile::open(path));
  RUVLLM_ASSIGN(GgufFile file, parse_gguf(mapped.bytes(), path));
  files.push_back(std::move(mapped));
  return file;
}

}  // namespace

std::optional<GgufSplitName> parse_gguf_split_name(std::string_view path) {
  constexpr std::string_view kPattern = "-00000-of-00000.gguf";
  if (path.size() <= kPattern.size()) return std::nullopt;
  const std::string_view tail = path.substr(path.size() - kPattern.size());
  GgufSplitName name;
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || tail.substr(15) != ".gguf" ||
      !parse_number(tail.substr(1, 5), name.part) ||
      !parse_number(tail.substr(10, 5), name.parts) || name.part < 1 || name.part > name.parts) {
    return std::nullopt;
  }
  name.prefix = path.substr(0, path.size() - kPattern.size());
  return name;
}

std::string gguf_split_path(const GgufSplitName& name, uint32_t part) {
  const auto digits = [](uint32_t value) {
    std::string text = concat(value);
    text.insert(0, text.size() < 5 ? 5 - text.size() : 0, '0');
    return text;
  };
  return concat(name.prefix, "-", digits(part), "-of-", digits(name.parts), ".gguf");
}

Result<GgufFile> open_gguf(const std::string& path, std::vector<MmapFile>& files) {
  const auto name = parse_gguf_split_name(path);
  const std::string first_path = name ? gguf_split_path(*name, 1) : path;
  RUVLLM_ASSIGN(GgufFile first, open_one(first_path, files));
  RUVLLM_ASSIGN(const int64_t count, split_field(first, "split.count", 1));
  if (count <= 1) {
    if (!name || name->parts == 1) return first;
  } else if (!name) {
    return fail(ErrorCode::kBadFile,
                concat(path, ": is one of ", count,
                       " parts but is not named like one, expected NAME-00001-of-", "0000N.gguf"));
  }
  RUVLLM_TRY(check_part(first, *name, 1));
  for (uint32_t part = 2; part <= name->parts; ++part) {
    RUVLLM_ASSIGN(GgufFile next, open_one(gguf_split_path(*name, part), files));
    RUVLLM_TRY(check_part(next, *name, part));
    first.tensors.insert(first.tensors.end(), std::make_move_iterator(next.tensors.begin()),
                         std::make_move_iterator(next.tensors.end()));
  }
  RUVLLM_ASSIGN(const int64_t total, split_field(first, "split.tensors.count", -1));
  if (total >= 0 && static_cast<uint64_t>(total) != first.tensors.size()) {
    return fail(ErrorCode::kBadFile,
                concat(first.path, ": split.tensors.count: found ", total, ", the ", name->parts,
                       " parts hold ", first.tensors.size()));
  }
  return first;
}

}  // namespace ruvllm
