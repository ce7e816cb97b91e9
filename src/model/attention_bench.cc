// Attention over the paged cache as a step of a model calls it, one layer, all threads: decode at a
// depth, prefill of a chunk, many sequences of different lengths, and sequences that share a
// prefix. The caches are larger than the processor's, as those of a model with many layers are.
// Counters: bytes/s of keys and values beside what the same threads read just before and after
// (of_read: the share, means of both), and FLOP/s of the two products beside the multiply-add peak
// in f32 (of_peak, best of both). of_pages is the share of what a loop reads that does nothing but
// touch the same pages head by head, whose short pieces prefetching by the processor does not help
// as much as one long one (means of both; only where attention reads every page once).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "model/kv_storage.h"
#include "ops/cpu/machine_roofs.h"
#include "ops/kv_layout.h"
#include "ops/ops.h"

namespace ruvllm {
namespace {

// Heads of the 1.1B Llama shape, and one without grouped heads.
struct Heads {
  const char* name;
  int32_t heads, kv_heads, dim;
};
constexpr Heads kGrouped = {"32/4x64", 32, 4, 64};
constexpr Heads kByFour = {"32/8x64", 32, 8, 64};
constexpr Heads kUngrouped = {"16/16x64", 16, 16, 64};
constexpr Heads kWide = {"32/8x128", 32, 8, 128};

struct Length {
  int64_t depth;   // tokens before
  int64_t tokens;  // rows
};

// One layer's worth of calls, `copies` of them over different blocks so that the cache is cold.
class Bench {
 public:
  Bench(const Heads& heads, DType dtype, int32_t block_tokens, std::vector<Length> lengths,
        int64_t shared_tokens, int copies)
      : heads_(heads), dtype_(dtype), lengths_(std::move(lengths)), copies_(copies) {
    ModelConfig config;
    config.num_heads = heads.heads;
    config.num_kv_heads = heads.kv_heads;
    config.head_dim = heads.dim;
    config.layers.resize(1);
    storage_ = KvStorage::make(config, dtype, block_tokens).value();
    int32_t next = 0;
    for (int copy = 0; copy < copies; ++copy) {
      const int32_t first_shared = next;
      next += static_cast<int32_t>(shared_tokens / block_tokens);
      for (const Length& length : lengths_) {
        std::vector<int32_t> table;
        const int64_t blocks = (length.depth + length.tokens + block_tokens - 1) / block_tokens;
        for (int64_t i = 0; i < blocks; ++i) {
          table.push_back(i < shared_tokens / block_tokens ? first_shared + static_cast<int32_t>(i)
                                                           : next++);
        }
        tables_.push_back(std::move(table));
      }
    }
    if (!storage_.reserve(next)) std::abort();
    for (const Length& length : lengths_) rows_ += length.tokens;
    q_.assign(static_cast<size_t>(rows_ * heads.heads * heads.dim), 0.25f);
    out_ = q_;
  }

  void run(Ops& ops, int copy) {
    std::vector<SequenceSpan> spans;
    int64_t row = 0;
    for (size_t i = 0; i < lengths_.size(); ++i) {
      const size_t table = static_cast<size_t>(copy) * lengths_.size() + i;
      spans.push_back({row, lengths_[i].tokens, lengths_[i].depth, tables_[table]});
      row += lengths_[i].tokens;
    }
    const int64_t cols = int64_t{heads_.heads} * heads_.dim;
    AttentionArgs args;
    args.q = {q_.data(), rows_, cols, cols};
    args.out = {out_.data(), rows_, cols, cols};
    args.kv = storage_.layer(0);
    args.sequences = spans;
    args.num_heads = heads_.heads;
    args.scale = 1.0f / std::sqrt(static_cast<float>(heads_.dim));
    ops.attention(args);
  }

