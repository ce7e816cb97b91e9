// Fields: reads the members of a JSON object with their types and ranges, and keeps the first
// mistake. A member that is null counts as not given. Numbers are checked before they are
// narrowed. Borrowed: the object must outlive it. One thread.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "server/api_error.h"

namespace ruvllm::server {

// The body of a request: strict JSON whose top is an object.
Api<Json> parse_body(std::string_view body);

class Fields {
 public:
  // `prefix`: of the names in messages, e.g. "stream_options.".
  explicit Fields(const Json& object, std::string prefix = "")
      : object_(object), prefix_(std::move(prefix)) {}

  // The member, or nullptr when it is absent or null.
  const Json* get(std::string_view name) const;
  bool has(std::string_view name) const { return get(name) != nullptr; }

  bool flag(std::string_view name, bool fallback);
  std::optional<int64_t> integer(std::string_view name, int64_t min, int64_t max);
  int64_t integer(std::string_view name, int64_t fallback, int64_t min, int64_t max) {
    return integer(name, min, max).value_or(fallback);
  }
  // [min, max], or (min, max] with `above_min`.
  double number(std::string_view name, double fallback, double min, double max,
                bool above_min = false);
  std::optional<std::string> text(std::string_view name, size_t min_bytes, size_t max_bytes);
  // A list of integers; absent: nullopt.
  std::optional<std::vector<int32_t>> ids(std::string_view name, int32_t min, int32_t max,
                                          size_t max_count);
  // A string or a list of strings, none of them empty.
  std::vector<std::string> texts(std::string_view name, size_t max_count, size_t max_bytes,
                                 bool single_allowed);

  // A field this server knows and cannot obey: anything but absent, null or `harmless` (JSON text).
  void refuse(std::string_view name, std::string_view why,
              std::initializer_list<std::string_view> harmless = {});

  void fail(std::string_view name, std::string message);
  bool ok() const { return !error_; }
  const std::optional<ApiError>& error() const { return error_; }

 private:
  const Json& object_;
  std::string prefix_;
  std::optional<ApiError> error_;
};

// A whole number: an integer, or a double without fraction of at most 2^53.
std::optional<int64_t> as_whole(const Json& value);

}  // namespace ruvllm::server
