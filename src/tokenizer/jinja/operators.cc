#include "tokenizer/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tokenizer/jinja/text.h"

namespace ruvllm::jinja {
namespace {

int sign_of(int64_t a, int64_t b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

// Exact comparison of an integer with a finite number: by the integer part, then the fraction.
int compare_integer_real(const Value& integer, double real) {
  const BigInt whole = BigInt::from_double(real);
  if (const int by_whole = BigInt::compare(to_big_int(integer), whole); by_whole != 0) {
    return by_whole;
  }
  const double fraction = real - std::trunc(real);
  return fraction > 0 ? -1 : fraction < 0 ? 1 : 0;
}

Result<bool> equal_sequences(Runtime& runtime, const std::vector<Value>& a,
                             const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  RUVLLM_TRY(runtime.charge(a.size()));
  for (size_t i = 0; i < a.size(); ++i) {
    RUVLLM_ASSIGN(const bool same, equals(runtime, a[i], b[i]));
    if (!same) return false;
  }
  return true;
}

Result<bool> equal_dicts(Runtime& runtime, const DictObject& a, const DictObject& b) {
  if (a.items.size() != b.items.size()) return false;
  RUVLLM_TRY(runtime.charge(a.items.size()));
  for (const DictObject::Item& item : a.items) {
    if (item.first.is_string()) RUVLLM_TRY(runtime.charge(item.first.text().size() / 8));
    const Value* other = b.find(item.first);
    if (other == nullptr) return false;
    RUVLLM_ASSIGN(const bool same, equals(runtime, item.second, *other));
    if (!same) return false;
  }
  return true;
}

}  // namespace

bool truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kNone:
    case Kind::kUndefined:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.real() != 0;
    default:
      break;
  }
  const auto length = length_of(value);
  return !length || *length != 0;
}

BigInt to_big_int(const Value& value) {
  return value.is(Kind::kBigInt) ? value.as<BigIntObject>().value : BigInt(value.integer());
}

double to_real(const Value& value) {
  if (value.is(Kind::kFloat)) return value.real();
  if (value.is(Kind::kBigInt)) return value.as<BigIntObject>().value.to_double();
  return static_cast<double>(value.integer());
}

Result<int64_t> to_index(const Value& value, const char* what) {
  if (value.is_small_integer()) return value.integer();
  if (value.is(Kind::kBigInt)) {
    return value.as<BigIntObject>().value.is_negative() ? std::numeric_limits<int64_t>::min()
                                                        : std::numeric_limits<int64_t>::max();
  }
  if (value.is_undefined()) return raise(undefined_message(value));
  return raise(concat(what, " must be an integer, not '", type_name(value), "'"));
}

std::optional<int> compare_numbers(const Value& a, const Value& b) {
  if (a.is_small_integer() && b.is_small_integer()) return sign_of(a.integer(), b.integer());
  if (a.is_integer() && b.is_integer()) return BigInt::compare(to_big_int(a), to_big_int(b));
  if (a.is(Kind::kFloat) && b.is(Kind::kFloat)) {
    if (std::isnan(a.real()) || std::isnan(b.real())) return std::nullopt;
    return a.real() < b.real() ? -1 : a.real() > b.real() ? 1 : 0;
  }
  const double real = a.is(Kind::kFloat) ? a.real() : b.real();
  if (std::isnan(real)) return std::nullopt;
  if (std::isinf(real)) return (real > 0) == a.is(Kind::kFloat) ? 1 : -1;
  return a.is(Kind::kFloat) ? -compare_integer_real(b, real) : compare_integer_real(a, real);
}

Result<bool> equals(Runtime& runtime, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    const auto order = compare_numbers(a, b);
    return order.has_value() && *order == 0;
  }
  if (a.kind() != b.kind()) return false;
  if (a.same_as(b)) return true;
  const ValueDepth depth(runtime);
  RUVLLM_TRY(depth.check());
  switch (a.kind()) {
    case Kind::kUndefined:
      return true;
    case Kind::kString:
      RUVLLM_TRY(runtime.charge_bytes(a.text().size() / 8));
      return a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple:
      return equal_sequences(runtime, a.items(), b.items());
    case Kind::kDict:
      return equal_dicts(runtime, a.as<DictObject>(), b.as<DictObject>());
    case Kind::kRange: {
      const auto& left = a.as<RangeObject>();
      const auto& right = b.as<RangeObject>();
      return left.length == right.length && (left.length == 0 || left.start == right.start) &&
             (left.length <= 1 || left.step == right.step);
    }
    case Kind::kDictView: {
      using Part = DictViewObject::Part;
      const Part part = a.as<DictViewObject>().part;
      if (part != b.as<DictViewObject>().part || part == Part::kValues) return false;
      const auto& left = a.as<DictViewObject>().dict.as<DictObject>();
      const auto& right = b.as<DictViewObject>().dict.as<DictObject>();
      if (part == Part::kItems) return equal_dicts(runtime, left, right);
      if (left.items.size() != right.items.size()) return false;
      for (const DictObject::Item& item : left.items) {
        if (right.find(item.first) == nullptr) return false;
      }
      return true;
    }
    default:
      return false;
  }
}

