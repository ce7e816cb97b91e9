// Filters that make a number or pick a value.
#include <algorithm>
#include <cmath>

#include "tokenizer/jinja/filters.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/text.h"

namespace ruvllm::jinja {
namespace {

Result<Value> absolute(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("abs", args));
  if (self.is(Kind::kFloat)) return Value(std::fabs(self.real()));
  if (self.is_integer()) {
    const bool negative =
        self.is_small_integer() ? self.integer() < 0 : to_big_int(self).is_negative();
    return negative ? negate(runtime, self) : plus(runtime, self);
  }
  return raise(concat("bad operand type for abs(): '", type_name(self), "'"));
}

Result<Value> attribute(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("attr", args, {"name"}, 1));
  if (!given[0].is_string()) return raise("attribute name must be string");
  if (self.is_undefined()) return raise(undefined_message(self));
  RUVLLM_ASSIGN(const Value found, find_attribute(runtime, self, given[0].text()));
  if (!found.is_missing()) return found;
  return runtime.heap.undefined_attribute(object_name(self), given[0].text());
}

Result<Value> otherwise(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("default", args, {"default_value", "boolean"}));
  if (!self.is_undefined() && (!truth(given[1]) || truth(self))) return self;
  return given.has(0) ? given[0] : runtime.heap.string("");
}

Result<Value> length(Runtime&, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("length", args));
  RUVLLM_ASSIGN(const uint64_t count, require_length(self));
  return Value(static_cast<int64_t>(count));
}

Result<Value> from_real(Runtime& runtime, double value) {
  return runtime.heap.integer(BigInt::from_double(value));
}

Result<Value> to_integer(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("int", args, {"default", "base"}));
  const Value fallback = given.has(0) ? given[0] : Value(int64_t{0});
  int64_t base = 10;
  if (given.has(1)) {
    if (!given[1].is_integer())
      base = -1;  // int() raises TypeError, which the filter catches
    else {
      RUVLLM_ASSIGN(base, to_index(given[1], "the base"));
    }
  }
  if (self.is_integer()) return self.is(Kind::kBool) ? Value(self.integer()) : self;
  if (self.is_undefined()) return raise(undefined_message(self));
  if (self.is(Kind::kFloat)) {
    if (std::isfinite(self.real())) return from_real(runtime, self.real());
    // int(nan) is a ValueError, which gives the default; int(inf) an OverflowError, which does not.
    if (std::isnan(self.real())) return fallback;
    return raise("cannot convert float infinity to integer");
  }
  if (!self.is_string()) return fallback;
  RUVLLM_TRY(runtime.charge_bytes(self.text().size()));
  if (auto number = parse_integer(self.text(), base)) {
    return runtime.heap.integer(*std::move(number));
  }
  const auto real = parse_real(self.text());
  if (!real || !std::isfinite(*real)) return fallback;
  return from_real(runtime, *real);
}

Result<Value> to_float(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("float", args, {"default"}));
  const Value fallback = given.has(0) ? given[0] : Value(0.0);
  if (self.is_number()) {
    const double real = to_real(self);
    if (self.is_integer() && std::isinf(real)) return raise("int too large to convert to float");
    return Value(real);
  }
  if (self.is_undefined()) return raise(undefined_message(self));
  if (!self.is_string()) return fallback;
  RUVLLM_TRY(runtime.charge_bytes(self.text().size()));
  const auto real = parse_real(self.text());
  return real ? Value(*real) : fallback;
}

// Python's round(value, digits): the nearest decimal of that many digits, ties to even in the exact
// value; for reals through the digits that printing with that precision gives.
Result<Value> round_real(double value, int64_t digits) {
  if (!std::isfinite(value)) return Value(value);
  constexpr int64_t kMaxDigits = 323;
  if (digits > kMaxDigits) return Value(value);
  if (digits < -308) return Value(std::copysign(0.0, value));
  if (digits >= 0) {
    std::string text;
    append_real_digits(text, std::fabs(value), 'f', static_cast<int>(digits), false);
    return Value(std::copysign(std::strtod(text.c_str(), nullptr), value));
  }
  // Left of the point: as many significant digits as remain there.
  std::string text;
  append_real_digits(text, std::fabs(value), 'f', 1, false);
  const auto whole = static_cast<int64_t>(text.find('.'));
  const int64_t keep = whole + digits;
  if (keep < 0) return Value(std::copysign(0.0, value));
  const double unit = std::pow(10.0, static_cast<double>(-digits));
  if (keep == 0) return Value(std::copysign(std::fabs(value) > unit / 2 ? unit : 0.0, value));
  std::string rounded;
  append_real_digits(rounded, std::fabs(value), 'e', static_cast<int>(keep) - 1, false);
  return Value(std::copysign(std::strtod(rounded.c_str(), nullptr), value));
}

// Integers: to a multiple of 10^-digits, ties to the even multiple.
Result<Value> round_integer(Runtime& runtime, const Value& value, int64_t digits) {
  if (digits >= 0) return plus(runtime, value);
  const auto unit =
      digits < -4000 ? std::nullopt : BigInt::power(BigInt(10), static_cast<uint64_t>(-digits));
  if (!unit) return Value(int64_t{0});
  BigInt quotient;
  BigInt remainder;
  BigInt::divide(to_big_int(value), *unit, quotient, remainder);
  const int half = BigInt::compare(remainder + remainder, *unit);
  BigInt half_of_quotient;
  BigInt parity;
  BigInt::divide(quotient, BigInt(2), half_of_quotient, parity);
  if (half > 0 || (half == 0 && !parity.is_zero())) quotient = quotient + BigInt(1);
  return runtime.heap.integer(quotient * *unit);
}

