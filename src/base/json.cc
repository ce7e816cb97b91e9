#include "base/json.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "base/str.h"

namespace ruvllm {
namespace {

// Builds a Json from nlohmann's event stream. `stack_` holds the open containers; a value goes into
// the innermost one. Returning false stops the parser.
class Builder {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  explicit Builder(int max_depth) : max_depth_(max_depth) {}

  bool null() { return put(Json()); }
  bool boolean(bool value) { return put(Json(value)); }
  bool number_integer(number_integer_t value) { return put(Json(static_cast<int64_t>(value))); }
  bool number_unsigned(number_unsigned_t value) {
    if (value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return put(Json(static_cast<int64_t>(value)));
    }
    return put(Json(static_cast<uint64_t>(value)));
  }
  bool number_float(number_float_t value, const string_t&) { return put(Json(value)); }
  bool string(string_t& value) { return put(Json(std::move(value))); }
  bool binary(binary_t&) { return stop("binary value"); }

  bool start_object(size_t) { return open(Json(Json::Object())); }
  bool start_array(size_t) { return open(Json(Json::Array())); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(string_t& name) {
    Frame& frame = stack_.back();
    if (!frame.add_key(name)) return stop(concat("duplicate key \"", printable(name), "\""));
    pending_key_ = std::move(name);
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
    return stop(concat("not valid JSON at byte ", position));
  }

  Json take() { return std::move(root_); }
  const std::string& error() const { return error_; }

 private:
  // An open container. Keys are kept sorted only for objects of more than a few members.
  struct Frame {
    Json value;
    std::string key;                // under which it will stand in its parent
    std::vector<std::string> seen;  // small objects: linear
    std::unique_ptr<std::set<std::string, std::less<>>> index;

    bool add_key(const std::string& name) {
      if (index != nullptr) return index->insert(name).second;
      for (const std::string& other : seen) {
        if (other == name) return false;
      }
      seen.push_back(name);
      if (seen.size() > 16) {
        index = std::make_unique<std::set<std::string, std::less<>>>(seen.begin(), seen.end());
        seen.clear();
      }
      return true;
    }
  };

  bool stop(std::string message) {
    if (error_.empty()) error_ = std::move(message);
    return false;
  }

  bool put(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return true;
    }
    Json& parent = stack_.back().value;
    if (Json::Array* array = parent.as_array()) {
      array->push_back(std::move(value));
    } else {
      parent.as_object()->push_back({std::move(pending_key_), std::move(value)});
    }
    return true;
  }

  bool open(Json container) {
    if (static_cast<int>(stack_.size()) >= max_depth_) {
      return stop(concat("nesting deeper than ", max_depth_));
    }
    Frame frame;
    frame.value = std::move(container);
    frame.key = std::move(pending_key_);
    stack_.push_back(std::move(frame));
    return true;
  }

  bool close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    pending_key_ = std::move(frame.key);
    return put(std::move(frame.value));
  }

  int max_depth_;
  Json root_;
  std::vector<Frame> stack_;
  std::string pending_key_;
  std::string error_;
};

void append_number(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += "null";  // JSON has no infinities
    return;
  }
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  out += text;
  if (text.find_first_of(".en") == std::string_view::npos) out += ".0";
}

// The length of the well-formed UTF-8 sequence at text[0], or 0.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  const size_t length = lead < 0x80                   ? 1
                        : lead >= 0xc2 && lead < 0xe0 ? 2
                        : lead >= 0xe0 && lead < 0xf0 ? 3
                        : lead >= 0xf0 && lead < 0xf5 ? 4
                                                      : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (lead == 0xe0 && byte(1) < 0xa0) return 0;
  if (lead == 0xed && byte(1) >= 0xa0) return 0;
  if (lead == 0xf0 && byte(1) < 0x90) return 0;
  if (lead == 0xf4 && byte(1) >= 0x90) return 0;
  return length;
}

void append_value(std::string& out, const Json& value) {
  if (const auto b = value.as_bool()) {
    out += *b ? "true" : "false";
  } else if (const auto i = value.as_int64()) {
    str_detail::append(out, *i);
  } else if (const auto u = value.as_uint64()) {
    str_detail::append(out, *u);
  } else if (const auto d = value.as_double()) {
    append_number(out, *d);
  } else if (const std::string* s = value.as_string()) {
    append_json_string(out, *s);
  } else if (const Json::Array* array = value.as_array()) {
    out += '[';
    for (size_t n = 0; n < array->size(); ++n) {
      if (n > 0) out += ',';
      append_value(out, (*array)[n]);
    }
    out += ']';
  } else if (const Json::Object* object = value.as_object()) {
    out += '{';
    for (size_t n = 0; n < object->size(); ++n) {
      if (n > 0) out += ',';
      append_json_string(out, (*object)[n].key);
      out += ':';
      append_value(out, (*object)[n].value);
    }
    out += '}';
  } else {
    out += "null";
  }
}

}  // namespace

Result<Json> Json::parse(std::string_view text, int max_depth) {
  if (text.starts_with("\xef\xbb\xbf")) {
    return fail(ErrorCode::kBadFile, "not valid JSON: begins with a byte order mark");
  }
  Builder builder(max_depth);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
    return fail(ErrorCode::kBadFile,
                builder.error().empty() ? std::string("not valid JSON") : builder.error());
  }
  return builder.take();
}

const char* Json::type_name() const {
  static constexpr const char* kNames[] = {"null",   "bool",   "integer", "integer",
                                           "number", "string", "array",   "object"};
  return kNames[value_.index()];
}

std::optional<bool> Json::as_bool() const {
  const bool* value = std::get_if<bool>(&value_);
  return value != nullptr ? std::optional<bool>(*value) : std::nullopt;
}

std::optional<int64_t> Json::as_int64() const {
  const int64_t* value = std::get_if<int64_t>(&value_);
  return value != nullptr ? std::optional<int64_t>(*value) : std::nullopt;
}

std::optional<uint64_t> Json::as_uint64() const {
  if (const uint64_t* value = std::get_if<uint64_t>(&value_)) return *value;
  const int64_t* value = std::get_if<int64_t>(&value_);
  if (value == nullptr || *value < 0) return std::nullopt;
  return static_cast<uint64_t>(*value);
}

std::optional<double> Json::as_double() const {
  if (const double* value = std::get_if<double>(&value_)) return *value;
  if (const int64_t* value = std::get_if<int64_t>(&value_)) return static_cast<double>(*value);
  if (const uint64_t* value = std::get_if<uint64_t>(&value_)) return static_cast<double>(*value);
  return std::nullopt;
}

const Json* Json::find(std::string_view key) const {
  const Object* object = as_object();
  if (object == nullptr) return nullptr;
  for (const JsonMember& member : *object) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

std::string Json::dump() const {
  std::string out;
  append_value(out, *this);
  return out;
}

void append_json_string(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const size_t length = utf8_length(text.substr(i));
    if (length == 0) {
      out += "\xef\xbf\xbd";
      ++i;
      continue;
    }
    if (byte == '"' || byte == '\\') {
      out += '\\';
      out += text[i];
    } else if (byte == '\n') {
      out += "\\n";
    } else if (byte == '\r') {
      out += "\\r";
    } else if (byte == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += text.substr(i, length);
    }
    i += length;
  }
  out += '"';
}

}  // namespace ruvllm
