// A quantized checkpoint as a folder: model.safetensors, config.json with a quantization_config,
// and the tokenizer's files as they were; in this project's own layout or in another's. The weights
// come first and config.json last, each by renaming a finished file, so that a folder left by a
// failure does not load. One thread. Failure: kInvalidArgument (the folder holds a model already),
// kUnsupported (what model_folder.h and foreign_config.h refuse), kIo (naming the file and the
// system's reason).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/foreign_pack.h"
#include "quantize/isq_matrices.h"
#include "quantize/stop_flag.h"

namespace ruvllm {

struct SavedModel {
  uint64_t file_bytes = 0;
  uint64_t num_matrices = 0;
};

struct SaveFormat {
  // Empty: this project's own, which holds everything that its quantizers make.
  std::optional<ForeignLayout> layout;
  // Of the checkpoint that was quantized, with their schemes (another's layout only).
  std::vector<IsqMatrix> matrices;
  std::string isq;     // how it was made, kept in the quantization_config for people (own layout)
  StopFlag stop = {};  // raised: kUnavailable, and nothing is written
};

Result<SavedModel> save_quantized(const Checkpoint& checkpoint, const std::string& folder,
                                  const SaveFormat& format);

}  // namespace ruvllm
