#include "quantize/vector_math.h"

#include <algorithm>

namespace ruvllm {
namespace {

using Lanes = float __attribute__((vector_size(32), aligned(4)));
using IntLanes = int32_t __attribute__((vector_size(32)));
using AllBytes = uint8_t __attribute__((vector_size(32)));
using ByteLanes = uint8_t __attribute__((vector_size(8), aligned(1)));

// Each loop is compiled twice from one text: the second copy may use 256-bit registers.
#define RUVLLM_LANE_LOOPS(target, suffix)                                                          \
  target double dot_##suffix(const float* a, const float* b, int64_t count) {                      \
    Lanes first = {}, second = {};                                                                 \
    int64_t k = 0;                                                                                 \
    for (; k + 16 <= count; k += 16) {                                                             \
      first += *reinterpret_cast<const Lanes*>(a + k) * *reinterpret_cast<const Lanes*>(b + k);    \
      second +=                                                                                    \
          *reinterpret_cast<const Lanes*>(a + k + 8) * *reinterpret_cast<const Lanes*>(b + k + 8); \
    }                                                                                              \
    Lanes sum = first + second;                                                                    \
    for (; k < count; ++k) sum[k % 8] += a[k] * b[k];                                              \
    double total = 0.0;                                                                            \
    for (int i = 0; i < 8; ++i) total += double{sum[i]};                                           \
    return total;                                                                                  \
  }                                                                                                \
  target void round_##suffix(float* v, int64_t count, float scale, float lowest, float highest) {  \
    const Lanes low = Lanes{} + lowest, high = Lanes{} + highest;                                  \
    int64_t k = 0;                                                                                 \
    for (; k + 8 <= count; k += 8) {                                                               \
      auto* at = reinterpret_cast<Lanes*>(v + k);                                                  \
      Lanes x = *at / scale;                                                                       \
      x = x > low ? x : low;                                                                       \
      x = x < high ? x : high;                                                                     \
      *at = (x + 0x1.8p23f - 0x1.8p23f) * scale;                                                   \
    }                                                                                              \
    for (; k < count; ++k) {                                                                       \
      v[k] = round_even(std::min(std::max(v[k] / scale, lowest), highest)) * scale;                \
    }                                                                                              \
  }                                                                                                \
  target void encode_##suffix(const float* v, int64_t count, float scale, float lowest,            \
                              float highest, int32_t zero, uint8_t* codes) {                       \
    const Lanes low = Lanes{} + lowest, high = Lanes{} + highest;                                  \
    int64_t k = 0;                                                                                 \
    for (; k + 8 <= count; k += 8) {                                                               \
      Lanes x = *reinterpret_cast<const Lanes*>(v + k) / scale;                                    \
      x = x > low ? x : low;                                                                       \
      x = x < high ? x : high;                                                                     \
      const auto whole = __builtin_convertvector(x + 0x1.8p23f - 0x1.8p23f, IntLanes) + zero;      \
      const auto bytes = reinterpret_cast<AllBytes>(whole);                                        \
      *reinterpret_cast<ByteLanes*>(codes + k) =                                                   \
          __builtin_shufflevector(bytes, bytes, 0, 4, 8, 12, 16, 20, 24, 28);                      \
    }                                                                                              \
    for (; k < count; ++k) {                                                                       \
      const float x = std::min(std::max(v[k] / scale, lowest), highest);                           \
      codes[k] = static_cast<uint8_t>(static_cast<int32_t>(round_even(x)) + zero);                 \
    }                                                                                              \
  }                                                                                                \
  target ValueRange range_##suffix(const float* v, int64_t count) {                                \
    Lanes low = {}, high = {};                                                                     \
    int64_t k = 0;                                                                                 \
    for (; k + 8 <= count; k += 8) {                                                               \
      const Lanes x = *reinterpret_cast<const Lanes*>(v + k);                                      \
      low = x < low ? x : low;                                                                     \
      high = x > high ? x : high;                                                                  \
    }                                                                                              \
    ValueRange range;                                                                              \
    for (int i = 0; i < 8; ++i) {                                                                  \
      range.lo = low[i] < range.lo ? low[i] : range.lo;                                            \
      range.hi = high[i] > range.hi ? high[i] : range.hi;                                          \
    }                                                                                              \
    for (; k < count; ++k) {                                                                       \
      range.lo = v[k] < range.lo ? v[k] : range.lo;                                                \
      range.hi = v[k] > range.hi ? v[k] : range.hi;                                                \
    }                                                                                              \
    return range;                                                                                  \
  }                                                                                                \
  target bool finite_##suffix(const float* v, int64_t count) {                                     \
    Lanes sum = {};                                                                                \
    int64_t k = 0;                                                                                 \
    for (; k + 8 <= count; k += 8) sum += *reinterpret_cast<const Lanes*>(v + k) * 0.0f;           \
    for (; k < count; ++k) sum[k % 8] += v[k] * 0.0f;                                              \
    bool finite = true;                                                                            \
    for (int i = 0; i < 8; ++i) finite = finite && sum[i] == 0.0f;                                 \
    return finite;                                                                                 \
  }                                                                                                \
  target void subtract_##suffix(float* y, int64_t count, const float* e, const float* rows,        \
                                int64_t stride, int64_t num_terms) {                               \
    int64_t k = 0;                                                                                 \
    for (; k + 32 <= count; k += 32) {                                                             \
      auto* out = reinterpret_cast<Lanes*>(y + k);                                                 \
      Lanes v0 = out[0], v1 = out[1], v2 = out[2], v3 = out[3];                                    \
      for (int64_t j = 0; j < num_terms; ++j) {                                                    \
        const auto* row = reinterpret_cast<const Lanes*>(rows + j * stride + k);                   \
        v0 -= row[0] * e[j];                                                                       \
        v1 -= row[1] * e[j];                                                                       \
        v2 -= row[2] * e[j];                                                                       \
        v3 -= row[3] * e[j];                                                                       \
      }                                                                                            \
      out[0] = v0;                                                                                 \
      out[1] = v1;                                                                                 \
      out[2] = v2;                                                                                 \
      out[3] = v3;                                                                                 \
    }                                                                                              \
    for (; k < count; ++k) {                                                                       \
      for (int64_t j = 0; j < num_terms; ++j) y[k] -= rows[j * stride + k] * e[j];                 \
    }                                                                                              \
  }                                                                                                \
  target void terms_##suffix(float* y, const float* e, const uint8_t* index, int64_t num_terms,    \
                             const float* strip) {                                                 \
    auto* out = reinterpret_cast<Lanes*>(y);                                                       \
    Lanes v0 = out[0], v1 = out[1], v2 = out[2], v3 = out[3];                                      \
    for (int64_t j = 0; j < num_terms; ++j) {                                                      \
      const auto* row = reinterpret_cast<const Lanes*>(strip + index[j] * kStripWidth);            \
      v0 -= row[0] * e[j];                                                                         \
      v1 -= row[1] * e[j];                                                                         \
      v2 -= row[2] * e[j];                                                                         \
      v3 -= row[3] * e[j];                                                                         \
    }                                                                                              \
    out[0] = v0;                                                                                   \
    out[1] = v1;                                                                                   \
    out[2] = v2;                                                                                   \
    out[3] = v3;                                                                                   \
  }                                                                                                \
  target void products_##suffix(double* out, int64_t count, const float* factors,                  \
                                const float* rows, int64_t stride, int64_t num_terms) {            \
    for (int64_t k = 0; k < count; k += 32) {                                                      \
      const int64_t width = std::min<int64_t>(32, count - k);                                      \
      float sums[32] = {};                                                                         \
      if (width == 32) {                                                                           \
        Lanes v0 = {}, v1 = {}, v2 = {}, v3 = {};                                                  \
        for (int64_t t = 0; t < num_terms; ++t) {                                                  \
          const auto* row = reinterpret_cast<const Lanes*>(rows + t * stride + k);                 \
          const float factor = factors[t * stride];                                                \
          v0 += row[0] * factor;                                                                   \
          v1 += row[1] * factor;                                                                   \
          v2 += row[2] * factor;                                                                   \
          v3 += row[3] * factor;                                                                   \
        }                                                                                          \
        auto* all = reinterpret_cast<Lanes*>(sums);                                                \
        all[0] = v0;                                                                               \
        all[1] = v1;                                                                               \
        all[2] = v2;                                                                               \
        all[3] = v3;                                                                               \
      } else {                                                                                     \
        for (int64_t t = 0; t < num_terms; ++t) {                                                  \
          for (int64_t i = 0; i < width; ++i) {                                                    \
            sums[i] += rows[t * stride + k + i] * factors[t * stride];                             \
          }                                                                                        \
        }                                                                                          \
      }                                                                                            \
      for (int64_t i = 0; i < width; ++i) out[k + i] += double{sums[i]};                           \
    }                                                                                              \
  }

