// libFuzzer target: any text as --isq. What is accepted must hold together, have a normal form that
// reads back as itself, and give every matrix a grid that can be stored.
#include <cstdlib>

#include "quantize/isq_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ruvllm;
  const auto config = parse_isq({reinterpret_cast<const char*>(data), size});
  if (!config) {
    if (config.error().message.find('\n') != std::string::npos) std::abort();
    return 0;
  }
  if (!check_isq(*config)) std::abort();
  const std::string text = isq_text(*config);
  const auto again = parse_isq(text);
  if (!again || isq_text(*again) != text) std::abort();
  for (const MatrixKind kind : {MatrixKind::kEmbedding, MatrixKind::kHead, MatrixKind::kLinear}) {
    const MatrixScheme scheme = scheme_of(*config, "model.layers.0.mlp.down_proj.weight", kind);
    if (scheme.keep) continue;
    if (stored_bytes(scheme.grid, 96, 172) == 0) std::abort();
  }
  return 0;
}
