// What one token's routing costs, given the final hidden state of pass 1: classifier, softmax,
// top-k and the gates of every module. Shapes of published X-LoRAs: 9 experts of 160 modules and a
// hidden size of 4096 (one linear layer, gates per module), and a small one. Items are tokens.
#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "base/rng.h"
#include "lora/xlora.h"

namespace ruvllm {
namespace {

struct Shape {
  const char* name;
  int64_t hidden;
  int32_t modules, experts, top_k;
};
constexpr Shape kShapes[] = {{"4096 hidden, 160 modules, 9 experts", 4096, 160, 9, 0},
                             {"4096 hidden, 160 modules, 9 experts, top 2", 4096, 160, 9, 2},
                             {"576 hidden, 210 modules, 4 experts", 576, 210, 4, 0}};

std::shared_ptr<const XLora> make_xlora(const Shape& shape) {
  auto xlora = std::make_shared<XLora>();
  xlora->layerwise = true;
  xlora->module_names.resize(static_cast<size_t>(shape.modules));
  xlora->experts.resize(static_cast<size_t>(shape.experts));
  xlora->policy.top_k = shape.top_k;
  XLora::Layer& layer = xlora->classifier.emplace_back();
  layer.rows = xlora->num_gates();
  layer.cols = shape.hidden;
  layer.weight.resize(static_cast<size_t>(layer.rows * layer.cols));
  for (size_t i = 0; i < layer.weight.size(); ++i) {
    layer.weight[i] = static_cast<float>(random_bits(1, 0, i) % 2001) * 1e-5f - 0.01f;
  }
  layer.bias.resize(static_cast<size_t>(layer.rows), 0.1f);
  return xlora;
}

void route(benchmark::State& state, const Shape& shape) {
  const int64_t rows = state.range(0);
  const auto ops = make_cpu_ops(0).value();
  const auto gate = XLoraGate::make(make_xlora(shape), *ops, rows).value();
  std::vector<float> hidden(static_cast<size_t>(rows * shape.hidden));
  for (size_t i = 0; i < hidden.size(); ++i) {
    hidden[i] = static_cast<float>(random_bits(2, 0, i) % 2001) * 1e-3f - 1.0f;
  }
  std::vector<float> gates(static_cast<size_t>(rows * gate->xlora().num_gates()));
  for (auto _ : state) {
    gate->compute(make_matrix(hidden.data(), rows, shape.hidden),
                  make_matrix(gates.data(), rows, gate->xlora().num_gates()));
    benchmark::DoNotOptimize(gates.data());
  }
  state.SetItemsProcessed(state.iterations() * rows);
}

const bool kRegistered = [] {
  for (const Shape& shape : kShapes) {
    benchmark::RegisterBenchmark(shape.name, route, shape)
        ->Arg(1)
        ->Arg(8)
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  }
  return true;
}();

}  // namespace
}  // namespace ruvllm
