// One product of tiles on given bytes, so that a test can lay the instructions beside their model.
#pragma once

#include <stdint.h>

namespace ruvllm::kernels {

enum class TileDot : uint8_t { kSignedSigned, kSignedUnsigned, kUnsignedSigned, kUnsigned, kBf16 };

struct TileProbeArgs {
  TileDot dot;
  int32_t rows;      // of A and C, 1..16
  int32_t columns;   // of B and C, in words, 1..16
  int32_t inner;     // columns of A and rows of B, in words, 1..16
  const uint8_t* a;  // rows lie 64 bytes apart, here and in b and c
  const uint8_t* b;
  uint8_t* c;  // read and written
};

struct TileProbe {
  void (*run)(const TileProbeArgs* args);
};

namespace amx {
extern const TileProbe kTileProbe;
}

}  // namespace ruvllm::kernels