RUVLLM_LANE_LOOPS(, plain)
#if defined(__x86_64__)
RUVLLM_LANE_LOOPS(__attribute__((target("avx2"))), avx2)
#endif
#undef RUVLLM_LANE_LOOPS

#if defined(__x86_64__)
bool has_avx2() {
  static const bool has = __builtin_cpu_supports("avx2") != 0;
  return has;
}
#endif

}  // namespace

#if defined(__x86_64__)
#define RUVLLM_CALL(name, ...) (has_avx2() ? name##_avx2(__VA_ARGS__) : name##_plain(__VA_ARGS__))
#else
#define RUVLLM_CALL(name, ...) name##_plain(__VA_ARGS__)
#endif

double dot_lanes(const float* a, const float* b, int64_t count) {
  return RUVLLM_CALL(dot, a, b, count);
}

void round_to_grid(float* v, int64_t count, float scale, float lowest, float highest) {
  RUVLLM_CALL(round, v, count, scale, lowest, highest);
}

void encode_to_grid(const float* v, int64_t count, float scale, float lowest, float highest,
                    int32_t zero, uint8_t* codes) {
  RUVLLM_CALL(encode, v, count, scale, lowest, highest, zero, codes);
}

ValueRange range_of(const float* v, int64_t count) {
  return RUVLLM_CALL(range, v, count);
}

// 0 times a number is 0, of anything else NaN.
bool all_finite(const float* v, int64_t count) {
  return RUVLLM_CALL(finite, v, count);
}

void subtract_rows(float* y, int64_t count, const float* e, const float* rows, int64_t stride,
                   int64_t num_terms) {
  RUVLLM_CALL(subtract, y, count, e, rows, stride, num_terms);
}

void subtract_terms(float* y, const float* e, const uint8_t* index, int64_t num_terms,
                    const float* strip) {
  RUVLLM_CALL(terms, y, e, index, num_terms, strip);
}

void add_products(double* out, int64_t count, const float* factors, const float* rows,
                  int64_t stride, int64_t num_terms) {
  RUVLLM_CALL(products, out, count, factors, rows, stride, num_terms);
}
#undef RUVLLM_CALL

}  // namespace ruvllm
