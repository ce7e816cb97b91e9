#include "tokenizer/jinja/big_int.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace ruvllm::jinja {

void BigInt::normalize() {
  while (!limbs_.empty() && limbs_.back() == 0) limbs_.pop_back();
  if (limbs_.empty()) negative_ = false;
}

BigInt::BigInt(int64_t value) : negative_(value < 0) {
  uint64_t magnitude = negative_ ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value);
  for (; magnitude != 0; magnitude >>= 32) limbs_.push_back(static_cast<uint32_t>(magnitude));
}

std::optional<BigInt> BigInt::parse(std::string_view digits, unsigned base) {
  BigInt result;
  for (const char c : digits) {
    unsigned digit = base;
    if (c >= '0' && c <= '9') digit = static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'z') digit = static_cast<unsigned>(c - 'a') + 10;
    if (c >= 'A' && c <= 'Z') digit = static_cast<unsigned>(c - 'A') + 10;
    if (digit >= base) return std::nullopt;
    uint64_t carry = digit;
    for (uint32_t& limb : result.limbs_) {
      carry += uint64_t{limb} * base;
      limb = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    if (carry != 0) result.limbs_.push_back(static_cast<uint32_t>(carry));
    if (result.too_long()) return std::nullopt;
  }
  return result;
}

BigInt BigInt::from_double(double value) {
  int exponent = 0;
  const double fraction = std::frexp(std::fabs(std::trunc(value)), &exponent);
  BigInt result;
  if (fraction == 0) return result;
  const auto mantissa = static_cast<int64_t>(std::ldexp(fraction, 53));
  result = BigInt(mantissa);
  int shift = exponent - 53;
  if (shift < 0) {
    result = BigInt(mantissa >> -shift);
  } else {
    result.limbs_.insert(result.limbs_.begin(), static_cast<size_t>(shift / 32), 0);
    result = result * BigInt(int64_t{1} << (shift % 32));
  }
  result.negative_ = value < 0 && !result.limbs_.empty();
  return result;
}

size_t BigInt::num_bits() const {
  if (limbs_.empty()) return 0;
  return limbs_.size() * 32 - static_cast<size_t>(std::countl_zero(limbs_.back()));
}

std::optional<int64_t> BigInt::to_int64() const {
  if (limbs_.size() > 2) return std::nullopt;
  uint64_t magnitude = 0;
  for (size_t i = limbs_.size(); i-- > 0;) magnitude = (magnitude << 32) | limbs_[i];
  constexpr uint64_t kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (negative_) {
    if (magnitude > kMax + 1) return std::nullopt;
    return static_cast<int64_t>(~magnitude + 1);
  }
  if (magnitude > kMax) return std::nullopt;
  return static_cast<int64_t>(magnitude);
}

double BigInt::to_double() const {
  const size_t bits = num_bits();
  if (bits == 0) return 0.0;
  if (bits > 1024) {
    const double infinity = std::numeric_limits<double>::infinity();
    return negative_ ? -infinity : infinity;
  }
  // The top 64 bits; the lowest of them also says whether anything below is set, which is all
  // that rounding to 53 bits needs to know.
  uint64_t top = 0;
  bool sticky = false;
  const size_t low = bits > 64 ? bits - 64 : 0;
  for (size_t i = 0; i < bits; ++i) {
    const bool set = (limbs_[i / 32] >> (i % 32) & 1) != 0;
    if (!set) continue;
    if (i < low) {
      sticky = true;
    } else {
      top |= uint64_t{1} << (i - low);
    }
  }
  if (sticky) top |= 1;
  const double magnitude = std::ldexp(static_cast<double>(top), static_cast<int>(low));
  return negative_ ? -magnitude : magnitude;
}