Result<Value> round_filter(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("round", args, {"precision", "method"}));
  std::string method = "common";
  if (given.has(1)) method = given[1].is_string() ? given[1].text() : "";
  if (method != "common" && method != "ceil" && method != "floor") {
    return raise("method must be common, ceil or floor");
  }
  if (!self.is_number()) {
    if (self.is_undefined()) return raise(undefined_message(self));
    return raise(concat("type ", type_name(self), " doesn't define __round__ method"));
  }
  const Value precision = given.has(0) ? given[0] : Value(int64_t{0});
  if (method == "common") {
    if (precision.is_none()) {
      if (self.is_integer()) return plus(runtime, self);
      if (!std::isfinite(self.real()))
        return raise("cannot convert float infinity or NaN to integer");
      RUVLLM_ASSIGN(const Value whole, round_real(self.real(), 0));
      return from_real(runtime, whole.real());
    }
    RUVLLM_ASSIGN(const int64_t digits, to_index(precision, "the precision"));
    return self.is_integer() ? round_integer(runtime, self, digits)
                             : round_real(self.real(), digits);
  }
  // func(value * 10 ** precision) / 10 ** precision, step by step as Python evaluates it.
  RUVLLM_ASSIGN(const Value scale, binary(runtime, BinaryOp::kPow, Value(int64_t{10}), precision));
  RUVLLM_ASSIGN(const Value scaled, binary(runtime, BinaryOp::kMul, self, scale));
  Value whole = scaled;
  if (scaled.is(Kind::kFloat)) {
    if (!std::isfinite(scaled.real()))
      return raise("cannot convert float infinity or NaN to integer");
    RUVLLM_ASSIGN(whole, from_real(runtime, method == "ceil" ? std::ceil(scaled.real())
                                                             : std::floor(scaled.real())));
  }
  return binary(runtime, BinaryOp::kDiv, whole, scale);
}

Result<Value> file_size(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_ASSIGN(const auto given, bind("filesizeformat", args, {"binary"}));
  const bool is_binary = truth(given[0]);
  double bytes = 0;
  if (self.is_number()) {
    bytes = to_real(self);
  } else if (self.is_string() && parse_real(self.text())) {
    bytes = *parse_real(self.text());
  } else {
    return raise(concat("could not convert ", type_name(self), " to float"));
  }
  const double base = is_binary ? 1024 : 1000;
  constexpr const char* kUnits[] = {"k", "M", "G", "T", "P", "E", "Z", "Y"};
  std::string out;
  if (bytes == 1) {
    out = "1 Byte";
  } else if (bytes < base) {
    if (!std::isfinite(bytes)) return raise("cannot convert float infinity to integer");
    RUVLLM_ASSIGN(const Value whole, from_real(runtime, bytes));
    RUVLLM_TRY(append_str(runtime, out, whole));
    out += " Bytes";
  } else {
    if (!std::isfinite(bytes)) return raise("cannot format a size that is not finite");
    double unit = base;
    size_t which = 0;
    do {
      unit *= base;
    } while (bytes >= unit && ++which < 7);
    if (which == 7 && bytes >= unit) unit *= 1;  // the largest prefix takes all that is larger
    const double unit_of = std::pow(base, static_cast<double>(which) + 2);
    append_real_digits(out, base * bytes / unit_of, 'f', 1, false);
    out += concat(" ", is_binary && which == 0 ? "K" : kUnits[which], is_binary ? "iB" : "B");
  }
  return runtime.make_string(std::move(out));
}

// pprint of what fits one line: repr with the keys of dicts sorted.
Status append_pretty(Runtime& runtime, std::string& out, const Value& value) {
  const ValueDepth depth(runtime);
  RUVLLM_TRY(depth.check());
  RUVLLM_TRY(runtime.charge(1));
  if (value.is(Kind::kDict)) {
    std::vector<DictObject::Item> items = value.as<DictObject>().items;
    std::sort(items.begin(), items.end(),
              [](const auto& a, const auto& b) { return order_keys(a.first, b.first) < 0; });
    out += '{';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += ", ";
      RUVLLM_TRY(append_pretty(runtime, out, items[i].first));
      out += ": ";
      RUVLLM_TRY(append_pretty(runtime, out, items[i].second));
    }
    out += '}';
    return {};
  }
  if (value.is_sequence()) {
    const bool tuple = value.is(Kind::kTuple);
    out += tuple ? '(' : '[';
    for (size_t i = 0; i < value.items().size(); ++i) {
      if (i > 0) out += ", ";
      RUVLLM_TRY(append_pretty(runtime, out, value.items()[i]));
      if (out.size() > 1000) break;  // refused below anyway
    }
    out += !tuple ? "]" : value.items().size() == 1 ? ",)" : ")";
    return {};
  }
  return append_repr(runtime, out, value);
}

Result<Value> pretty(Runtime& runtime, const Value& self, const Args& args) {
  RUVLLM_TRY(bind_nothing("pprint", args));
  std::string out;
  RUVLLM_TRY(append_pretty(runtime, out, self));
  if (count_chars(out) > 80) return unsupported("pprint of a value that needs several lines");
  return runtime.make_string(std::move(out));
}

Result<Value> refuse_random(Runtime&, const Value&, const Args&) {
  return unsupported("the filter 'random' is not available: a prompt must not depend on chance");
}

constexpr Builtin kFilters[] = {
    {"abs", absolute},   {"attr", attribute},       {"count", length},
    {"d", otherwise},    {"default", otherwise},    {"filesizeformat", file_size},
    {"float", to_float}, {"int", to_integer},       {"length", length},
    {"pprint", pretty},  {"random", refuse_random}, {"round", round_filter},
};

}  // namespace

std::span<const Builtin> scalar_filters() {
  return kFilters;
}

}  // namespace ruvllm::jinja
