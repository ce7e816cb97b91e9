#include "kernels/attention/attention_bf16_avx512.h"
#include "kernels/attention/attention_bf16_lanes_impl.h"

namespace ruvllm::kernels::avx512bf16 {
namespace {

alignas(64) constexpr uint16_t kInterleave[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                  21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                  11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
alignas(64) constexpr uint16_t kLow[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,
                                           37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
                                           11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
alignas(64) constexpr uint16_t kHigh[32] = {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21,
                                            53, 22, 54, 23, 55, 24, 56, 25, 57, 26, 58,
                                            27, 59, 28, 60, 29, 61, 30, 62, 31, 63};
// The upper halves of the lanes of two vectors.
alignas(64) constexpr uint16_t kUpper[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                             23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                             45, 47, 49, 51, 53, 55, 57, 59, 61, 63};

struct Lanes : WeighingLanes {
  using P = __m512i;
  static P keys(const uint16_t* p) {
    return _mm512_permutexvar_epi16(_mm512_load_si512(kInterleave), _mm512_loadu_si512(p));
  }
  static void values(const uint16_t* a, const uint16_t* b, P& low, P& high) {
    const P x = _mm512_loadu_si512(a);
    const P y = _mm512_loadu_si512(b);
    low = _mm512_permutex2var_epi16(x, _mm512_load_si512(kLow), y);
    high = _mm512_permutex2var_epi16(x, _mm512_load_si512(kHigh), y);
  }
  static P word(const uint32_t* p) { return _mm512_set1_epi32((int)*p); }
  static F dot(F sum, P x, P y) { return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)y); }
  static void store_pairs(uint32_t* to, F low, F high) {
    _mm512_storeu_si512(
        to, _mm512_permutex2var_epi16(_mm512_castps_si512(low), _mm512_load_si512(kUpper),
                                      _mm512_castps_si512(high)));
  }
};

}  // namespace

const AttentionKernels kAttention = {attend_lanes<Lanes>, merge<Lanes>, finish<Lanes>, 64};

}  // namespace ruvllm::kernels::avx512bf16
