// load_tokenizer_data (declared in checkpoint.h): which reader reads a path.
#include <string_view>

#include "base/mmap_file.h"
#include "base/str.h"
#include "formats/checkpoint.h"
#include "formats/gguf.h"
#include "formats/sentencepiece_model.h"
#include "formats/tokenizer_config.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"
#include "formats/tokenizer_tekken.h"

namespace ruvllm {
namespace {

constexpr uint64_t kMaxTokenizerBytes = 512 << 20;

std::string_view file_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

Result<TokenizerData> load_file(const std::string& path) {
  const std::string_view name = file_name(path);
  if (name.ends_with(".gguf")) {
    std::vector<MmapFile> files;
    RUVLLM_ASSIGN(const GgufFile file, open_gguf(path, files));
    return read_gguf_tokenizer(file);
  }
  RUVLLM_ASSIGN(const std::string text, read_text_file(path, kMaxTokenizerBytes));
  if (name.ends_with(".tiktoken")) return parse_tiktoken(text, path);
  if (name.ends_with(".json")) {
    return name.starts_with("tekken") ? parse_tekken(text, path) : parse_tokenizer_json(text, path);
  }
  // sentencepiece's files are called tokenizer.model, tokenizer.model.v3, spiece.model, ...; the
  // same name also stands for lines of base64.
  if (looks_like_tiktoken(text)) return parse_tiktoken(text, path);
  return parse_sentencepiece_model(text, path);
}

// The one file of a folder that holds a tokenizer; "" when there is none.
std::string find_in_directory(const std::string& path) {
  for (const char* name : {"tokenizer.json", "tekken.json", "tokenizer.model", "tokenizer.model.v3",
                           "spiece.model", "tokenizer.tiktoken", "qwen.tiktoken", "vocab.gguf"}) {
    std::string file = concat(path, "/", name);
    if (file_exists(file)) return file;
  }
  return "";
}

}  // namespace

Result<TokenizerData> load_tokenizer_data(const std::string& path) {
  if (!directory_exists(path)) {
    if (!file_exists(path)) return fail(ErrorCode::kNotFound, concat(path, ": no such file"));
    return load_file(path);
  }
  const std::string file = find_in_directory(path);
  if (file.empty()) {
    return fail(ErrorCode::kNotFound,
                concat(path, ": no tokenizer (tokenizer.json, tokenizer.model, tekken.json)"));
  }
  RUVLLM_ASSIGN(TokenizerData data, load_file(file));
  RUVLLM_TRY(apply_tokenizer_config(path, data));
  return data;
}

}  // namespace ruvllm
