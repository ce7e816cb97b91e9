// tile_probe.h over the tiles of amx_tile.h.
#pragma once

#include "kernels/simd/amx_tile.h"
#include "kernels/simd/tile_probe.h"

namespace ruvllm::kernels {
namespace {

template <class T>
void run_probe(const TileProbeArgs* args) {
  TileConfig config;
  config.set(0, args->rows, 4 * args->columns);
  config.set(1, args->rows, 4 * args->inner);
  config.set(7, args->inner, 4 * args->columns);
  T tiles;
  tiles.configure(config);
  tiles.template load<0>(args->c, 64);
  tiles.template load<1>(args->a, 64);
  tiles.template load<7>(args->b, 64);
  switch (args->dot) {
    case TileDot::kSignedSigned:
      tiles.template dot_ss<0, 1, 7>();
      break;
    case TileDot::kSignedUnsigned:
      tiles.template dot_su<0, 1, 7>();
      break;
    case TileDot::kUnsignedSigned:
      tiles.template dot_us<0, 1, 7>();
      break;
    case TileDot::kUnsigned:
      tiles.template dot_uu<0, 1, 7>();
      break;
    case TileDot::kBf16:
      tiles.template dot_bf16<0, 1, 7>();
      break;
  }
  tiles.template store<0>(args->c, 64);
  tiles.release();
}

}  // namespace
}  // namespace ruvllm::kernels
