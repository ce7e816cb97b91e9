#include "kernels/simd/tile_probe_impl.h"

namespace ruvllm::kernels::amx {

const TileProbe kTileProbe = {run_probe<AmxTiles>};

}  // namespace ruvllm::kernels::amx
