#include "formats/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/str.h"
#include "formats/gguf.h"
#include "formats/gguf_config.h"
#include "formats/hf_config.h"
#include "formats/quantized_config.h"
#include "formats/quantized_tensors.h"
#include "formats/safetensors.h"

namespace ruvllm {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
constexpr uint64_t kMaxIndexBytes = uint64_t{256} << 20;

// Fills `index`; the same name twice (in two shards) is refused.
Status build_index(Checkpoint& checkpoint) {
  checkpoint.index.reserve(checkpoint.tensors.size());
  for (size_t i = 0; i < checkpoint.tensors.size(); ++i) {
    const FileTensor& tensor = checkpoint.tensors[i];
    const auto [entry, is_new] = checkpoint.index.emplace(tensor.name, i);
    if (!is_new) {
      return fail(ErrorCode::kBadFile,
                  concat(tensor.file, ": tensor \"", printable(tensor.name), "\" is also in ",
                         checkpoint.tensors[entry->second].file));
    }
  }
  return {};
}

// Tensors whose elements are not aligned (legal: a header of odd length) are copied once, so that
// all who read them may use plain loads.
void align_tensors(Checkpoint& checkpoint) {
  for (FileTensor& tensor : checkpoint.tensors) {
    const DTypeInfo& info = dtype_info(tensor.view.dtype);
    const size_t need = info.block_elements > 1 ? 2 : static_cast<size_t>(info.block_bytes);
    if (reinterpret_cast<uintptr_t>(tensor.view.data) % need == 0) continue;
    uint64_t bytes = 0;
    if (!row_bytes(tensor.view.dtype, tensor.view.num_elements(), bytes)) continue;
    auto copy = std::make_unique<std::byte[]>(static_cast<size_t>(bytes) + 1);
    std::memcpy(copy.get(), tensor.view.data, static_cast<size_t>(bytes));
    tensor.view.data = copy.get();
    checkpoint.copies.push_back(std::move(copy));
  }
  if (!checkpoint.copies.empty()) {
    log_info(checkpoint.path, ": ", checkpoint.copies.size(),
             " tensors are not aligned in the file and were copied");
  }
}

// Maps one safetensors file of the folder and appends its tensors.
Status add_safetensors(const std::string& path, Checkpoint& checkpoint) {
  RUVLLM_ASSIGN(MmapFile file, MmapFile::open(path));
  RUVLLM_ASSIGN(std::vector<FileTensor> tensors, parse_safetensors(file.bytes(), path));
  checkpoint.files.push_back(std::move(file));
  checkpoint.tensors.insert(checkpoint.tensors.end(), std::make_move_iterator(tensors.begin()),
                            std::make_move_iterator(tensors.end()));
  return {};
}

Status add_shards(const std::string& directory, const std::string& index_path,
                  Checkpoint& checkpoint) {
  RUVLLM_ASSIGN(const std::string text, read_text_file(index_path, kMaxIndexBytes));
  RUVLLM_ASSIGN(const SafetensorsIndex index, parse_safetensors_index(text, index_path));
  for (const std::string& shard : index.shards) {
    RUVLLM_TRY(add_safetensors(directory + "/" + shard, checkpoint));
  }
  RUVLLM_TRY(build_index(checkpoint));
  for (const auto& [name, shard] : index.tensor_to_shard) {
    const FileTensor* tensor = checkpoint.find(name);
    if (tensor == nullptr || tensor->file != directory + "/" + shard) {
      return fail(ErrorCode::kBadFile, concat(index_path, ": weight_map: tensor \"",
                                              printable(name), "\" is not in ", shard));
    }
  }
  return {};
}

Status add_weights(const std::string& directory, Checkpoint& checkpoint) {
  const std::string index_path = directory + "/model.safetensors.index.json";
  if (file_exists(index_path)) return add_shards(directory, index_path, checkpoint);
  const std::string single = directory + "/model.safetensors";
  if (file_exists(single)) {
    RUVLLM_TRY(add_safetensors(single, checkpoint));
    return build_index(checkpoint);
  }
  const bool pickle = file_exists(directory + "/pytorch_model.bin") ||
                      file_exists(directory + "/pytorch_model.bin.index.json");
  return fail(
      ErrorCode::kNotFound,
      concat(directory, ": no weights: expected model.safetensors or model.safetensors.index.json",
             pickle ? " (pytorch_model.bin is a pickle and is not read)" : ""));
}

// Quantized matrices become one tensor each.
Status join_quantized(std::string_view config_text, const std::string& config_path,
                      Checkpoint& checkpoint) {
  RUVLLM_ASSIGN(const Json config, Json::parse(config_text));
  const Json* quantization = config.find("quantization_config");
  const Json* text = config.find("text_config");
  if (quantization == nullptr && text != nullptr) quantization = text->find("quantization_config");
  if (quantization == nullptr || quantization->is_null()) return {};
  RUVLLM_ASSIGN(const QuantizationConfig parsed,
                parse_quantization_config(*quantization, config_path));
  checkpoint.index.clear();
  RUVLLM_TRY(join_quantized_tensors(parsed, checkpoint.path, checkpoint.tensors));
  return build_index(checkpoint);
}

// Leaves the text part of a vision-language checkpoint, under the names of a text-only one.
Status keep_text_part(Checkpoint& checkpoint) {
  std::vector<FileTensor> kept;
  for (FileTensor& tensor : checkpoint.tensors) {
    std::string name = hf_text_tensor_name(tensor.name);
    if (name.empty()) continue;
    tensor.name = std::move(name);
    kept.push_back(std::move(tensor));
  }
  checkpoint.index.clear();
  checkpoint.tensors = std::move(kept);
  return build_index(checkpoint);
}

Result<std::unique_ptr<Checkpoint>> open_directory(const std::string& path) {
  auto checkpoint = std::make_unique<Checkpoint>();
  checkpoint->path = path;
  checkpoint->format = "safetensors";
  checkpoint->names = NameStyle::kHuggingFace;

  const std::string config_path = path + "/config.json";
  if (!file_exists(config_path)) {
    return fail(ErrorCode::kNotFound,
                concat(path, ": no config.json (for a GGUF model, name the .gguf file itself)"));
  }
  RUVLLM_ASSIGN(const std::string config, read_text_file(config_path, kMaxConfigBytes));
  RUVLLM_ASSIGN(checkpoint->config, parse_hf_config(config, config_path));
  const std::string generation_path = path + "/generation_config.json";
  if (file_exists(generation_path)) {
    RUVLLM_ASSIGN(const std::string text, read_text_file(generation_path, kMaxConfigBytes));
    RUVLLM_TRY(
        apply_generation_config(text, generation_path, checkpoint->config, checkpoint->generation));
  }
  const std::string pooling_path = path + "/1_Pooling/config.json";
  if (file_exists(pooling_path)) {
    RUVLLM_ASSIGN(const std::string text, read_text_file(pooling_path, kMaxConfigBytes));
    RUVLLM_ASSIGN(checkpoint->pooling, parse_pooling_config(text, pooling_path));
  }
  RUVLLM_TRY(add_weights(path, *checkpoint));
  RUVLLM_TRY(join_quantized(config, config_path, *checkpoint));
  if (checkpoint->config.architecture == kGemma3WithImages) {
    RUVLLM_TRY(keep_text_part(*checkpoint));
  }
  align_tensors(*checkpoint);
  return checkpoint;
}

Result<std::unique_ptr<Checkpoint>> open_gguf_checkpoint(const std::string& path) {
  auto checkpoint = std::make_unique<Checkpoint>();
  checkpoint->path = path;
  checkpoint->format = "gguf";
  checkpoint->names = NameStyle::kGguf;
  RUVLLM_ASSIGN(GgufFile file, open_gguf(path, checkpoint->files));
  RUVLLM_ASSIGN(checkpoint->config, gguf_model_config(file));
  RUVLLM_ASSIGN(checkpoint->generation, gguf_generation_defaults(file));
  RUVLLM_ASSIGN(checkpoint->pooling, gguf_pooling(file));
  checkpoint->tensors = std::move(file.tensors);
  RUVLLM_TRY(build_index(*checkpoint));
  align_tensors(*checkpoint);
  return checkpoint;
}

// Whether the file begins as a GGUF file does, or calls itself one.
bool looks_like_gguf(const std::string& path) {
  if (path.ends_with(".gguf")) return true;
  const auto file = MmapFile::open(path);
  return file && file->bytes().size() >= 4 && std::memcmp(file->bytes().data(), "GGUF", 4) == 0;
}

}  // namespace

const FileTensor* Checkpoint::find(std::string_view name) const {
  const auto entry = index.find(name);
  return entry != index.end() ? &tensors[entry->second] : nullptr;
}

Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::string& path) {
  if (directory_exists(path)) {
    std::string trimmed = path;
    while (trimmed.size() > 1 && trimmed.ends_with('/')) trimmed.pop_back();
    return open_directory(trimmed);
  }
  if (!file_exists(path)) return fail(ErrorCode::kNotFound, concat(path, ": no such file"));
  if (looks_like_gguf(path)) return open_gguf_checkpoint(path);
  return fail(ErrorCode::kUnsupported, concat(path, ": expected a folder or a .gguf file"));
}

}  // namespace ruvllm
