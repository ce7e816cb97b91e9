// load_tokenizer_data (declared in checkpoint.h): which reader reads a path.
#include <string_view>

#include "base/mmap_file.h"
#include "base/str.h"
#include "formats/checkpoint.h"
#include "formats/tokenizer_config.h"
#include "formats/tokenizer_json.h"

namespace ruvllm {
namespace {

constexpr uint64_t kMaxTokenizerBytes = 512 << 20;

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

Result<TokenizerData> load_file(const std::string& path) {
  const std::string_view name = file_name(path);
  if (name.ends_with(".json")) {
    RUVLLM_ASSIGN(const std::string text, read_text_file(path, kMaxTokenizerBytes));
    return parse_tokenizer_json(text, path);
  }
  return fail(ErrorCode::kUnsupported, concat(path, ": no tokenizer file by its name"));
}

Result<TokenizerData> load_directory(const std::string& path) {
  for (const char* name : {"tokenizer.json"}) {
    const std::string file = concat(path, "/", name);
    if (!file_exists(file)) continue;
    RUVLLM_ASSIGN(TokenizerData data, load_file(file));
    RUVLLM_TRY(apply_tokenizer_config(path, data));
    return data;
  }
  return fail(ErrorCode::kNotFound, concat(path, ": no tokenizer (tokenizer.json)"));
}

}  // namespace

Result<TokenizerData> load_tokenizer_data(const std::string& path) {
  if (directory_exists(path)) return load_directory(path);
  if (!file_exists(path)) return fail(ErrorCode::kNotFound, concat(path, ": no such file"));
  return load_file(path);
}

}  // namespace ruvllm
