// The transcendental functions of all kernels, once, over any vector type V. Accuracy is stated and
// tested (elementwise_test.cc); the formulas and their error are in docs/numerics.md.
//
// Unnamed namespace: see vec_generic.h.
#pragma once

namespace ruvllm::kernels {
namespace {

// e^x. n = round(x / ln 2), r = x - n ln 2 (ln 2 in two parts), e^r by a polynomial of degree 6
// whose minimax error is 3e-9, times 2^n. Within 2 ulp.
// Exactly 0 below -87.3 (no subnormal results; so also for -inf), +inf above 88.3, NaN for NaN.
//
// kUpTo0: x is at most 0 (or NaN); the same bits without the care for large ones.
template <class V, bool kUpTo0 = false>
typename V::F exp_ps(typename V::F x) {
  using F = typename V::F;
  const F low = V::set1(-87.33654f);    // ln 2^-126
  const F high = V::set1(88.3762626f);  // 127.5 ln 2: n stays <= 127
  F clamped = V::max(low, x);
  if (!kUpTo0) clamped = V::min(high, clamped);
  const F magic = V::set1(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const F t = V::fma(clamped, V::set1(1.44269504f), magic);
  const F n = V::sub(t, magic);
  F r = V::fnma(n, V::set1(0.693359375f), clamped);  // exact product: 9 bits of ln 2
  r = V::fnma(n, V::set1(-2.12194440e-4f), r);
  F p = V::set1(1.38145965e-3f);
  p = V::fma(p, r, V::set1(8.36871751e-3f));
  p = V::fma(p, r, V::set1(4.16683890e-2f));
  p = V::fma(p, r, V::set1(1.66665211e-1f));
  p = V::fma(p, r, V::set1(4.99999940e-1f));
  const F er = V::add(V::fma(V::mul(r, r), p, r), V::set1(1.0f));
  F result = V::mul(er, V::pow2_of_magic(t));
  result = V::select_less(x, low, V::zero(), result);
  return kUpTo0 ? result : V::select_less(high, x, V::set1(__builtin_inff()), result);
}

// 1 / (1 + e^-x), but x times it: the SiLU of x.
template <class V>
typename V::F silu_ps(typename V::F x) {
  return V::div(x, V::add(V::set1(1.0f), exp_ps<V>(V::sub(V::zero(), x))));
}

// An odd polynomial below 0.625, 1 - 2 / (e^2|x| + 1) above. Within 3 ulp.
template <class V>
typename V::F tanh_ps(typename V::F x) {
  using F = typename V::F;
  const F one = V::set1(1.0f);
  const F magnitude = V::abs(x);
  const F e = exp_ps<V>(V::add(magnitude, magnitude));
  const F large = V::sub(one, V::div(V::set1(2.0f), V::add(e, one)));
  const F z = V::mul(x, x);
  F p = V::set1(-5.70499059e-3f);
  p = V::fma(p, z, V::set1(2.06390899e-2f));
  p = V::fma(p, z, V::set1(-5.37397154e-2f));
  p = V::fma(p, z, V::set1(1.33314416e-1f));
  p = V::fma(p, z, V::set1(-3.33332807e-1f));
  const F small = V::fma(V::mul(p, z), x, x);
  return V::select_less(magnitude, V::set1(0.625f), small, V::copy_sign(large, x));
}

// 0.5 x (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3), which is x / (1 + e^-2u).
template <class V>
typename V::F gelu_tanh_ps(typename V::F x) {
  using F = typename V::F;
  const F cubic = V::fma(V::mul(x, x), V::set1(0.044715f), V::set1(1.0f));
  const F minus_2u = V::mul(V::mul(x, V::set1(-1.59576912f)), cubic);
  return V::div(x, V::add(V::set1(1.0f), exp_ps<V>(minus_2u)));
}

// x Phi(x) by the upper tail: q = erfc(m / sqrt 2) / 2 of the magnitude m, and -m q for negative x,
// x - m q else. erfc(z) e^(z^2) is w P(w), w = 1 / (1 + 0.4 z), to 6e-9 relative where it matters.
// Beyond 14 the tail is 0.
template <class V>
typename V::F gelu_erf_ps(typename V::F x) {
  using F = typename V::F;
  const F m = V::min(V::set1(14.0f), V::abs(x));
  const F z = V::mul(m, V::set1(0.707106781f));
  const F w = V::div(V::set1(1.0f), V::fma(z, V::set1(0.4f), V::set1(1.0f)));
  F p = V::set1(7.77736977e-2f);
  p = V::fma(p, w, V::set1(-4.10965681e-1f));
  p = V::fma(p, w, V::set1(7.16940165e-1f));
  p = V::fma(p, w, V::set1(-4.09078807e-1f));
  p = V::fma(p, w, V::set1(4.30973887e-1f));
  p = V::fma(p, w, V::set1(1.31480098e-1f));
  p = V::fma(p, w, V::set1(2.38057867e-1f));
  p = V::fma(p, w, V::set1(2.24818751e-1f));
  const F tail = V::mul(V::mul(p, w), exp_ps<V>(V::mul(V::mul(m, m), V::set1(-0.5f))));
  const F mq = V::mul(V::mul(m, V::set1(0.5f)), tail);
  return V::select_less(x, V::zero(), V::sub(V::zero(), mq), V::sub(x, mq));
}

}  // namespace
}  // namespace ruvllm::kernels
