// What surrounds the weights of a Hugging Face folder that this project writes: config.json and the
// tokenizer's files. Each file is written beside its place and renamed, so that a failure leaves no
// half file under its name. One thread. Failure: kIo naming the file and the system's reason.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "formats/checkpoint.h"

namespace ruvllm {

// Whether a quantized model could be written there, before the work is done: kUnsupported when the
// source is no Hugging Face folder, kInvalidArgument when the folder holds a model already, kIo
// when it cannot be made or no file in it can. Nothing is left behind.
Status check_model_folder(const Checkpoint& checkpoint, const std::string& folder);

Status write_text_file(const std::string& path, std::string_view text);

// The tokenizer's files, chat template and generation defaults of `source`, those that it has.
Status copy_companions(const std::string& source, const std::string& folder);

// The text of the source's config.json with this quantization_config, in place of one it has.
Result<std::string> config_with_quantization(const std::string& source, Json::Object quantization);

}  // namespace ruvllm