std::string BigInt::to_string(unsigned base) const {
  if (limbs_.empty()) return "0";
  std::string digits;
  Limbs rest = limbs_;
  while (!rest.empty()) {
    const uint32_t digit = divide_small(rest, base);
    digits += "0123456789abcdefghijklmnopqrstuvwxyz"[digit];
  }
  if (negative_) digits += '-';
  std::reverse(digits.begin(), digits.end());
  return digits;
}

BigInt BigInt::negated() const {
  BigInt result = *this;
  result.negative_ = !negative_ && !limbs_.empty();
  return result;
}

int BigInt::compare_magnitude(const Limbs& a, const Limbs& b) {
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  for (size_t i = a.size(); i-- > 0;) {
    if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
  }
  return 0;
}

BigInt::Limbs BigInt::add_magnitude(const Limbs& a, const Limbs& b) {
  Limbs sum(std::max(a.size(), b.size()) + 1);
  uint64_t carry = 0;
  for (size_t i = 0; i < sum.size(); ++i) {
    carry += (i < a.size() ? a[i] : 0);
    carry += (i < b.size() ? b[i] : 0);
    sum[i] = static_cast<uint32_t>(carry);
    carry >>= 32;
  }
  return sum;
}

BigInt::Limbs BigInt::subtract_magnitude(const Limbs& a, const Limbs& b) {
  Limbs difference(a.size());
  int64_t borrow = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    int64_t limb = int64_t{a[i]} - (i < b.size() ? int64_t{b[i]} : 0) - borrow;
    borrow = limb < 0 ? 1 : 0;
    if (limb < 0) limb += int64_t{1} << 32;
    difference[i] = static_cast<uint32_t>(limb);
  }
  return difference;
}

BigInt operator+(const BigInt& a, const BigInt& b) {
  BigInt result;
  if (a.negative_ == b.negative_) {
    result.limbs_ = BigInt::add_magnitude(a.limbs_, b.limbs_);
    result.negative_ = a.negative_;
  } else if (BigInt::compare_magnitude(a.limbs_, b.limbs_) >= 0) {
    result.limbs_ = BigInt::subtract_magnitude(a.limbs_, b.limbs_);
    result.negative_ = a.negative_;
  } else {
    result.limbs_ = BigInt::subtract_magnitude(b.limbs_, a.limbs_);
    result.negative_ = b.negative_;
  }
  result.normalize();
  return result;
}

