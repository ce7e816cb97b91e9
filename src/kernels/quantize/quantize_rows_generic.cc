#include <string.h>

#include "kernels/quantize/each_row_to_int8.h"
#include "kernels/quantize/quantize_tile.h"
#include "kernels/quantize/row_scale.h"

namespace ruvllm::kernels::generic {
namespace {

RowScale scale_of(const float* x, int64_t groups) {
  uint32_t largest = 0;  // magnitudes compare as their bits do
  for (int64_t i = 0; i < 32 * groups; ++i) {
    uint32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    bits &= 0x7fffffffu;
    if (bits > largest) largest = bits;
  }
  float a;
  memcpy(&a, &largest, sizeof a);
  return scale_of_largest(a);
}

// Codes of 32 elements.
void quantize_group(const float* x, float inverse, int32_t* codes) {
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, ties to even
  for (int i = 0; i < 32; ++i) {
    codes[i] = inverse == 0.0f ? 0 : (int32_t)((x[i] * inverse + magic) - magic);
  }
}

uint32_t two(int32_t low, int32_t high) {
  return (uint32_t)(uint16_t)low | (uint32_t)(uint16_t)high << 16;
}

// The words behind the codes.
void finish(const int32_t* codes, float scale, int64_t stride, uint32_t* words) {
  memcpy(words, &scale, sizeof scale);
  int32_t lanes[2][2] = {{0, 0}, {0, 0}};
  for (int i = 0; i < 32; ++i) lanes[i / 16][i / 2 % 2] += codes[i];
  words[stride] = (uint32_t)(-128 * (lanes[0][0] + lanes[0][1] + lanes[1][0] + lanes[1][1]));
  words[2 * stride] = two(-lanes[0][0], -lanes[0][1]);
  words[3 * stride] = two(-lanes[1][0], -lanes[1][1]);
}

void to_int8(const float* x, int64_t groups, int64_t block, int64_t tile_rows, uint32_t* words) {
  int32_t codes[32];
  RowScale scale = {};
  for (int64_t g = 0; g < groups; ++g, words += kRecordWords * tile_rows) {
    if (g % block == 0) scale = scale_of(x + g * 32, block < groups - g ? block : groups - g);
    quantize_group(x + g * 32, scale.inverse, codes);
    for (int i = 0; i < 8; ++i) {
      uint32_t word = 0;
      for (int j = 0; j < 4; ++j) word |= (uint32_t)(uint8_t)codes[4 * i + j] << (8 * j);
      words[i * tile_rows] = word;
    }
    finish(codes, scale.scale, tile_rows, words + 8 * tile_rows);
  }
}

// Row t of a tile that was zeros.
void to_row_of_tile(const float* x, int64_t groups, int64_t block, int64_t t, uint32_t* tile) {
  int8_t* const rows = (int8_t*)tile;
  HeadOfX* const heads = heads_of_x_tile(tile, groups);
  RowScale scale = {};
  for (int64_t g = 0; g < groups; ++g) {
    if (g % block == 0) scale = scale_of(x + g * 32, block < groups - g ? block : groups - g);
    int32_t codes[32];
    quantize_group(x + g * 32, scale.inverse, codes);
    int32_t sum = 0;
    for (int i = 0; i < 32; ++i) {
      rows[(g / 2 * kTileSide + t) * 64 + g % 2 * 32 + i] = (int8_t)codes[i];
      sum += codes[i];
    }
    HeadOfX* const head = heads + g / kXBlock;
    head->scale[t] = scale.scale;
    head->sum[g % kXBlock][t] = sum;
    head->total[g % kXBlock][t] = (float)sum;
    sums_of_x_tile(tile, groups)[t] += sum;
  }
}

void quantize_tile(const float* const* rows, int64_t num_rows, int64_t groups, int64_t block,
                   uint32_t* tile) {
  memset(tile, 0, (size_t)x_tile_words(groups) * 4);
  for (int64_t t = 0; t < num_rows; ++t) to_row_of_tile(rows[t], groups, block, t, tile);
}

}  // namespace

const QuantizeKernel kQuantize = {to_int8, each_row_to_int8<to_int8>};
const QuantizeTile kQuantizeTile = quantize_tile;

}  // namespace ruvllm::kernels::generic
