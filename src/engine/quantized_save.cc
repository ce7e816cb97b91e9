#include "engine/quantized_save.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/str.h"
#include "formats/quantized_pack.h"
#include "formats/safetensors_writer.h"

namespace ruvllm {
namespace {

constexpr uint64_t kMaxCopiedBytes = uint64_t{1} << 30;

// Files beside the weights that belong to the model.
constexpr const char* kCompanions[] = {
    "tokenizer.json",      "tokenizer.model",    "tokenizer_config.json",   "tekken.json",
    "vocab.json",          "merges.txt",         "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "chat_template.json", "generation_config.json"};

Status write_text(const std::string& path, std::string_view text) {
  const std::string temporary = path + ".tmp";
  std::FILE* file = std::fopen(temporary.c_str(), "wb");
  bool ok = file != nullptr;
  ok = ok && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (file != nullptr) ok = std::fclose(file) == 0 && ok;
  ok = ok && std::rename(temporary.c_str(), path.c_str()) == 0;
  if (ok) return {};
  const int error = errno;
  std::remove(temporary.c_str());
  return fail(ErrorCode::kIo, concat(path, ": cannot write: ", std::strerror(error)));
}

Result<std::string> config_with_quantization(const std::string& source, const std::string& isq) {
  const std::string path = source + "/config.json";
  RUVLLM_ASSIGN(const std::string text, read_text_file(path, kMaxCopiedBytes));
  RUVLLM_ASSIGN(Json config, Json::parse(text));
  if (config.as_object() == nullptr) {
    return fail(ErrorCode::kBadFile, concat(path, ": expected an object"));
  }
  Json::Object quantization;
  quantization.push_back({"quant_method", Json(std::string("ruvllm"))});
  quantization.push_back({"version", Json(int64_t{1})});
  quantization.push_back({"isq", Json(isq)});
  config.as_object()->push_back({"quantization_config", Json(std::move(quantization))});
  return config.dump() + "\n";
}

}  // namespace

Status check_save_target(const Checkpoint& checkpoint, const std::string& folder) {
  if (checkpoint.format != "safetensors") {
    return fail(ErrorCode::kUnsupported,
                concat(checkpoint.path, ": only models in Hugging Face folders can be saved"));
  }
  for (const char* name : {"/config.json", "/model.safetensors", "/model.safetensors.index.json"}) {
    if (!file_exists(folder + name)) continue;
    return fail(ErrorCode::kInvalidArgument,
                concat(folder, ": holds a model already (", name + 1, "); choose another folder"));
  }
  return {};
}

Result<SavedModel> save_quantized(const Checkpoint& checkpoint, const std::string& folder,
                                  const std::string& isq) {
  RUVLLM_TRY(check_save_target(checkpoint, folder));
  RUVLLM_ASSIGN(const std::string config, config_with_quantization(checkpoint.path, isq));
  if (::mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST) {
    return fail(ErrorCode::kIo, concat(folder, ": cannot create: ", std::strerror(errno)));
  }
  SavedModel saved;
  SafetensorsWriter writer;
  writer.add_metadata("format", "pt");
  std::vector<std::vector<PackedTensor>> memory;
  for (const FileTensor& tensor : checkpoint.tensors) {
    if (tensor.quantized == nullptr) {
      uint64_t bytes = 0;
      if (!row_bytes(tensor.view.dtype, tensor.view.num_elements(), bytes)) {
        return fail(ErrorCode::kUnsupported,
                    concat(tensor.file, ": tensor ", tensor.name, ": its format cannot be saved"));
      }
      const auto& shape = tensor.view.shape;
      RUVLLM_TRY(writer.add(tensor.name, tensor.view.dtype,
                            {shape.begin(), shape.begin() + tensor.view.rank},
                            {tensor.view.data, static_cast<size_t>(bytes)}));
      continue;
    }
    auto matrix = tensor.quantized->read();
    if (!matrix) {
      return fail(matrix.error().code,
                  concat(tensor.file, ": tensor ", tensor.name, ": ", matrix.error().message));
    }
    std::string prefix = tensor.name;
    if (prefix.ends_with(".weight")) prefix.resize(prefix.size() - 7);
    RUVLLM_ASSIGN(std::vector<PackedTensor> parts, pack_matrix(*matrix, prefix));
    memory.push_back(std::move(parts));
    for (const PackedTensor& part : memory.back()) {
      RUVLLM_TRY(writer.add(part.name, part.dtype, part.shape, part.bytes));
    }
    ++saved.num_matrices;
  }
  const std::string weights = folder + "/model.safetensors";
  RUVLLM_TRY(writer.write(weights));
  for (const char* name : kCompanions) {
    const std::string from = concat(checkpoint.path, "/", name);
    if (!file_exists(from)) continue;
    RUVLLM_ASSIGN(const std::string text, read_text_file(from, kMaxCopiedBytes));
    RUVLLM_TRY(write_text(concat(folder, "/", name), text));
  }
  RUVLLM_TRY(write_text(folder + "/config.json", config));
  RUVLLM_ASSIGN(const MmapFile file, MmapFile::open(weights));
  saved.file_bytes = file.bytes().size();
  return saved;
}

}  // namespace ruvllm
