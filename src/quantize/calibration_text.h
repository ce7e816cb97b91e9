// From a calibration text to the token sequences of the pass.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ruvllm/result.h"
#include "tokenizer/tokenizer.h"

namespace ruvllm {

std::string_view builtin_calibration_text();

// The texts of a file: the whole of it, or for .jsonl one per line, a JSON string or an object with
// "text". "": the built-in text. kIo, kBadFile (file, line, what was expected).
Result<std::vector<std::string>> read_calibration_texts(const std::string& path);

// The texts of JSON lines; `path` begins every message.
Result<std::vector<std::string>> parse_calibration_lines(std::string_view lines,
                                                         const std::string& path);

// At most `max_samples` sequences of `tokens` tokens each, spread evenly over the texts; shorter
// only when all of the text is. Ids from `vocab_size` on are refused (kBadFile).
Result<std::vector<std::vector<int32_t>>> make_calibration_samples(
    const std::vector<std::string>& texts, const Tokenizer& tokenizer, int32_t vocab_size,
    int64_t max_samples, int64_t tokens);

}  // namespace ruvllm
