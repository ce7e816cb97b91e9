// CpuOps::matmul on one thread and on all (--benchmark_filter=threads:1): the two largest shapes of
// a 1.1B Llama, weights larger than the caches, one row of x to many. Items are multiply-adds,
// bytes those of the weights.
#include <benchmark/benchmark.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "ops/cpu/cpu_ops.h"
#include "tensor/dequantize.h"

namespace ruvllm {
namespace {

constexpr uint64_t kLeastBytes = uint64_t{96} << 20;

// Kept from one case to the next, so that none begins with new threads.
CpuOps& ops_with(int threads) {
  static std::map<int, std::unique_ptr<CpuOps>> made;
  std::unique_ptr<CpuOps>& ops = made[threads];
  if (ops == nullptr) ops = std::make_unique<CpuOps>(threads, kernels::pick_isa().value());
  return *ops;
}

std::vector<int64_t> thread_counts() {
  const int64_t all = default_num_threads();
  return all > 1 ? std::vector<int64_t>{1, all} : std::vector<int64_t>{1};
}

void matmul(benchmark::State& state, DType dtype, int64_t num_rows, int64_t num_cols) {
  CpuOps& ops = ops_with(static_cast<int>(state.range(1)));
  uint64_t bytes = 0;
  if (!row_bytes(dtype, num_cols, bytes)) return state.SkipWithError("no such rows");
  bytes *= static_cast<uint64_t>(num_rows);
  const std::vector<std::byte> zeros(bytes);
  std::vector<std::unique_ptr<Weight>> weights;
  for (uint64_t made = 0; made < kLeastBytes; made += bytes) {
    const WeightSource source{make_view(zeros.data(), dtype, {num_rows, num_cols}), false};
    weights.push_back(std::move(ops.make_weight({&source, 1}, {}).value()));
  }
  const int64_t num_x = state.range(0);
  std::vector<float> x(static_cast<size_t>(num_x * num_cols), 0.5f);
  std::vector<float> y(static_cast<size_t>(num_x * num_rows));
  MatmulArgs args;
  args.x = {x.data(), num_x, num_cols, num_cols};
  args.y = {y.data(), num_x, num_rows, num_rows};
  size_t next = 0;
  for (auto _ : state) {
    args.weight = weights[next++ % weights.size()].get();
    ops.matmul(args);
  }
  state.SetItemsProcessed(state.iterations() * num_rows * num_cols * num_x);
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}

#define RUVLLM_MATMUL(dtype)                                           \
  BENCHMARK_CAPTURE(matmul, dtype##_up, DType::k##dtype, 11264, 2048)  \
      ->ArgsProduct({{1, 8, 32, 64, 512}, thread_counts()})            \
      ->ArgNames({"rows", "threads"})                                  \
      ->UseRealTime();                                                 \
  BENCHMARK_CAPTURE(matmul, dtype##_down, DType::k##dtype, 2048, 5632) \
      ->ArgsProduct({{1, 8, 32, 64, 512}, thread_counts()})            \
      ->ArgNames({"rows", "threads"})                                  \
      ->UseRealTime()

RUVLLM_MATMUL(BF16);
RUVLLM_MATMUL(Q8_0);
RUVLLM_MATMUL(Q4_0);

}  // namespace
}  // namespace ruvllm
