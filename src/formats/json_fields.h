// Typed, range-checked reading of a JSON object's fields, for config files.
//
// Every getter returns a usable value whatever the file holds; what was wrong is kept, the first
// complaint wins, and the reader asks status() once at the end. So a function that fills a config
// reads as a list of fields. A field that is absent or null takes the fallback; there is none for
// the getters without `_or`. Views of the Json, which must outlive it. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/str.h"
#include "ruvllm/result.h"

namespace ruvllm {

class JsonFields {
 public:
  // `object` may be of any type: one that is not an object is the first complaint.
  // `where` begins every message, e.g. "model/config.json" or "model/config.json: rope_scaling".
  JsonFields(const Json& object, std::string where);

  // The field, or nullptr when it is absent or null.
  const Json* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  // The field, when it is there (not null) and no getter of this object was called for it.
  const Json* not_asked_for(std::string_view key) const;
  // Present, with the value null.
  bool is_null(std::string_view key) const;

  int64_t integer(std::string_view key, int64_t min, int64_t max);
  int64_t integer_or(std::string_view key, int64_t fallback, int64_t min, int64_t max);
  double number(std::string_view key, double min, double max);
  double number_or(std::string_view key, double fallback, double min, double max);
  bool flag_or(std::string_view key, bool fallback);
  std::string text_or(std::string_view key, std::string_view fallback);
  // Numbers within (0, max], exactly `count` of them.
  std::vector<float> positive_floats(std::string_view key, size_t count, double max);

  // Keeps `message` (after where and key) unless there already is one.
  template <typename... Parts>
  void bad(std::string_view key, const Parts&... parts) {
    complain(ErrorCode::kBadFile, key, concat(parts...));
  }
  template <typename... Parts>
  void unsupported(std::string_view key, const Parts&... parts) {
    complain(ErrorCode::kUnsupported, key, concat(parts...));
  }
  void adopt(const Status& other);

  bool ok() const { return status_.has_value(); }
  const Status& status() const { return status_; }
  const std::string& where() const { return where_; }

 private:
  void complain(ErrorCode code, std::string_view key, const std::string& message);
  // "found \"64\", expected ..."; a missing value is "found nothing".
  void mismatch(std::string_view key, const Json* value, const std::string& expected);

  // The field, null or not; remembers that it was asked for.
  const Json* get(std::string_view key) const;

  const Json& object_;
  std::string where_;
  mutable std::vector<const Json*> asked_;  // members of object_
  Status status_;
};

}  // namespace ruvllm