  // Touches every cache line of the keys and values of a copy.
  void touch_pages(ThreadPool& pool, int copy) const {
    const KvLayerView kv = storage_.layer(0);
    const auto page_bytes =
        static_cast<int64_t>(kv.block_tokens * kv_row_bytes(kv.dtype, heads_.dim));
    for (size_t i = 0; i < lengths_.size(); ++i) {
      const std::vector<int32_t>& table = tables_[static_cast<size_t>(copy) * lengths_.size() + i];
      // As attention does: a head's keys of a segment, then its values.
      const auto blocks = static_cast<int64_t>(table.size());
      const int64_t step = std::max(kernels::kKeySegment / kv.block_tokens, 1);
      const int64_t segments = (blocks + step - 1) / step;
      pool.parallel_for(heads_.kv_heads * segments, [&](int64_t task, int) {
        const int64_t first = task % segments * step;
        uint64_t sum = 0;
        for (const int64_t part : {kv.k_offset_bytes, kv.v_offset_bytes}) {
          for (int64_t b = first; b < std::min(first + step, blocks); ++b) {
            const std::byte* page =
                kv_head_page(kv, part, table, b * kv.block_tokens, task / segments);
            for (int64_t at = 0; at < page_bytes; at += 64) sum += static_cast<uint64_t>(page[at]);
          }
        }
        benchmark::DoNotOptimize(sum);
      });
    }
  }

  int64_t rows() const { return rows_; }

  // Of one call.
  double bytes() const {
    double tokens = 0;
    for (const Length& l : lengths_) tokens += static_cast<double>(l.depth + l.tokens);
    return tokens * 2.0 * heads_.kv_heads * static_cast<double>(kv_row_bytes(dtype_, heads_.dim));
  }
  double flops() const {
    double keys = 0;
    for (const Length& l : lengths_) {
      const auto n = static_cast<double>(l.tokens);
      keys += n * static_cast<double>(l.depth) + n * (n + 1) / 2;
    }
    return keys * 4.0 * heads_.heads * heads_.dim;
  }

