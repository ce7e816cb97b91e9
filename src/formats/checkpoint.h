// A checkpoint: the one thing the rest of the engine knows about model files. It opens a Hugging
// Face directory (config.json + safetensors, sharded or not) or a GGUF file (split or not), checks
// every size against the files, and gives ModelConfig, tensors by name (views of the mapped files)
// and the defaults for generation.
//
// Ownership: the Checkpoint keeps the files mapped; views live as long as it does. Constant after
// open; any thread may read. Failure: one line naming file, field, found and expected.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mmap_file.h"
#include "ruvllm/request.h"
#include "ruvllm/result.h"
#include "spec/file_tensor.h"
#include "spec/model_config.h"
#include "spec/tokenizer_data.h"

namespace ruvllm {

// How get_embeddings pools (sentence-transformers' 1_Pooling/config.json).
enum class Pooling : uint8_t { kMean, kLastToken, kFirstToken };

struct Checkpoint {
  std::string path;    // as opened
  std::string format;  // "safetensors" or "gguf"
  NameStyle names = NameStyle::kHuggingFace;
  ModelConfig config;
  GenerationDefaults generation;
  Pooling pooling = Pooling::kMean;
  std::vector<FileTensor> tensors;  // in the order of the files

  // The tensor of that exact name, or nullptr.
  const FileTensor* find(std::string_view name) const;

  std::vector<MmapFile> files;
  std::vector<std::unique_ptr<std::byte[]>> copies;  // of tensors that lie unaligned in their file
  // Of a checkpoint made from another: the one whose mapped files its views point into.
  std::shared_ptr<const Checkpoint> base;
  std::unordered_map<std::string_view, size_t>
      index;  // name -> tensors[i]; keys point into tensors
};

// `path`: a directory or a .gguf file (for a split model: any of its parts).
Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::string& path);

// The tokenizer of a directory, tokenizer.json, tokenizer.model, tekken.json, *.tiktoken or .gguf.
// kNotFound when there is none. Includes the chat template and special-token texts when present.
Result<TokenizerData> load_tokenizer_data(const std::string& path);

// MODEL of the command line -> an existing path: "demo" (RUVLLM_MODELS, then beside the executable,
// the build tree, the install prefix), an existing path as it is, or "org/name" in the Hugging Face
// cache, downloaded first when it is not there, `offline` is false and the build can.
Result<std::string> resolve_model(const std::string& model, bool offline);

}  // namespace ruvllm
