// Arithmetic of Python: integers of any size, reals, and + and * of sequences.
#include <cmath>
#include <limits>

#include "tokenizer/jinja/operators.h"
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

}  // namespace ruvllm::jinja
