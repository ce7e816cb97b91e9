// Tiles: every AMX instruction of this program, and a model of them in plain C++.
//
// A kernel is a template over `T`, which is AmxTiles (the instructions; where the file is compiled
// with them) or ModelTiles (the same on any machine, for tests: bit for bit what the instructions
// leave in memory). Eight tiles, named by a template argument, of up to 16 rows of up to 64 bytes:
//   configure(config)      sets the shapes and zeroes all tiles; release() gives the state back
//   zero<D>()              D = 0
//   load<D>(p, stride)     row r of D = colsb bytes at p + r * stride
//   load_passing<D>(...)   the same of what need not stay in the first-level cache
//   store<D>(p, stride)    and back
//   dot_ss<C, A, B>()      C[m][n] += sum over k and i of A[m][4k + i] * B[k][4n + i], in int32
//                          that wraps around; bytes of A and B signed, unsigned: dot_su, _us, _uu
//   dot_bf16<C, A, B>()    the same of pairs of bf16, in f32: see below
// Shapes must fit: rows of C and A; columns of C and B; columns of A (in fours of bytes) and rows
// of B. Other products are invalid instructions (the model traps).
//
// dot_bf16, from the manual's pseudo-code of TDPBF16PS: for each (m, n) two chains from 0, in
// increasing k, even = fma(A[m][2k], B[k][2n], even) and odd = fma(A[m][2k + 1], B[k][2n + 1],
// odd), each rounded once to nearest even; then C[m][n] += even + odd, two rounded additions.
// Whatever the control register says, subnormal inputs count as zeros and subnormal results become
// zeros, with their signs.
//
// A configuration is the thread's own; code that configures must release before it returns. The
// process must have been given the state first (cpu_isa.cc asks for it).
//
// The instructions are written as assembly: compilers' own macros take the number of a tile as a
// token only, and g++ 12 has its load of a configuration read 8 bytes of 64, so that stores to the
// others are dropped.
#pragma once

#include <stdint.h>

namespace ruvllm::kernels {
namespace {

// As LDTILECFG reads it.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t colsb[16] = {};  // bytes of a row, by tile; 0: the tile is not used
  uint8_t rows[16] = {};

  constexpr void set(int tile, int num_rows, int bytes) {
    rows[tile] = (uint8_t)num_rows;
    colsb[tile] = (uint16_t)bytes;
  }
};
static_assert(sizeof(TileConfig) == 64);

#if defined(__AMX_TILE__) && defined(__AMX_INT8__) && defined(__AMX_BF16__)

#define RUVLLM_TILE_FN inline __attribute__((always_inline))

struct AmxTiles {
  RUVLLM_TILE_FN void configure(const TileConfig& config) {
    __asm__ volatile("ldtilecfg %0" : : "m"(config) : "memory");
  }
  RUVLLM_TILE_FN void release() { __asm__ volatile("tilerelease" : : : "memory"); }
  template <int D>
  RUVLLM_TILE_FN void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(D));
  }
  template <int D>
  RUVLLM_TILE_FN void load(const void* p, int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "i"(D) : "memory");
  }
  template <int D>
  RUVLLM_TILE_FN void load_passing(const void* p, int64_t stride) {
    __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "i"(D) : "memory");
  }
  template <int D>
  RUVLLM_TILE_FN void store(void* p, int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(stride), "i"(D) : "memory");
  }
  template <int C, int A, int B>
  RUVLLM_TILE_FN void dot_ss() {
    __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
  }
  template <int C, int A, int B>
  RUVLLM_TILE_FN void dot_su() {
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
  }
  template <int C, int A, int B>
  RUVLLM_TILE_FN void dot_us() {
    __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
  }
  template <int C, int A, int B>
  RUVLLM_TILE_FN void dot_uu() {
    __asm__ volatile("tdpbuud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
  }
  template <int C, int A, int B>
  RUVLLM_TILE_FN void dot_bf16() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
  }
};

#undef RUVLLM_TILE_FN

#endif

