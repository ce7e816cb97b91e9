#include "formats/json_fields.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace ruvllm {
namespace {

std::string found(const Json* value) {
  if (value == nullptr) return "nothing";
  if (value->is_array()) return "an array";
  if (value->is_object()) return "an object";
  return printable(value->dump(), 48);
}

}  // namespace

JsonFields::JsonFields(const Json& object, std::string where)
    : object_(object), where_(std::move(where)) {
  if (!object.is_object()) {
    status_ = fail(ErrorCode::kBadFile,
                   concat(where_, ": found ", object.type_name(), ", expected an object"));
  }
}

const Json* JsonFields::get(std::string_view key) const {
  const Json* value = object_.find(key);
  if (value != nullptr && std::ranges::find(asked_, value) == asked_.end()) {
    asked_.push_back(value);
  }
  return value;
}

const Json* JsonFields::find(std::string_view key) const {
  const Json* value = get(key);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

const Json* JsonFields::not_asked_for(std::string_view key) const {
  const Json* value = object_.find(key);
  const bool asked = std::ranges::find(asked_, value) != asked_.end();
  return value != nullptr && !value->is_null() && !asked ? value : nullptr;
}

bool JsonFields::is_null(std::string_view key) const {
  const Json* value = get(key);
  return value != nullptr && value->is_null();
}

void JsonFields::complain(ErrorCode code, std::string_view key, const std::string& message) {
  if (!status_) return;
  status_ = fail(code, concat(where_, ": ", key, ": ", message));
}

void JsonFields::mismatch(std::string_view key, const Json* value, const std::string& expected) {
  bad(key, "found ", found(value), ", expected ", expected);
}

void JsonFields::adopt(const Status& other) {
  if (status_ && !other) status_ = other;
}

int64_t JsonFields::integer(std::string_view key, int64_t min, int64_t max) {
  const Json* value = get(key);
  const auto number = value != nullptr ? value->as_int64() : std::nullopt;
  if (number && *number >= min && *number <= max) return *number;
  mismatch(key, value, concat("an integer from ", min, " to ", max));
  return min;
}

int64_t JsonFields::integer_or(std::string_view key, int64_t fallback, int64_t min, int64_t max) {
  return has(key) ? integer(key, min, max) : fallback;
}

double JsonFields::number(std::string_view key, double min, double max) {
  const Json* value = get(key);
  const auto number = value != nullptr ? value->as_double() : std::nullopt;
  if (number && *number >= min && *number <= max) return *number;  // false for NaN
  mismatch(key, value, concat("a number from ", min, " to ", max));
  return min;
}

double JsonFields::number_or(std::string_view key, double fallback, double min, double max) {
  return has(key) ? number(key, min, max) : fallback;
}

bool JsonFields::flag_or(std::string_view key, bool fallback) {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (const auto flag = value->as_bool()) return *flag;
  mismatch(key, value, "true or false");
  return fallback;
}

std::string JsonFields::text_or(std::string_view key, std::string_view fallback) {
  const Json* value = find(key);
  if (value == nullptr) return std::string(fallback);
  if (const std::string* text = value->as_string()) return *text;
  mismatch(key, value, "a string");
  return std::string(fallback);
}

std::vector<float> JsonFields::positive_floats(std::string_view key, size_t count, double max) {
  const Json* value = get(key);
  const Json::Array* array = value != nullptr ? value->as_array() : nullptr;
  if (array == nullptr) {
    mismatch(key, value, concat("an array of ", count, " numbers"));
    return {};
  }
  if (array->size() != count) {
    bad(key, "found ", array->size(), " numbers, expected ", count);
    return {};
  }
  std::vector<float> out;
  out.reserve(count);
  for (const Json& item : *array) {
    const auto number = item.as_double();
    const float narrow = number ? static_cast<float>(*number) : 0.0f;
    if (!(narrow > 0.0f) || !(*number <= max)) {
      mismatch(key, &item, concat("numbers above 0 and up to ", max));
      return {};
    }
    out.push_back(narrow);
  }
  return out;
}

}  // namespace ruvllm
