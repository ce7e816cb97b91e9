// Helpers of tests only; not linked into the product.
#pragma once

#include <sys/stat.h>

#include <cstdlib>
#include <optional>
#include <string>

namespace ruvllm::test {

// The folder with the reference data, or nullopt when this machine has none: $RUVLLM_SHARED, or
// `shared` beside the source tree.
inline std::optional<std::string> shared_dir() {
  const char* from_env = std::getenv("RUVLLM_SHARED");
  const std::string path = from_env != nullptr ? from_env : RUVLLM_SOURCE_DIR "/../shared";
  struct stat info = {};
  if (::stat((path + "/golden/README.md").c_str(), &info) != 0) return std::nullopt;
  return path;
}

inline std::string source_dir() {
  return RUVLLM_SOURCE_DIR;
}

// A fresh folder for files of one test; the caller need not remove it.
inline std::string make_temp_dir() {
  const char* base = std::getenv("TMPDIR");
  std::string path = std::string(base != nullptr ? base : "/tmp") + "/ruvllm-test-XXXXXX";
  return ::mkdtemp(path.data()) != nullptr ? path : std::string();
}

}  // namespace ruvllm::test