class ModelTiles {
 public:
  void configure(const TileConfig& config) {
    check(config.palette == 1 && config.start_row == 0);
    for (int i = 0; i < 14; ++i) check(config.reserved[i] == 0);
    for (int tile = 0; tile < 16; ++tile) {
      const int rows = config.rows[tile];
      const int bytes = config.colsb[tile];
      check(tile < 8 ? rows <= 16 && bytes <= 64 && (rows == 0) == (bytes == 0)
                     : rows == 0 && bytes == 0);
    }
    config_ = config;
    configured_ = true;
    for (Tile& tile : tiles_) tile = Tile();
  }
  void release() {
    configured_ = false;
    config_ = TileConfig();
  }
  template <int D>
  void zero() {
    check(used(D));
    tiles_[D] = Tile();
  }
  template <int D>
  void load(const void* p, int64_t stride) {
    check(used(D));
    tiles_[D] = Tile();
    for (int r = 0; r < config_.rows[D]; ++r) {
      __builtin_memcpy(tiles_[D].bytes[r], (const char*)p + r * stride, config_.colsb[D]);
    }
  }
  template <int D>
  void load_passing(const void* p, int64_t stride) {
    load<D>(p, stride);
  }
  template <int D>
  void store(void* p, int64_t stride) {
    check(used(D));
    for (int r = 0; r < config_.rows[D]; ++r) {
      __builtin_memcpy((char*)p + r * stride, tiles_[D].bytes[r], config_.colsb[D]);
    }
  }
  template <int C, int A, int B>
  void dot_ss() {
    dot_int8<int8_t, int8_t>(C, A, B);
  }
  template <int C, int A, int B>
  void dot_su() {
    dot_int8<int8_t, uint8_t>(C, A, B);
  }
  template <int C, int A, int B>
  void dot_us() {
    dot_int8<uint8_t, int8_t>(C, A, B);
  }
  template <int C, int A, int B>
  void dot_uu() {
    dot_int8<uint8_t, uint8_t>(C, A, B);
  }
  template <int C, int A, int B>
  void dot_bf16() {
    check_product(C, A, B);
    for (int m = 0; m < config_.rows[C]; ++m) {
      for (int n = 0; n < config_.colsb[C] / 4; ++n) {
        float even = 0.0f;
        float odd = 0.0f;
        for (int k = 0; k < config_.colsb[A] / 4; ++k) {
          const uint8_t* a = tiles_[A].bytes[m] + 4 * k;
          const uint8_t* b = tiles_[B].bytes[k] + 4 * n;
          even = fused(bf16_at(a), bf16_at(b), even);
          odd = fused(bf16_at(a + 2), bf16_at(b + 2), odd);
        }
        uint8_t* c = tiles_[C].bytes[m] + 4 * n;
        const float sum = flushed(flushed(word_at<float>(c)) + flushed(even + odd));
        __builtin_memcpy(c, &sum, sizeof sum);
      }
    }
    zero_rest(C);
  }

  // a * b + c rounded once, with subnormal a, b, c and results as zeros.
  static float fused(float a, float b, float c) {
    a = flushed(a);
    b = flushed(b);
    c = flushed(c);
    float sum = __builtin_fmaf(a, b, c);
    // A sum that is subnormal before it is rounded to the fewer bits of subnormals is flushed, also
    // where that rounding would make it normal.
    if (__builtin_fabsf(sum) == 0x1p-126f &&
        __builtin_fabsf(__builtin_fmaf(a * 0x1p64f, b, c * 0x1p64f)) < 0x1p-62f) {
      sum = __builtin_copysignf(0.0f, sum);
    }
    return flushed(sum);
  }

 private:
  struct Tile {
    uint8_t bytes[16][64] = {};
  };

  static void check(bool ok) {
    if (!ok) __builtin_trap();
  }
  bool used(int tile) const { return configured_ && config_.rows[tile] != 0; }
  void check_product(int c, int a, int b) const {
    check(c != a && c != b && a != b && used(c) && used(a) && used(b));
    check(config_.colsb[c] % 4 == 0 && config_.colsb[a] % 4 == 0);
    check(config_.rows[c] == config_.rows[a] && config_.colsb[c] == config_.colsb[b] &&
          config_.colsb[a] == 4 * config_.rows[b]);
  }
  // What lies beyond the shape is zero after each instruction.
  void zero_rest(int tile) {
    for (int r = 0; r < 16; ++r) {
      const int used_bytes = r < config_.rows[tile] ? config_.colsb[tile] : 0;
      for (int i = used_bytes; i < 64; ++i) tiles_[tile].bytes[r][i] = 0;
    }
  }
  template <typename Word>
  static Word word_at(const uint8_t* p) {
    Word word;
    __builtin_memcpy(&word, p, sizeof word);
    return word;
  }
  static float bf16_at(const uint8_t* p) {
    const uint32_t bits = (uint32_t)word_at<uint16_t>(p) << 16;
    return word_at<float>((const uint8_t*)&bits);
  }
  static float flushed(float v) {
    return __builtin_fabsf(v) < 0x1p-126f ? __builtin_copysignf(0.0f, v) : v;
  }
  template <typename ByteA, typename ByteB>
  void dot_int8(int c_tile, int a_tile, int b_tile) {
    check_product(c_tile, a_tile, b_tile);
    for (int m = 0; m < config_.rows[c_tile]; ++m) {
      for (int n = 0; n < config_.colsb[c_tile] / 4; ++n) {
        uint8_t* c = tiles_[c_tile].bytes[m] + 4 * n;
        uint32_t sum = word_at<uint32_t>(c);
        for (int k = 0; k < config_.colsb[a_tile]; ++k) {
          const int32_t a = (ByteA)tiles_[a_tile].bytes[m][k];
          const int32_t b = (ByteB)tiles_[b_tile].bytes[k / 4][4 * n + k % 4];
          sum += (uint32_t)(a * b);
        }
        __builtin_memcpy(c, &sum, sizeof sum);
      }
    }
    zero_rest(c_tile);
  }

  bool configured_ = false;
  TileConfig config_;
  Tile tiles_[8];
};

}  // namespace
}  // namespace ruvllm::kernels
