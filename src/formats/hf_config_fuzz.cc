// libFuzzer target: any text as config.json, generation_config.json and the pooling config. A
// config that is accepted must hold together.
#include <cstdlib>

#include "formats/hf_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ruvllm;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto config = parse_hf_config(text, "c")) {
    if (config->layers.empty() || config->num_heads % config->num_kv_heads != 0) std::abort();
    if (config->bos_id >= config->vocab_size || config->head_dim < 1) std::abort();
    if (!config->learned_positions &&
        (config->rope.rotary_dim < 2 || config->rope.rotary_dim > config->head_dim)) {
      std::abort();
    }
  }
  ModelConfig config;
  config.vocab_size = 100;
  GenerationDefaults defaults;
  if (apply_generation_config(text, "g", config, defaults)) {
    for (const int32_t id : config.eos_ids) {
      if (id < 0 || id >= 100) std::abort();
    }
  }
  (void)parse_pooling_config(text, "p");
  return 0;
}
