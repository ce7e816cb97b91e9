// Integers of any size up to a bound, for the rare template whose arithmetic leaves 64 bits.
//
// Sign and magnitude in 32-bit limbs, least significant first, no leading zero limb; zero has no
// limbs and no sign. Plain schoolbook algorithms: operands are at most kMaxBits long, and results
// that would be longer are refused by the caller asking `too_long`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ruvllm::jinja {

class BigInt {
 public:
  static constexpr size_t kMaxBits = 32768;

  BigInt() = default;
  explicit BigInt(int64_t value);
  // Digits of the base (2..36), nothing else; nullopt when there are too many.
  static std::optional<BigInt> parse(std::string_view digits, unsigned base);
  // The integer part of a finite number.
  static BigInt from_double(double value);

  bool is_zero() const { return limbs_.empty(); }
  bool is_negative() const { return negative_; }
  bool too_long() const { return limbs_.size() * 32 > kMaxBits; }
  size_t num_bits() const;
  std::optional<int64_t> to_int64() const;
  double to_double() const;  // nearest, ties to even; infinite when out of range
  std::string to_string(unsigned base = 10) const;

  BigInt negated() const;
  friend BigInt operator+(const BigInt& a, const BigInt& b);
  friend BigInt operator-(const BigInt& a, const BigInt& b) { return a + b.negated(); }
  friend BigInt operator*(const BigInt& a, const BigInt& b);
  // Floor division, the remainder with the divisor's sign, as in Python. `divisor` is not zero.
  static void divide(const BigInt& dividend, const BigInt& divisor, BigInt& quotient,
                     BigInt& remainder);
  // nullopt when the result would be too long.
  static std::optional<BigInt> power(const BigInt& base, uint64_t exponent);
  static int compare(const BigInt& a, const BigInt& b);

 private:
  using Limbs = std::vector<uint32_t>;
  static int compare_magnitude(const Limbs& a, const Limbs& b);
  static Limbs add_magnitude(const Limbs& a, const Limbs& b);
  static Limbs subtract_magnitude(const Limbs& a, const Limbs& b);  // a >= b
  static uint32_t divide_small(Limbs& limbs, uint32_t divisor);     // in place; the remainder
  static void divide_magnitude(const Limbs& a, const Limbs& b, Limbs& quotient, Limbs& remainder);
  void normalize();

  Limbs limbs_;
  bool negative_ = false;
};

}  // namespace ruvllm::jinja
