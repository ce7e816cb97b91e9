// A quantized checkpoint as a GGUF file that llama.cpp reads, made from a GGUF file: its metadata
// (architecture, tokenizer) and the tensors that were kept are copied, the others become Q8_0
// (8 bits), Q4_0 (4 bits, symmetric) or Q4_1 (4 bits; its minimum is -zero * scale as f16, the only
// number that is rounded). Groups are whole multiples of 32.
//
// A Hugging Face folder becomes GGUF by llama.cpp's converter first. One thread. The file appears
// under its name when it is complete. Failure: kUnsupported naming the matrix and what would fit,
// kInvalidArgument (the file exists), kIo, kUnavailable (told to stop).
#pragma once

#include <string>
#include <vector>

#include "engine/quantized_save.h"
#include "formats/checkpoint.h"
#include "quantize/isq_matrices.h"
#include "quantize/stop_flag.h"

namespace ruvllm {

// Before the work: whether these matrices fit and `path` can be written (by making a temporary file
// beside it). `source`: the checkpoint they are of.
Status check_gguf_target(const Checkpoint& source, const std::vector<IsqMatrix>& matrices,
                         const std::string& path);

Result<SavedModel> save_gguf(const Checkpoint& quantized, const std::string& path,
                             StopFlag stop = {});

}  // namespace ruvllm
