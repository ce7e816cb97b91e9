#include "tokenizer/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tokenizer/jinja/text.h"

namespace ruvllm::jinja {
namespace {

std::unexpected<Error> bad_operands(const char* symbol, const Value& a, const Value& b) {
  return raise(concat("unsupported operand type(s) for ", symbol, ": '", type_name(a), "' and '",
                      type_name(b), "'"));
}

const char* symbol_of(BinaryOp op) {
  switch (op) {
    case BinaryOp::kAdd:
      return "+";
    case BinaryOp::kSub:
      return "-";
    case BinaryOp::kMul:
      return "*";
    case BinaryOp::kDiv:
      return "/";
    case BinaryOp::kFloorDiv:
      return "//";
    case BinaryOp::kMod:
      return "%";
    case BinaryOp::kPow:
      return "**";
  }
  return "?";
}

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

Result<Value> integer_result(Runtime& runtime, BigInt value) {
  if (value.too_long()) return over_limit("the size of integers");
  RUVLLM_TRY(runtime.charge(value.num_bits() / 64));
  return runtime.heap.integer(std::move(value));
}

Result<Value> power_of_integers(Runtime& runtime, const Value& a, const Value& b) {
  const BigInt exponent = to_big_int(b);
  if (exponent.is_negative()) {
    const double base = to_real(a);
    if (base == 0) return raise("0.0 cannot be raised to a negative power");
    return Value(std::pow(base, to_real(b)));
  }
  const BigInt base = to_big_int(a);
  const auto small = exponent.to_int64();
  if (!small) {
    if (base.num_bits() > 1) return over_limit("the size of integers");
    if (base.is_zero()) return Value(int64_t{0});
    return over_limit("the size of exponents");
  }
  RUVLLM_TRY(runtime.charge(1000));
  const auto result = BigInt::power(base, static_cast<uint64_t>(*small));
  if (!result) return over_limit("the size of integers");
  return integer_result(runtime, *result);
}

Result<Value> divide_integers(Runtime& runtime, BinaryOp op, const Value& a, const Value& b) {
  if (a.is_small_integer() && b.is_small_integer() && b.integer() != -1) {
    const int64_t left = a.integer();
    const int64_t right = b.integer();
    int64_t quotient = left / right;
    int64_t remainder = left % right;
    if (remainder != 0 && (remainder < 0) != (right < 0)) {
      --quotient;
      remainder += right;
    }
    return Value(op == BinaryOp::kFloorDiv ? quotient : remainder);
  }
  BigInt quotient;
  BigInt remainder;
  RUVLLM_TRY(runtime.charge(100));
  BigInt::divide(to_big_int(a), to_big_int(b), quotient, remainder);
  return integer_result(runtime, op == BinaryOp::kFloorDiv ? quotient : remainder);
}

// True division of integers, rounded once: exact when both fit a double, else by scaling so that
// the integer quotient has at least 64 bits, the lowest of them standing for what is cut off.
Result<Value> true_divide(const Value& a, const Value& b) {
  constexpr int64_t kExact = int64_t{1} << 53;
  if (a.is_small_integer() && b.is_small_integer() && a.integer() <= kExact &&
      a.integer() >= -kExact && b.integer() <= kExact && b.integer() >= -kExact) {
    return Value(static_cast<double>(a.integer()) / static_cast<double>(b.integer()));
  }
  const BigInt dividend = to_big_int(a);
  const BigInt divisor = to_big_int(b);
  const bool negative = dividend.is_negative() != divisor.is_negative();
  BigInt left = dividend.is_negative() ? dividend.negated() : dividend;
  BigInt right = divisor.is_negative() ? divisor.negated() : divisor;
  const auto left_bits = static_cast<int>(left.num_bits());
  const auto right_bits = static_cast<int>(right.num_bits());
  const int shift = right_bits - left_bits + 66;
  const auto power = BigInt::power(BigInt(2), static_cast<uint64_t>(std::abs(shift)));
  if (!power) return over_limit("the size of integers");
  if (shift > 0) {
    left = left * *power;
  } else {
    right = right * *power;
  }
  BigInt quotient;
  BigInt remainder;
  BigInt::divide(left, right, quotient, remainder);
  // An odd unit below the last bit keeps ties apart.
  quotient = quotient + quotient + BigInt(remainder.is_zero() ? 0 : 1);
  const double value = std::ldexp(quotient.to_double(), -shift - 1);
  if (std::isinf(value)) return raise("integer division result too large for a float");
  return Value(negative ? -value : value);
}

Result<Value> integer_arithmetic(Runtime& runtime, BinaryOp op, const Value& a, const Value& b) {
  const bool small = a.is_small_integer() && b.is_small_integer();
  const bool zero_divisor = small ? b.integer() == 0 : to_big_int(b).is_zero();
  int64_t out = 0;
  switch (op) {
    case BinaryOp::kAdd:
      if (small && !__builtin_add_overflow(a.integer(), b.integer(), &out)) return Value(out);
      return integer_result(runtime, to_big_int(a) + to_big_int(b));
    case BinaryOp::kSub:
      if (small && !__builtin_sub_overflow(a.integer(), b.integer(), &out)) return Value(out);
      return integer_result(runtime, to_big_int(a) - to_big_int(b));
    case BinaryOp::kMul:
      if (small && !__builtin_mul_overflow(a.integer(), b.integer(), &out)) return Value(out);
      RUVLLM_TRY(runtime.charge(100));
      return integer_result(runtime, to_big_int(a) * to_big_int(b));
    case BinaryOp::kDiv:
      if (zero_divisor) return raise("division by zero");
      return true_divide(a, b);
    case BinaryOp::kFloorDiv:
    case BinaryOp::kMod:
      if (zero_divisor) return raise("integer division or modulo by zero");
      return divide_integers(runtime, op, a, b);
    case BinaryOp::kPow:
      return power_of_integers(runtime, a, b);
  }
  return bad_operands(symbol_of(op), a, b);
}

Result<Value> real_power(double base, double exponent) {
  if (base == 0 && exponent < 0) return raise("0.0 cannot be raised to a negative power");
  if (base < 0 && std::isfinite(base) && std::isfinite(exponent) &&
      exponent != std::trunc(exponent)) {
    return unsupported("a negative number to a fractional power (complex numbers)");
  }
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    return raise("numerical result out of range");
  }
  return Value(result);
}

Result<Value> real_arithmetic(BinaryOp op, const Value& a, const Value& b) {
  const double left = to_real(a);
  const double right = to_real(b);
  if ((a.is_integer() && std::isinf(left)) || (b.is_integer() && std::isinf(right))) {
    return raise("int too large to convert to float");
  }
  switch (op) {
    case BinaryOp::kAdd:
      return Value(left + right);
    case BinaryOp::kSub:
      return Value(left - right);
    case BinaryOp::kMul:
      return Value(left * right);
    case BinaryOp::kPow:
      return real_power(left, right);
    default:
      break;
  }
  if (right == 0) return raise("float division by zero");
  if (op == BinaryOp::kDiv) return Value(left / right);
  // The remainder takes the divisor's sign; the quotient is what then divides exactly, rounded.
  double remainder = std::fmod(left, right);
  double quotient = (left - remainder) / right;
  if (remainder != 0) {
    if ((right < 0) != (remainder < 0)) {
      remainder += right;
      quotient -= 1.0;
    }
  } else {
    remainder = std::copysign(0.0, right);
  }
  if (op == BinaryOp::kMod) return Value(remainder);
  if (quotient == 0) return Value(std::copysign(0.0, left / right));
  double whole = std::floor(quotient);
  if (quotient - whole > 0.5) whole += 1.0;
  return Value(whole);
}

Result<Value> repeat(Runtime& runtime, const Value& sequence, const Value& times) {
  RUVLLM_ASSIGN(int64_t count, to_index(times, "a repetition"));
  count = std::max<int64_t>(count, 0);
  if (sequence.is_string()) {
    const std::string& text = sequence.text();
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(static_cast<uint64_t>(text.size()), static_cast<uint64_t>(count),
                               &bytes)) {
      return over_limit("the size of values");
    }
    RUVLLM_TRY(runtime.check_size(bytes));
    std::string out;
    out.reserve(static_cast<size_t>(bytes));
    if (text.size() == 1) {
      out.assign(static_cast<size_t>(count), text[0]);
    } else if (!text.empty()) {
      for (int64_t i = 0; i < count; ++i) out += text;
    }
    return sequence.as<StringObject>().markup ? runtime.heap.markup(std::move(out))
                                              : runtime.heap.string(std::move(out));
  }
  const std::vector<Value>& items = sequence.items();
  uint64_t total = 0;
  if (__builtin_mul_overflow(static_cast<uint64_t>(items.size() * sizeof(Value)),
                             static_cast<uint64_t>(count), &total)) {
    return over_limit("the size of values");
  }
  RUVLLM_TRY(runtime.check_size(total));
  std::vector<Value> out;
  out.reserve(static_cast<size_t>(total / sizeof(Value)));
  if (!items.empty()) {
    for (int64_t i = 0; i < count; ++i) out.insert(out.end(), items.begin(), items.end());
  }
  return sequence.is(Kind::kList) ? runtime.heap.list(std::move(out))
                                  : runtime.heap.tuple(std::move(out));
}

