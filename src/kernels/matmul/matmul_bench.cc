// Matmul kernels on one thread, every level of the lists that this machine has: streaming few rows
// of x past weights larger than the caches (bytes/s beside the read benchmark), one row in the
// second-level cache, and tiles of many rows (items are multiply-adds, beside the peak benchmarks).
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "kernels/matmul/grouped_pack.h"
#include "kernels/matmul/matmul_kernels.h"
#include "kernels/matmul/quant_pack.h"
#include "kernels/roofs/peak_loops.h"

namespace ruvllm::kernels {
namespace {

constexpr int64_t kCols = 2048;
constexpr int64_t kStreamBytes = int64_t{96} << 20;

void read_memory(benchmark::State& state) {
  std::vector<uint64_t> words(kStreamBytes / 8, 1);
  for (auto _ : state) {
    uint64_t a = 0, b = 0;
    for (size_t i = 0; i < words.size(); i += 8) {
      a |= words[i] | words[i + 1] | words[i + 2] | words[i + 3];
      b |= words[i + 4] | words[i + 5] | words[i + 6] | words[i + 7];
    }
    benchmark::DoNotOptimize(a | b);
  }
  state.SetBytesProcessed(state.iterations() * kStreamBytes);
}

void peak(benchmark::State& state, const PeakLoop* loop) {
  for (auto _ : state) benchmark::DoNotOptimize(loop->run(10000));
  state.SetItemsProcessed(state.iterations() * loop->macs_per_round * 10000);
}

void stream_bf16(benchmark::State& state, const FloatDotKernel* kernel) {
  const std::vector<uint16_t> w(kStreamBytes / 2, 0x3c00);
  const std::vector<float> x(kCols, 0.5f);
  std::vector<const void*> rows;
  for (size_t i = 0; i < w.size(); i += kCols) rows.push_back(w.data() + i);
  std::vector<float> y(rows.size());
  const FloatRowsArgs args{rows.data(), static_cast<int64_t>(rows.size()), x.data(), kCols,
                           y.data()};
  for (auto _ : state) kernel->rows_bf16(&args);
  state.SetBytesProcessed(state.iterations() * kStreamBytes);
}

void tile_f32(benchmark::State& state, const FloatDotKernel* kernel) {
  const std::vector<float> x(static_cast<size_t>(kernel->tile_x * kFloatBlock), 0.5f);
  const std::vector<float> w(static_cast<size_t>(kernel->tile_w * kFloatBlock), 0.5f);
  std::vector<float> sums(kMaxTileX * kMaxTileW);
  const FloatTileArgs args{
      x.data(),       w.data(), kFloatBlock / kernel->lanes, kernel->tile_x, sums.data(),
      kernel->tile_x, 0};
  for (auto _ : state) kernel->tile(&args);
  state.SetItemsProcessed(state.iterations() * kernel->tile_x * kernel->tile_w * kFloatBlock);
}

// Panels of one format; block formats and codes alike.
struct Panels {
  QuantFormat format;
  int64_t panel_bytes;
  int64_t scale_groups = 0;
  bool one_x_scale = false;
};

void quant(benchmark::State& state, const QuantPanelKernel* kernel, Panels shape, int64_t num_x,
           int64_t bytes) {
  const int64_t groups = kCols / kQuantGroup;
  const int64_t panels = bytes / shape.panel_bytes;
  const int64_t lead = shape.one_x_scale ? shape.panel_bytes % 64 : 0;  // the header's
  if (shape.one_x_scale) shape.panel_bytes = (shape.panel_bytes + 63) / 64 * 64;
  // Any codes; scales that are neither huge nor subnormal, zero points in the middle.
  std::vector<uint8_t> storage(static_cast<size_t>(panels * shape.panel_bytes + 192), 0x88);
  // Codes behind a single header begin a line, as in memory of weights.
  const uint8_t* const w =
      storage.data() + (64 - reinterpret_cast<uintptr_t>(storage.data()) % 64) + (64 - lead);
  // Every word is a moderate scale (small ones would be slow).
  const std::vector<uint32_t> words(static_cast<size_t>((num_x + 16) * groups * kRecordWords + 16),
                                    0x3c003c00);
  const uint32_t* const x =
      words.data() + (64 - reinterpret_cast<uintptr_t>(words.data()) % 64) / sizeof(uint32_t);
  std::vector<float> sums(static_cast<size_t>(num_x * panels * kernel->panel_rows));
  const QuantPanelArgs args{w,
                            panels,
                            shape.panel_bytes,
                            groups,
                            x,
                            num_x,
                            sums.data(),
                            panels * kernel->panel_rows,
                            shape.scale_groups,
                            true,
                            shape.one_x_scale,
                            stream_ahead_bytes(),
                            nullptr};
  const auto product = kernel->products[static_cast<size_t>(shape.format)];
  for (auto _ : state) product(&args);
  state.SetBytesProcessed(state.iterations() * panels * shape.panel_bytes);
  state.SetItemsProcessed(state.iterations() * panels * kernel->panel_rows * kCols * num_x);
}

template <typename... Args>
void add(IsaLevel level, const std::string& name, Args... args) {
  const std::string full = name + "/" + std::string(isa_name(level));
  if (isa_supported(level)) {
    benchmark::RegisterBenchmark(full.c_str(), args...);
  } else {
    std::printf("not run here: %s\n", full.c_str());
  }
}

bool register_all() {
  benchmark::RegisterBenchmark("read_memory", read_memory);
#define KERNEL(level, symbol) \
  add(IsaLevel::level, std::string("peak_") + symbol.unit, peak, &symbol);
#include "kernels/roofs/peak_loops.inc"
#undef KERNEL
  for (const auto& [level, kernel] : float_dot_kernels()) {
    add(level, "stream_bf16", stream_bf16, kernel);
    add(level, "tile_f32", tile_f32, kernel);
  }
  constexpr int64_t kGroups = kCols / kQuantGroup;
  for (const auto& [level, kernel] : quant_panel_kernels()) {
    const auto add_quant = [&](const std::string& name, const Panels& panels) {
      add(level, "stream_" + name, quant, kernel, panels, int64_t{1}, kStreamBytes);
      add(level, "row_" + name, quant, kernel, panels, int64_t{1}, int64_t{256} << 10);
      for (const int64_t rows : {2, 4, 8}) {
        add(level, "stream" + std::to_string(rows) + "_" + name, quant, kernel, panels, rows,
            kStreamBytes);
      }
      add(level, "tile_" + name, quant, kernel, panels, int64_t{64}, int64_t{256} << 10);
      if (kernel->quantize_tile != nullptr) {
        add(level, "tiles_" + name, quant, kernel, panels, int64_t{512}, int64_t{528} << 10);
      }
    };
    const int64_t rows = kernel->panel_rows;
    for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                              DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
      const QuantLayout& layout = *quant_layout(dtype);
      add_quant(std::string(dtype_info(dtype).name),
                {quant_format(layout), quant_panel_bytes(layout, rows, kGroups)});
    }
    add_quant("I8_row",
              {grouped_format(8, false),
               grouped_panel_bytes({8, rows, kGroups, kGroups, true, false}), kGroups, true});
    for (const int32_t bits : {8, 4, 3, 2}) {
      for (const int64_t scale_groups : {1, 2, 4}) {
        add_quant(
            "I" + std::to_string(bits) + "_g" + std::to_string(32 * scale_groups),
            {grouped_format(bits, false),
             grouped_panel_bytes({bits, rows, kGroups, scale_groups, true, false}), scale_groups});
      }
      if (bits == 8) continue;
      add_quant("I" + std::to_string(bits) + "_g16",
                {grouped_format(bits, true),
                 grouped_panel_bytes({bits, rows, kGroups, 1, true, true}), 1});
    }
  }
  return true;
}

[[maybe_unused]] const bool kRegistered = register_all();

}  // namespace
}  // namespace ruvllm::kernels
