#include "server/json_fields.h"

#include <algorithm>
#include <cmath>

#include "base/str.h"

namespace ruvllm::server {
namespace {

constexpr int kMaxDepth = 256;

}  // namespace

Api<Json> parse_body(std::string_view body) {
  Result<Json> parsed = Json::parse(body, kMaxDepth);
  if (!parsed) return bad_request("", concat("the body is ", parsed.error().message));
  if (!parsed->is_object()) {
    return bad_request("", concat("the body is ", parsed->type_name(), ", expected an object"));
  }
  return *std::move(parsed);
}

std::optional<int64_t> as_whole(const Json& value) {
  if (value.is_integer()) return value.as_int64();
  const std::optional<double> number = value.as_double();
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (!number || !(std::fabs(*number) <= kExact) || std::trunc(*number) != *number) {
    return std::nullopt;
  }
  return static_cast<int64_t>(*number);
}

const Json* Fields::get(std::string_view name) const {
  const Json* value = object_.find(name);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

void Fields::fail(std::string_view name, std::string message) {
  if (error_) return;
  const std::string full = concat(prefix_, name);
  error_ = ApiError{400, concat(full, " ", message), full, "", 0};
}

bool Fields::flag(std::string_view name, bool fallback) {
  const Json* value = get(name);
  if (value == nullptr) return fallback;
  if (!value->is_bool()) fail(name, concat("is ", value->type_name(), ", expected true or false"));
  return value->as_bool().value_or(fallback);
}

std::optional<int64_t> Fields::integer(std::string_view name, int64_t min, int64_t max) {
  const Json* value = get(name);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> number = as_whole(*value);
  if (!number || *number < min || *number > max) {
    const std::string range = max == INT64_MAX ? (min == INT64_MIN ? std::string("of 64 bits")
                                                                   : concat("of at least ", min))
                                               : concat("from ", min, " to ", max);
    fail(name, concat("must be a whole number ", range,
                      value->is_number() ? "" : concat(", found ", value->type_name())));
    return std::nullopt;
  }
  return number;
}

double Fields::number(std::string_view name, double fallback, double min, double max,
                      bool above_min) {
  const Json* value = get(name);
  if (value == nullptr) return fallback;
  const std::optional<double> number = value->as_double();
  const bool is_in_range = number && std::isfinite(*number) && *number <= max &&
                           (above_min ? *number > min : *number >= min);
  if (is_in_range) return *number;
  fail(name, concat("must be a number ", above_min ? "above " : "of at least ", min,
                    max < 1e30 ? concat(" and at most ", max) : "",
                    value->is_number() ? "" : concat(", found ", value->type_name())));
  return fallback;
}

std::optional<std::string> Fields::text(std::string_view name, size_t min_bytes, size_t max_bytes) {
  const Json* value = get(name);
  if (value == nullptr) return std::nullopt;
  const std::string* text = value->as_string();
  if (text == nullptr) {
    fail(name, concat("is ", value->type_name(), ", expected a string"));
  } else if (text->size() < min_bytes || text->size() > max_bytes) {
    fail(name, concat("has ", text->size(), " bytes, expected ", min_bytes, " to ", max_bytes));
  } else {
    return *text;
  }
  return std::nullopt;
}

std::optional<std::vector<int32_t>> Fields::ids(std::string_view name, int32_t min, int32_t max,
                                                size_t max_count) {
  const Json* value = get(name);
  if (value == nullptr) return std::nullopt;
  const Json::Array* array = value->as_array();
  if (array == nullptr) {
    fail(name, concat("is ", value->type_name(), ", expected a list of integers"));
    return std::nullopt;
  }
  if (array->size() > max_count) {
    fail(name, concat("has ", array->size(), " entries, expected at most ", max_count));
    return std::nullopt;
  }
  std::vector<int32_t> out;
  out.reserve(array->size());
  for (const Json& element : *array) {
    const std::optional<int64_t> id = as_whole(element);
    if (!id || *id < min || *id > max) {
      fail(name, concat("must hold integers from ", min, " to ", max));
      return std::nullopt;
    }
    out.push_back(static_cast<int32_t>(*id));
  }
  return out;
}

std::vector<std::string> Fields::texts(std::string_view name, size_t max_count, size_t max_bytes,
                                       bool single_allowed) {
  const Json* value = get(name);
  std::vector<std::string> out;
  if (value == nullptr) return out;
  const auto add = [&](const Json& element) {
    const std::string* text = element.as_string();
    if (text == nullptr || text->empty() || text->size() > max_bytes) {
      fail(name, concat("must hold strings of 1 to ", max_bytes, " bytes"));
    } else {
      out.push_back(*text);
    }
  };
  if (const Json::Array* array = value->as_array()) {
    if (array->size() > max_count) {
      fail(name, concat("has ", array->size(), " entries, expected at most ", max_count));
      return out;
    }
    std::for_each(array->begin(), array->end(), add);
  } else if (single_allowed) {
    add(*value);
  } else {
    fail(name, concat("is ", value->type_name(), ", expected a list of strings"));
  }
  return out;
}

void Fields::refuse(std::string_view name, std::string_view why,
                    std::initializer_list<std::string_view> harmless) {
  const Json* value = get(name);
  if (value == nullptr) return;
  const bool is_small = !value->is_array() || value->as_array()->empty();
  if (is_small && !harmless.size()) return fail(name, std::string(why));
  const std::string text = is_small ? value->dump() : std::string();
  if (std::find(harmless.begin(), harmless.end(), text) == harmless.end()) {
    fail(name, std::string(why));
  }
}

}  // namespace ruvllm::server
