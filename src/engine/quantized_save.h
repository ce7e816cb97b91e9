// A quantized checkpoint as a folder: model.safetensors, config.json with a quantization_config
// that this project reads, and the tokenizer's files as they were. The weights come first and
// config.json last, each by renaming a finished file, so that a folder left by a failure does not
// load. One thread. Failure: kInvalidArgument (the folder holds a model already, the source is no
// Hugging Face folder), kIo (naming the file and the system's reason).
#pragma once

#include <string>

#include "formats/checkpoint.h"

namespace ruvllm {

struct SavedModel {
  uint64_t file_bytes = 0;
  uint64_t num_matrices = 0;
};

// Whether save_quantized() could write this model there, before the work is done: what it would
// refuse, in the same words.
Status check_save_target(const Checkpoint& checkpoint, const std::string& folder);

// `isq`: how it was made, kept in the quantization_config for people.
Result<SavedModel> save_quantized(const Checkpoint& checkpoint, const std::string& folder,
                                  const std::string& isq);

}  // namespace ruvllm
