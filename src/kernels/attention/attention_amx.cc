#include "kernels/attention/attention_bf16_avx512.h"
#include "kernels/attention/attention_bf16_tiles_impl.h"

namespace ruvllm::kernels::amx {
namespace {

struct Lanes : WeighingLanes {
  static void store_pairs(uint32_t* to, F low, F high) {
    const __m512i below = _mm512_srli_epi32(_mm512_castps_si512(low), 16);
    _mm512_storeu_si512(to, _mm512_or_si512(below, _mm512_castps_si512(high)));
  }
  static void interleave(const uint16_t* a, const uint16_t* b, uint32_t* to) {
    store_interleaved(
        _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)a)),
                           _mm256_loadu_si256((const __m256i*)b), 1),
        to);
  }
  static void interleave_halves(const uint16_t* a, uint32_t* to) {
    store_interleaved(_mm512_loadu_si512(a), to);
  }
  static void store_interleaved(__m512i halves, uint32_t* to) {
    alignas(64) static constexpr uint16_t kOrder[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                        21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                        11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), halves));
  }
  // For a few rows.
  static constexpr unsigned kSubnormalsAreZeros = 0x0040;
  using TileArithmetic = Control<_MM_FLUSH_ZERO_ON | kSubnormalsAreZeros>;
  static F chain(F a, F b, F sum) { return fma(a, b, sum); }
  static F sum(F a, F b) { return add(a, b); }
  static void widen(const uint16_t* p, F& low, F& high) {
    alignas(64) static constexpr uint16_t kLow[32] = {0, 0,  0, 1,  0, 2,  0, 3,  0, 4, 0,
                                                      5, 0,  6, 0,  7, 0,  8, 0,  9, 0, 10,
                                                      0, 11, 0, 12, 0, 13, 0, 14, 0, 15};
    alignas(64) static constexpr uint16_t kHigh[32] = {0,  16, 0,  17, 0,  18, 0,  19, 0,  20, 0,
                                                       21, 0,  22, 0,  23, 0,  24, 0,  25, 0,  26,
                                                       0,  27, 0,  28, 0,  29, 0,  30, 0,  31};
    constexpr __mmask32 kUpper = 0xaaaaaaaa;
    const __m512i both = _mm512_loadu_si512(p);
    low =
        _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(kUpper, _mm512_load_si512(kLow), both));
    high =
        _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(kUpper, _mm512_load_si512(kHigh), both));
  }
  static bool any_special(const uint32_t* words) {
    const __m512i exponents = _mm512_set1_epi16(0x7f80);
    const __m512i own = _mm512_and_si512(_mm512_loadu_si512(words), exponents);
    return _mm512_cmpeq_epi16_mask(own, exponents) != 0;
  }
};

}  // namespace

const AttentionKernels kAttention = {attend_tiles<AmxTiles, Lanes>, merge<Lanes>, finish<Lanes>,
                                     256};

}  // namespace ruvllm::kernels::amx
