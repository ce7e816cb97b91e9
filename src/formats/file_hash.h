// Hash of a whole file as lower-case hex. Compiled only with RUVLLM_HAS_DOWNLOAD (OpenSSL).
#pragma once

#include <string>

#include "ruvllm/result.h"

namespace ruvllm {

// SHA-256 of the bytes or, with `git_blob`, git's SHA-1 of the file as a blob ("blob SIZE\0" before
// the bytes).
Result<std::string> hash_file(const std::string& path, bool git_blob);

}  // namespace ruvllm
