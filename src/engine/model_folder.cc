#include "engine/model_folder.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/new_file.h"
#include "base/str.h"

namespace ruvllm {
namespace {

constexpr uint64_t kMaxCopiedBytes = uint64_t{1} << 30;

// Files beside the weights that belong to the model.
constexpr const char* kCompanions[] = {
    "tokenizer.json",      "tokenizer.model",    "tokenizer_config.json",   "tekken.json",
    "vocab.json",          "merges.txt",         "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "chat_template.json", "generation_config.json"};

}  // namespace

Status write_text_file(const std::string& path, std::string_view text) {
  RUVLLM_ASSIGN(NewFile file, NewFile::create(path));
  RUVLLM_TRY(file.write(text));
  return file.commit();
}

Status check_model_folder(const Checkpoint& checkpoint, const std::string& folder) {
  if (checkpoint.format != "safetensors") {
    return fail(ErrorCode::kUnsupported,
                concat(checkpoint.path, ": only models in Hugging Face folders can be saved"));
  }
  for (const char* name : {"/config.json", "/model.safetensors", "/model.safetensors.index.json"}) {
    if (!file_exists(folder + name)) continue;
    return fail(ErrorCode::kInvalidArgument,
                concat(folder, ": holds a model already (", name + 1, "); choose another folder"));
  }
  const bool there = directory_exists(folder);
  RUVLLM_TRY(make_folder(folder));
  const Status writable = NewFile::try_create(folder + "/config.json");
  if (!there) ::rmdir(folder.c_str());
  return writable;
}

Status copy_companions(const std::string& source, const std::string& folder) {
  for (const char* name : kCompanions) {
    const std::string from = concat(source, "/", name);
    if (!file_exists(from)) continue;
    RUVLLM_ASSIGN(const std::string text, read_text_file(from, kMaxCopiedBytes));
    RUVLLM_TRY(write_text_file(concat(folder, "/", name), text));
  }
  return {};
}

Result<std::string> config_with_quantization(const std::string& source, Json::Object quantization) {
  const std::string path = source + "/config.json";
  RUVLLM_ASSIGN(const std::string text, read_text_file(path, kMaxCopiedBytes));
  RUVLLM_ASSIGN(Json config, Json::parse(text));
  if (config.as_object() == nullptr) {
    return fail(ErrorCode::kBadFile, concat(path, ": expected an object"));
  }
  constexpr std::string_view kKey = "quantization_config";
  Json::Object& members = *config.as_object();
  std::erase_if(members, [kKey](const JsonMember& member) { return member.key == kKey; });
  members.push_back({std::string(kKey), Json(std::move(quantization))});
  return config.dump() + "\n";
}

}  // namespace ruvllm
