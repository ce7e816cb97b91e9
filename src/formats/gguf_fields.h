// Typed, range-checked reading of GGUF metadata: the sibling of JsonFields. Every getter returns a
// usable value; the first complaint is kept and asked for once with status(). Keys are given
// without their architecture prefix. A view of the GgufFile, which must outlive it. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/str.h"
#include "formats/gguf.h"
#include "ruvllm/result.h"

namespace ruvllm {

class GgufFields {
 public:
  // `prefix`: "llama." or "" for whole keys.
  GgufFields(const GgufFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  const GgufValue* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  // The value, when it is there and no getter of this object was called for it.
  const GgufValue* not_asked_for(std::string_view key) const;

  int64_t integer(std::string_view key, int64_t min, int64_t max);
  int64_t integer_or(std::string_view key, int64_t fallback, int64_t min, int64_t max);
  // One integer for all layers, or an array with the same value for each of `layers`.
  int64_t layer_integer(std::string_view key, size_t layers, int64_t min, int64_t max);
  double number(std::string_view key, double min, double max);
  double number_or(std::string_view key, double fallback, double min, double max);
  bool flag_or(std::string_view key, bool fallback);
  std::string_view text_or(std::string_view key, std::string_view fallback);

  template <typename... Parts>
  void bad(std::string_view key, const Parts&... parts) {
    complain(ErrorCode::kBadFile, key, concat(parts...));
  }
  template <typename... Parts>
  void unsupported(std::string_view key, const Parts&... parts) {
    complain(ErrorCode::kUnsupported, key, concat(parts...));
  }

  bool ok() const { return status_.has_value(); }
  const Status& status() const { return status_; }

 private:
  void complain(ErrorCode code, std::string_view key, const std::string& message);
  void mismatch(std::string_view key, const std::string& expected);

  const GgufFile& file_;
  std::string prefix_;
  mutable std::vector<const GgufValue*> asked_;
  Status status_;
};

}  // namespace ruvllm
