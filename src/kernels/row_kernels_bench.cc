// The small kernels over one row of 2048 (norms, rotary embedding) or 5632 elements (the others),
// as a decode step of a 1.1B Llama has them, per instruction set. Time per row against the step's:
// a layer has two norms, one rotary embedding, one activation, two additions.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "kernels/kernel_lists.h"

namespace ruvllm::kernels {
namespace {

constexpr int64_t kHidden = 2048;
constexpr int64_t kFfn = 5632;

struct Buffers {
  std::vector<float> x = std::vector<float>(kFfn, 0.75f);
  std::vector<float> y = std::vector<float>(kFfn, 0.5f);
  std::vector<uint16_t> half = std::vector<uint16_t>(kFfn);
};

template <typename Body>
void add(const char* kernel, IsaLevel isa, Body body) {
  const std::string name = std::string(kernel) + "/" + std::string(isa_name(isa));
  benchmark::RegisterBenchmark(name.c_str(), [body](benchmark::State& state) {
    Buffers buffers;
    for (auto _ : state) {
      body(buffers);
      benchmark::ClobberMemory();
    }
  });
}

void add_norms() {
  for (const auto& [isa, kernels] : norm_kernel_list()) {
    if (!isa_supported(isa)) continue;
    for (const bool rms : {true, false}) {
      add(rms ? "rms_norm" : "layer_norm", isa, [rms, k = kernels](Buffers& b) {
        (rms ? k->rms_norm
             : k->layer_norm)({b.x.data(), b.y.data(), nullptr, b.x.data(), kHidden, 1e-5f, false});
      });
    }
  }
}

void add_rope() {
  for (const auto& [isa, kernels] : rope_kernel_list()) {
    if (!isa_supported(isa)) continue;
    for (const bool halves : {true, false}) {
      add(halves ? "rope_halves" : "rope_interleaved", isa, [halves, k = kernels](Buffers& b) {
        (halves ? k->halves
                : k->interleaved)({b.x.data(), b.y.data(), b.y.data() + 32, kHidden / 64, 64, 64});
      });
    }
  }
}

void add_elementwise() {
  for (const auto& [isa, kernels] : elementwise_kernel_list()) {
    if (!isa_supported(isa)) continue;
    for (const auto& [f, name] : {std::pair(UnaryFunction::kSilu, "silu_multiply"),
                                  std::pair(UnaryFunction::kGeluTanh, "gelu_tanh_multiply"),
                                  std::pair(UnaryFunction::kGeluErf, "gelu_erf_multiply")}) {
      add(name, isa, [f, k = kernels](Buffers& b) {
        k->apply_multiply(f, b.y.data(), b.y.data(), b.x.data(), kFfn);
      });
    }
    add("add_scaled", isa,
        [k = kernels](Buffers& b) { k->add_scaled(b.x.data(), b.y.data(), 0.0f, kHidden); });
    add("softcap", isa, [k = kernels](Buffers& b) { k->softcap(b.x.data(), 1.0f, 30.0f, kFfn); });
  }
}

void add_convert() {
  for (const auto& [isa, kernels] : convert_kernel_list()) {
    if (!isa_supported(isa)) continue;
    add("f32_to_bf16", isa,
        [k = kernels](Buffers& b) { k->f32_to_bf16(b.x.data(), b.half.data(), kFfn); });
    add("bf16_to_f32", isa,
        [k = kernels](Buffers& b) { k->bf16_to_f32(b.half.data(), b.x.data(), kFfn); });
  }
}

const int kRegistered = [] {
  add_norms();
  add_rope();
  add_elementwise();
  add_convert();
  return 0;
}();

}  // namespace
}  // namespace ruvllm::kernels