Result<Value> concatenate(Runtime& runtime, const Value& a, const Value& b) {
  if (a.is_string()) {
    if (!b.is_string()) {
      return raise(concat("can only concatenate str (not \"", type_name(b), "\") to str"));
    }
    const bool markup = a.as<StringObject>().markup || b.as<StringObject>().markup;
    RUVLLM_TRY(runtime.check_size(a.text().size() + b.text().size()));
    if (!markup) {
      std::string out;
      out.reserve(a.text().size() + b.text().size());
      out += a.text();
      out += b.text();
      return runtime.heap.string(std::move(out));
    }
    RUVLLM_ASSIGN(std::string out, escaped(runtime, a));
    RUVLLM_ASSIGN(const std::string rest, escaped(runtime, b));
    return runtime.heap.markup(std::move(out) + rest);
  }
  if (a.kind() != b.kind()) {
    return raise(concat("can only concatenate ", type_name(a), " (not \"", type_name(b), "\") to ",
                        type_name(a)));
  }
  std::vector<Value> out;
  RUVLLM_TRY(runtime.check_size((a.items().size() + b.items().size()) * sizeof(Value)));
  out.reserve(a.items().size() + b.items().size());
  out.insert(out.end(), a.items().begin(), a.items().end());
  out.insert(out.end(), b.items().begin(), b.items().end());
  return a.is(Kind::kList) ? runtime.heap.list(std::move(out)) : runtime.heap.tuple(std::move(out));
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

Result<Value> binary(Runtime& runtime, BinaryOp op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integer() && b.is_integer()) return integer_arithmetic(runtime, op, a, b);
    return real_arithmetic(op, a, b);
  }
  if (op == BinaryOp::kMod && a.is_string()) return format_percent(runtime, a, b);
  if (a.is_undefined()) return raise(undefined_message(a));
  if (b.is_undefined()) return raise(undefined_message(b));
  const bool repeatable_a = a.is_string() || a.is_sequence();
  const bool repeatable_b = b.is_string() || b.is_sequence();
  if (op == BinaryOp::kAdd && repeatable_a) return concatenate(runtime, a, b);
  if (op == BinaryOp::kMul && repeatable_a && b.is_integer()) return repeat(runtime, a, b);
  if (op == BinaryOp::kMul && repeatable_b && a.is_integer()) return repeat(runtime, b, a);
  return bad_operands(symbol_of(op), a, b);
}

Result<Value> negate(Runtime& runtime, const Value& value) {
  if (value.is(Kind::kFloat)) return Value(-value.real());
  if (value.is_integer()) {
    return integer_arithmetic(runtime, BinaryOp::kSub, Value(int64_t{0}), value);
  }
  if (value.is_undefined()) return raise(undefined_message(value));
  return raise(concat("bad operand type for unary -: '", type_name(value), "'"));
}

Result<Value> plus(Runtime&, const Value& value) {
  if (value.is(Kind::kBool)) return Value(value.integer());
  if (value.is_number()) return value;
  if (value.is_undefined()) return raise(undefined_message(value));
  return raise(concat("bad operand type for unary +: '", type_name(value), "'"));
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
