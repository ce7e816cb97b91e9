// json.dumps of text.h.
#include <algorithm>
#include <cmath>

#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/text.h"

namespace ruvllm::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, std::string& out, const JsonStyle& style)
      : runtime_(runtime), out_(out), style_(style) {}

  Status write(const Value& value) {
    RUVLLM_TRY(runtime_.charge(1));
    const ValueDepth depth(runtime_);
    RUVLLM_TRY(depth.check());
    switch (value.kind()) {
      case Kind::kNone:
        out_ += "null";
        return {};
      case Kind::kBool:
        out_ += value.boolean() ? "true" : "false";
        return {};
      case Kind::kFloat:
        write_real(value.real());
        return {};
      case Kind::kInt:
      case Kind::kBigInt:
        return append_repr(runtime_, out_, value);
      case Kind::kString:
        return write_string(value.text());
      case Kind::kList:
      case Kind::kTuple:
        return write_list(value.items());
      case Kind::kDict:
        return write_dict(value.as<DictObject>().items);
      default:
        return raise(concat("Object of type ", type_name(value), " is not JSON serializable"));
    }
  }

 private:
  void write_real(double value) {
    if (std::isnan(value)) {
      out_ += "NaN";
    } else if (std::isinf(value)) {
      out_ += value < 0 ? "-Infinity" : "Infinity";
    } else {
      append_real(out_, value);
    }
  }

  void write_unicode_escape(char32_t unit) {
    constexpr char kHex[] = "0123456789abcdef";
    out_ += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) out_ += kHex[unit >> shift & 15];
  }

  Status write_string(const std::string& text) {
    RUVLLM_TRY(runtime_.charge_walk(text));
    if (!runtime_.heap.fits(out_.size() + text.size())) return over_limit("the size of values");
    out_ += '"';
    for (size_t i = 0; i < text.size();) {
      const char32_t c = next_char(text, i);
      switch (c) {
        case '"':
          out_ += "\\\"";
          continue;
        case '\\':
          out_ += "\\\\";
          continue;
        case '\n':
          out_ += "\\n";
          continue;
        case '\r':
          out_ += "\\r";
          continue;
        case '\t':
          out_ += "\\t";
          continue;
        case '\b':
          out_ += "\\b";
          continue;
        case '\f':
          out_ += "\\f";
          continue;
        default:
          break;
      }
      if (c < 0x20 || (style_.ensure_ascii && c >= 0x80 && c < 0x10000)) {
        write_unicode_escape(c);
      } else if (style_.ensure_ascii && c >= 0x10000) {
        write_unicode_escape(0xd800 + ((c - 0x10000) >> 10));
        write_unicode_escape(0xdc00 + ((c - 0x10000) & 0x3ff));
      } else {
        append_char(out_, c);
      }
    }
    out_ += '"';
    return check();
  }

  Status check() {
    if (!runtime_.heap.fits(out_.size())) return over_limit("the size of values");
    return {};
  }

  Status new_line() {
    if (!style_.indent) return {};
    const uint64_t width = style_.indent->size() * static_cast<uint64_t>(level_);
    if (!runtime_.heap.fits(out_.size() + width + 1)) return over_limit("the size of values");
    RUVLLM_TRY(runtime_.charge_bytes(width));
    out_ += '\n';
    for (int i = 0; i < level_; ++i) out_ += *style_.indent;
    return {};
  }

  Status write_list(const std::vector<Value>& items) {
    if (items.empty()) {
      out_ += "[]";
      return {};
    }
    out_ += '[';
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      RUVLLM_TRY(new_line());
      RUVLLM_TRY(write(items[i]));
      RUVLLM_TRY(check());
    }
    --level_;
    RUVLLM_TRY(new_line());
    out_ += ']';
    return {};
  }

  Status write_key(const Value& key) {
    if (key.is_string()) return write_string(key.text());
    if (!key.is_number() && !key.is_none()) {
      return raise(concat("keys must be str, int, float, bool or None, not ", type_name(key)));
    }
    out_ += '"';
    RUVLLM_TRY(write(key));
    out_ += '"';
    return {};
  }

  Status write_dict(const std::vector<DictObject::Item>& items) {
    if (items.empty()) {
      out_ += "{}";
      return {};
    }
    std::vector<const DictObject::Item*> members;
    for (const DictObject::Item& item : items) members.push_back(&item);
    if (style_.sort_keys) {
      for (size_t i = 1; i < members.size(); ++i) {
        RUVLLM_TRY(order(runtime_, members[0]->first, members[i]->first));
      }
      RUVLLM_TRY(runtime_.charge(members.size()));
      std::sort(members.begin(), members.end(),
                [](const auto* a, const auto* b) { return order_keys(a->first, b->first) < 0; });
    }
    out_ += '{';
    ++level_;
    for (size_t i = 0; i < members.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      RUVLLM_TRY(new_line());
      RUVLLM_TRY(write_key(members[i]->first));
      out_ += style_.key_separator;
      RUVLLM_TRY(write(members[i]->second));
      RUVLLM_TRY(check());
    }
    --level_;
    RUVLLM_TRY(new_line());
    out_ += '}';
    return {};
  }

  Runtime& runtime_;
  std::string& out_;
  const JsonStyle& style_;
  int level_ = 0;
};

}  // namespace

Status append_json(Runtime& runtime, std::string& out, const Value& value, const JsonStyle& style) {
  return JsonWriter(runtime, out, style).write(value);
}

}  // namespace ruvllm::jinja
