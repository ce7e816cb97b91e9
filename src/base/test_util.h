// Helpers of tests only; not linked into the product.
#pragma once

#include <sys/stat.h>

#include <cstdlib>
#include <optional>
#include <string>

namespace ruvllm::test {

// The root of the source tree. In one file that the build writes, so that every other object is the
// same in every checkout and a compiler cache serves them all.
extern const char* const kSourceDir;

// The folder with the reference data, or nullopt when this machine has none: $RUVLLM_SHARED, or
// `shared` beside the source tree.
inline std::optional<std::string> shared_dir() {
  const char* from_env = std::getenv("RUVLLM_SHARED");
  const std::string path = from_env != nullptr ? from_env : std::string(kSourceDir) + "/../shared";
  struct stat info = {};
  if (::stat((path + "/golden/README.md").c_str(), &info) != 0) return std::nullopt;
  return path;
}

inline std::string source_dir() {
  return kSourceDir;
}

// A fresh folder for files of one test; the caller need not remove it.
inline std::string make_temp_dir() {
  const char* base = std::getenv("TMPDIR");
  std::string path = std::string(base != nullptr ? base : "/tmp") + "/ruvllm-test-XXXXXX";
  return ::mkdtemp(path.data()) != nullptr ? path : std::string();
}

}  // namespace ruvllm::test