 private:
  Heads heads_;
  DType dtype_;
  std::vector<Length> lengths_;
  int copies_;
  int64_t rows_ = 0;
  KvStorage storage_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<float> q_, out_;
};

// What the machine does beside a benchmark: its speed moves by a third within a minute.
struct Roofs {
  double read = 0.0;   // bytes per second, mean
  double flops = 0.0;  // of the f32 unit, best
};
Roofs measure_roofs(int threads) {
  Roofs roofs;
  roofs.read = measure_read_mean(threads, 0.2);
  for (const ArithmeticPeak& peak : measure_machine_roofs(threads, 0.4, int64_t{1} << 20).peaks) {
    if (peak.unit == "f32") roofs.flops = std::max(roofs.flops, 2.0 * peak.macs_per_second);
  }
  return roofs;
}

// Bytes per second of touch_pages(), the mean over about 0.2 s.
double measure_pages(const Bench& bench, ThreadPool& pool, int copies) {
  const auto begin = std::chrono::steady_clock::now();
  for (double calls = 1;; ++calls) {
    bench.touch_pages(pool, static_cast<int>(calls) % copies);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (seconds > 0.2) return bench.bytes() * calls / seconds;
  }
}

// threads 0: all.
void add(const std::string& name, const Heads& heads, DType dtype, int32_t block_tokens,
         std::vector<Length> lengths, int64_t shared_tokens, int copies, int threads = 0) {
  const std::string full = name + "/" + heads.name + "/" + std::string(dtype_info(dtype).name) +
                           "/block" + std::to_string(block_tokens) +
                           (threads == 0 ? "" : "/" + std::to_string(threads) + "_thread");
  benchmark::RegisterBenchmark(full.c_str(), [=](benchmark::State& state) {
    const auto ops = make_cpu_ops(threads).value();
    Bench bench(heads, dtype, block_tokens, lengths, shared_tokens, copies);
    int copy = 0;
    double best = 1e30;
    double sum = 0.0;
    ThreadPool pool(threads == 0 ? default_num_threads() : threads);
    const bool once = shared_tokens == 0 && bench.rows() == static_cast<int64_t>(lengths.size());
    const Roofs before = measure_roofs(threads);
    const double pages_before = once ? measure_pages(bench, pool, copies) : 0;
    for (auto _ : state) {
      const auto begin = std::chrono::steady_clock::now();
      bench.run(*ops, copy);
      const double seconds =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      best = std::min(best, seconds);
      sum += seconds;
      copy = (copy + 1) % copies;
    }
    const double pages = once ? (pages_before + measure_pages(bench, pool, copies)) / 2 : 0;
    const Roofs after = measure_roofs(threads);
    const double mean = sum / static_cast<double>(state.iterations());
    const double read = (before.read + after.read) / 2;
    const double flops = std::max(before.flops, after.flops);
    state.counters["best_us"] = best * 1e6;
    state.counters["GB/s"] = bench.bytes() / mean * 1e-9;
    state.counters["read_roof"] = read * 1e-9;
    state.counters["of_read"] = bench.bytes() / mean / read;
    if (once) state.counters["of_pages"] = bench.bytes() / mean / pages;
    state.counters["GFLOP/s"] = bench.flops() / best * 1e-9;
    state.counters["peak"] = flops * 1e-9;
    state.counters["of_peak"] = bench.flops() / best / flops;
  })->UseRealTime();
}

const int kRegistered = [] {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32, DType::kI8}) {
    add("decode_at_8192", kGrouped, dtype, 16, {{8191, 1}}, 0, 16, 1);
    add("decode_at_8192", kUngrouped, dtype, 16, {{8191, 1}}, 0, 4, 1);
    for (const int64_t depth : {2047, 8191}) {
      add("decode_at_" + std::to_string(depth + 1), kGrouped, dtype, 16, {{depth, 1}}, 0,
          static_cast<int>(131072 / depth));
    }
  }
  // What the products and exponentials take: one segment that stays in the caches.
  for (const Heads& heads : {kGrouped, kByFour, kUngrouped, kWide}) {
    add("decode_at_256_cached", heads, DType::kBF16, 16, {{255, 1}}, 0, 1, 1);
  }
  add("decode_at_8192", kGrouped, DType::kBF16, 64, {{8191, 1}}, 0, 16);
  add("decode_at_8192", kGrouped, DType::kBF16, 8, {{8191, 1}}, 0, 16);
  add("decode_at_8192", kGrouped, DType::kBF16, 1, {{8191, 1}}, 0, 16);
  for (const int64_t depth : {2047, 8191}) {
    for (const Heads& heads : {kUngrouped, kByFour}) {
      add("decode_at_" + std::to_string(depth + 1), heads, DType::kBF16, 16, {{depth, 1}}, 0,
          static_cast<int>(32768 / depth));
    }
  }
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32, DType::kI8}) {
    add("decode_at_8192", kWide, dtype, 16, {{8191, 1}}, 0, 8);
  }
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    for (const int64_t depth : {0, 512, 3840}) {
      add("prefill_256_after_" + std::to_string(depth), kGrouped, dtype, 16, {{depth, 256}}, 0, 1);
    }
  }
  add("prefill_4096", kGrouped, DType::kBF16, 16, {{0, 4096}}, 0, 1);
  add("prefill_4096", kWide, DType::kBF16, 16, {{0, 4096}}, 0, 1);
  std::vector<Length> mixed = {{8191, 1}};
  for (int64_t i = 0; i < 63; ++i) mixed.push_back({(i * 37) % 250, 1});
  add("one_of_8192_beside_63", kGrouped, DType::kBF16, 16, mixed, 0, 8);
  mixed.push_back({512, 256});
  add("one_of_8192_beside_63_and_prefill", kGrouped, DType::kBF16, 16, mixed, 0, 8);
  for (const Heads& heads : {kGrouped, kUngrouped}) {
    for (const int64_t shared : {0, 2048}) {
      add("32_of_2112_sharing_" + std::to_string(shared), heads, DType::kBF16, 16,
          std::vector<Length>(32, {2111, 1}), shared, 1);
    }
  }
  return 0;
}();

}  // namespace
}  // namespace ruvllm
