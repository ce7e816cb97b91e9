#include "kernels/roofs/peak_loops.h"
#include "kernels/simd/amx_tile.h"

namespace ruvllm::kernels::amx {
namespace {

// Two tiles by two: four sums hide the latency, and no operand is loaded.
template <class Step>
float run(int64_t rounds, Step step) {
  TileConfig shapes;
  for (int i = 0; i < 8; ++i) shapes.set(i, 16, 64);
  AmxTiles tiles;
  tiles.configure(shapes);
  for (int64_t r = 0; r < rounds; ++r) step(tiles);
  alignas(64) float sums[256];
  tiles.store<0>(sums, 64);
  tiles.release();
  return sums[0];
}

float run_int8(int64_t rounds) {
  return run(rounds, [](AmxTiles& tiles) {
    tiles.dot_ss<0, 4, 6>();
    tiles.dot_ss<1, 4, 7>();
    tiles.dot_ss<2, 5, 6>();
    tiles.dot_ss<3, 5, 7>();
  });
}

float run_bf16(int64_t rounds) {
  return run(rounds, [](AmxTiles& tiles) {
    tiles.dot_bf16<0, 4, 6>();
    tiles.dot_bf16<1, 4, 7>();
    tiles.dot_bf16<2, 5, 6>();
    tiles.dot_bf16<3, 5, 7>();
  });
}

}  // namespace

const PeakLoop kPeakInt8 = {"int8", 4 * 16 * 16 * 64, run_int8};
const PeakLoop kPeakBf16 = {"bf16", 4 * 16 * 16 * 32, run_bf16};

}  // namespace ruvllm::kernels::amx
