// GGUF metadata -> ModelConfig, for the architectures of llama.cpp that are families here. Some
// traits stand in no key and are read off the tensors: a tied output, biases, expert layers, rope
// factors. What a key asks for and this engine does not do is refused by name.
// Pure function of the parsed file. Facts: llama.cpp's loader and converter.
#pragma once

#include <string_view>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/gguf.h"
#include "ruvllm/result.h"
#include "spec/model_config.h"

namespace ruvllm {

Result<ModelConfig> gguf_model_config(const GgufFile& file);

// {arch}.pooling_type: how embeddings are pooled; mean when the file does not say.
Result<Pooling> gguf_pooling(const GgufFile& file);

// general.sampling.*: the sampling that the model's makers recommend.
Result<GenerationDefaults> gguf_generation_defaults(const GgufFile& file);

// The values of general.architecture it knows.
std::vector<std::string_view> supported_gguf_architectures();

}  // namespace ruvllm
