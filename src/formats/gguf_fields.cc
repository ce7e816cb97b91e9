#include "formats/gguf_fields.h"

#include <algorithm>

namespace ruvllm {

const GgufValue* GgufFields::find(std::string_view key) const {
  const GgufValue* value = file_.find(concat(prefix_, key));
  if (value != nullptr && std::ranges::find(asked_, value) == asked_.end()) {
    asked_.push_back(value);
  }
  return value;
}

const GgufValue* GgufFields::not_asked_for(std::string_view key) const {
  const GgufValue* value = file_.find(concat(prefix_, key));
  return std::ranges::find(asked_, value) == asked_.end() ? value : nullptr;
}

void GgufFields::complain(ErrorCode code, std::string_view key, const std::string& message) {
  if (!status_) return;
  status_ = fail(code, concat(file_.path, ": ", prefix_, key, ": ", message));
}

void GgufFields::mismatch(std::string_view key, const std::string& expected) {
  const GgufValue* value = find(key);
  bad(key, "found ", value != nullptr ? value->describe() : std::string("nothing"), ", expected ",
      expected);
}

int64_t GgufFields::integer(std::string_view key, int64_t min, int64_t max) {
  const GgufValue* value = find(key);
  const auto number = value != nullptr ? value->as_int64() : std::nullopt;
  if (number && *number >= min && *number <= max) return *number;
  mismatch(key, concat("an integer from ", min, " to ", max));
  return min;
}

int64_t GgufFields::integer_or(std::string_view key, int64_t fallback, int64_t min, int64_t max) {
  return has(key) ? integer(key, min, max) : fallback;
}

int64_t GgufFields::layer_integer(std::string_view key, size_t layers, int64_t min, int64_t max) {
  const GgufValue* value = find(key);
  if (value == nullptr || !value->is_array()) return integer(key, min, max);
  std::vector<int64_t> items;
  if (!value->get_integers(items) || items.size() != layers || items.empty()) {
    mismatch(key, concat("an integer, or one for each of ", layers, " layers"));
    return min;
  }
  for (const int64_t item : items) {
    if (item != items[0]) {
      unsupported(key, "found ", items[0], " and ", item, ": layers of different sizes");
      return min;
    }
  }
  if (items[0] >= min && items[0] <= max) return items[0];
  bad(key, "found ", items[0], ", expected an integer from ", min, " to ", max);
  return min;
}

double GgufFields::number(std::string_view key, double min, double max) {
  const GgufValue* value = find(key);
  const auto number = value != nullptr ? value->as_double() : std::nullopt;
  if (number && *number >= min && *number <= max) return *number;  // false for NaN
  mismatch(key, concat("a number from ", min, " to ", max));
  return min;
}

double GgufFields::number_or(std::string_view key, double fallback, double min, double max) {
  return has(key) ? number(key, min, max) : fallback;
}

bool GgufFields::flag_or(std::string_view key, bool fallback) {
  const GgufValue* value = find(key);
  if (value == nullptr) return fallback;
  if (const auto flag = value->as_bool()) return *flag;
  mismatch(key, "true or false");
  return fallback;
}

std::string_view GgufFields::text_or(std::string_view key, std::string_view fallback) {
  const GgufValue* value = find(key);
  if (value == nullptr) return fallback;
  if (const auto text = value->as_string()) return *text;
  mismatch(key, "a string");
  return fallback;
}

}  // namespace ruvllm