BigInt operator*(const BigInt& a, const BigInt& b) {
  BigInt result;
  result.limbs_.assign(a.limbs_.size() + b.limbs_.size(), 0);
  for (size_t i = 0; i < a.limbs_.size(); ++i) {
    uint64_t carry = 0;
    for (size_t j = 0; j < b.limbs_.size(); ++j) {
      carry += uint64_t{a.limbs_[i]} * b.limbs_[j] + result.limbs_[i + j];
      result.limbs_[i + j] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    result.limbs_[i + b.limbs_.size()] = static_cast<uint32_t>(carry);
  }
  result.negative_ = a.negative_ != b.negative_;
  result.normalize();
  return result;
}

uint32_t BigInt::divide_small(Limbs& limbs, uint32_t divisor) {
  uint64_t remainder = 0;
  for (size_t i = limbs.size(); i-- > 0;) {
    remainder = (remainder << 32) | limbs[i];
    limbs[i] = static_cast<uint32_t>(remainder / divisor);
    remainder %= divisor;
  }
  while (!limbs.empty() && limbs.back() == 0) limbs.pop_back();
  return static_cast<uint32_t>(remainder);
}

// Long division in base 2^32 (Knuth, The Art of Computer Programming 2, 4.3.1 D): the divisor is
// scaled so that its top bit is set, then each quotient digit is estimated from the top two limbs
// and is at most two too large.
void BigInt::divide_magnitude(const Limbs& a, const Limbs& b, Limbs& quotient, Limbs& remainder) {
  if (compare_magnitude(a, b) < 0) {
    quotient.clear();
    remainder = a;
    return;
  }
  if (b.size() == 1) {
    quotient = a;
    const uint32_t rest = divide_small(quotient, b[0]);
    remainder.assign(rest != 0 ? 1 : 0, rest);
    return;
  }
  const int shift = std::countl_zero(b.back());
  const auto shifted = [shift](const Limbs& limbs, size_t size) {
    Limbs out(size);
    for (size_t i = 0; i < size; ++i) {
      const uint64_t high = i < limbs.size() ? limbs[i] : 0;
      const uint64_t low = i > 0 && i - 1 < limbs.size() ? limbs[i - 1] : 0;
      out[i] = static_cast<uint32_t>(((high << 32) | low) << shift >> 32);
    }
    return out;
  };
  const size_t n = b.size();
  const size_t m = a.size() - n;
  Limbs u = shifted(a, a.size() + 1);
  const Limbs v = shifted(b, n);
  quotient.assign(m + 1, 0);
  for (size_t j = m + 1; j-- > 0;) {
    const uint64_t top = (uint64_t{u[j + n]} << 32) | u[j + n - 1];
    uint64_t digit = top / v[n - 1];
    uint64_t rest = top % v[n - 1];
    while (digit >> 32 != 0 || digit * v[n - 2] > ((rest << 32) | u[j + n - 2])) {
      --digit;
      rest += v[n - 1];
      if (rest >> 32 != 0) break;
    }
    int64_t borrow = 0;
    uint64_t carry = 0;
    for (size_t i = 0; i <= n; ++i) {
      carry += i < n ? digit * v[i] : 0;
      int64_t limb = int64_t{u[i + j]} - static_cast<int64_t>(carry & 0xffffffffU) - borrow;
      carry >>= 32;
      borrow = limb < 0 ? 1 : 0;
      if (limb < 0) limb += int64_t{1} << 32;
      u[i + j] = static_cast<uint32_t>(limb);
    }
    if (borrow != 0) {  // the estimate was one too large: add the divisor back
      --digit;
      uint64_t sum = 0;
      for (size_t i = 0; i < n; ++i) {
        sum += uint64_t{u[i + j]} + v[i];
        u[i + j] = static_cast<uint32_t>(sum);
        sum >>= 32;
      }
      u[j + n] += static_cast<uint32_t>(sum);
    }
    quotient[j] = static_cast<uint32_t>(digit);
  }
  remainder.assign(n, 0);
  for (size_t i = 0; i < n; ++i) {
    remainder[i] = static_cast<uint32_t>(((uint64_t{u[i + 1]} << 32) | u[i]) >> shift);
  }
}

void BigInt::divide(const BigInt& dividend, const BigInt& divisor, BigInt& quotient,
                    BigInt& remainder) {
  BigInt q;
  BigInt r;
  divide_magnitude(dividend.limbs_, divisor.limbs_, q.limbs_, r.limbs_);
  q.negative_ = dividend.negative_ != divisor.negative_;
  r.negative_ = dividend.negative_;
  q.normalize();
  r.normalize();
  if (!r.is_zero() && r.negative_ != divisor.negative_) {
    q = q - BigInt(1);
    r = r + divisor;
  }
  quotient = std::move(q);
  remainder = std::move(r);
}

std::optional<BigInt> BigInt::power(const BigInt& base, uint64_t exponent) {
  const size_t bits = base.num_bits();
  if (bits > 1 && exponent > kMaxBits / (bits - 1)) return std::nullopt;
  BigInt result(1);
  BigInt square = base;
  for (uint64_t rest = exponent; rest != 0;) {
    if ((rest & 1) != 0) result = result * square;
    rest >>= 1;
    if (rest != 0) square = square * square;
    if (result.too_long()) return std::nullopt;
  }
  return result;
}

int BigInt::compare(const BigInt& a, const BigInt& b) {
  if (a.negative_ != b.negative_) return a.negative_ ? -1 : 1;
  const int order = compare_magnitude(a.limbs_, b.limbs_);
  return a.negative_ ? -order : order;
}

}  // namespace ruvllm::jinja