Result<int> order(Runtime& runtime, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b).value_or(2);
  if (a.is_string() && b.is_string()) {
    RUVLLM_TRY(runtime.charge_bytes(std::min(a.text().size(), b.text().size()) / 8));
    const int result = a.text().compare(b.text());
    return result < 0 ? -1 : result > 0 ? 1 : 0;
  }
  if (a.is_sequence() && a.kind() == b.kind()) {
    const ValueDepth depth(runtime);
    RUVLLM_TRY(depth.check());
    const std::vector<Value>& left = a.items();
    const std::vector<Value>& right = b.items();
    for (size_t i = 0; i < left.size() && i < right.size(); ++i) {
      RUVLLM_TRY(runtime.charge(1));
      RUVLLM_ASSIGN(const bool same, equals(runtime, left[i], right[i]));
      if (!same) return order(runtime, left[i], right[i]);
    }
    return left.size() < right.size() ? -1 : left.size() > right.size() ? 1 : 0;
  }
  if (a.is_undefined()) return raise(undefined_message(a));
  if (b.is_undefined()) return raise(undefined_message(b));
  return raise(concat("'<' not supported between instances of '", type_name(a), "' and '",
                      type_name(b), "'"));
}

Result<bool> compare(Runtime& runtime, CompareOp op, const Value& a, const Value& b) {
  switch (op) {
    case CompareOp::kEq:
      return equals(runtime, a, b);
    case CompareOp::kNe: {
      RUVLLM_ASSIGN(const bool same, equals(runtime, a, b));
      return !same;
    }
    case CompareOp::kIn:
      return contains(runtime, b, a);
    case CompareOp::kNotIn: {
      RUVLLM_ASSIGN(const bool found, contains(runtime, b, a));
      return !found;
    }
    default:
      break;
  }
  RUVLLM_ASSIGN(const int result, order(runtime, a, b));
  if (result == 2) return false;
  switch (op) {
    case CompareOp::kLt:
      return result < 0;
    case CompareOp::kLe:
      return result <= 0;
    case CompareOp::kGt:
      return result > 0;
    default:
      return result >= 0;
  }
}

Result<bool> contains(Runtime& runtime, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kString: {
      if (!item.is_string()) {
        if (item.is_undefined()) return raise(undefined_message(item));
        return raise(
            concat("'in <string>' requires string as left operand, not ", type_name(item)));
      }
      RUVLLM_ASSIGN(const size_t at, find_text(runtime, container.text(), item.text(), 0));
      return at != std::string_view::npos;
    }
    case Kind::kDict:
    case Kind::kDictView: {
      using Part = DictViewObject::Part;
      const bool view = container.is(Kind::kDictView);
      if (view && container.as<DictViewObject>().part != Part::kKeys) break;
      const auto& dict =
          view ? container.as<DictViewObject>().dict.as<DictObject>() : container.as<DictObject>();
      if (!is_hashable(item)) return raise(concat("unhashable type: '", type_name(item), "'"));
      RUVLLM_TRY(runtime.charge(1 + (item.is_string() ? item.text().size() / 32 : 0)));
      return dict.find(item) != nullptr;
    }
    default:
      break;
  }
  if (!is_iterable(container)) {
    return raise(concat("argument of type '", type_name(container), "' is not iterable"));
  }
  RUVLLM_ASSIGN(Cursor cursor, Cursor::open(container));
  Value element;
  while (true) {
    RUVLLM_ASSIGN(const bool more, cursor.next(runtime, element));
    if (!more) return false;
    RUVLLM_TRY(runtime.charge(1));
    RUVLLM_ASSIGN(const bool same, equals(runtime, element, item));
    if (same) return true;
  }
}

std::optional<uint64_t> length_of(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return value.as<StringObject>().num_chars;
    case Kind::kList:
    case Kind::kTuple:
      return value.items().size();
    case Kind::kDict:
      return value.as<DictObject>().items.size();
    case Kind::kDictView:
      return value.as<DictViewObject>().dict.as<DictObject>().items.size();
    case Kind::kRange:
      return static_cast<uint64_t>(value.as<RangeObject>().length);
    default:
      return std::nullopt;
  }
}

Result<uint64_t> require_length(const Value& value) {
  if (const auto length = length_of(value)) return *length;
  return raise(concat("object of type '", type_name(value), "' has no len()"));
}

}  // namespace ruvllm::jinja
