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
