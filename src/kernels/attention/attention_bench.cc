// Attention of one segment of keys on one thread: a decode row, a decode group and a prefill tile,
// per instruction set and cache format. Counters: FLOP/s of the two products, bytes/s of the cache.
// Compare with the matmul benchmarks' measured multiply-add peak.
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "kernels/kernel_lists.h"

namespace ruvllm::kernels {
namespace {

constexpr int32_t kPageTokens = 16;
constexpr int64_t kKeys = kKeySegment;

// What kv_storage and the scratch of ops give the kernels.
struct alignas(64) Line {
  unsigned char bytes[64];
};
std::vector<Line> aligned(size_t bytes, unsigned char value) {
  Line line;
  memset(line.bytes, value, sizeof line.bytes);
  return std::vector<Line>((bytes + 63) / 64, line);
}
float* floats(std::vector<Line>& lines) {
  return reinterpret_cast<float*>(lines.data());
}

void run_segment(benchmark::State& state, const AttentionKernels* kernels, KvFormat format,
                 int32_t tokens, int32_t group, int32_t head_dim) {
  const int64_t elements = kKeys * head_dim;
  const int64_t element = format == KvFormat::kF32 ? 4 : format == KvFormat::kInt8 ? 1 : 2;
  const int64_t page_bytes =
      kPageTokens * (head_dim * element + (format == KvFormat::kInt8 ? 2 : 0));
  const auto bytes = static_cast<size_t>(kKeys / kPageTokens * page_bytes);
  // Bytes 0x3c..: small positive numbers in every format.
  std::vector<Line> k = aligned(bytes, 0x3c);
  std::vector<Line> v = aligned(bytes, 0x3c);
  std::vector<const void*> k_pages;
  std::vector<const void*> v_pages;
  for (size_t i = 0; i < bytes; i += static_cast<size_t>(page_bytes)) {
    k_pages.push_back(k.front().bytes + i);
    v_pages.push_back(v.front().bytes + i);
  }
  const int32_t rows = tokens * group;
  std::vector<Line> q = aligned(sizeof(float) * static_cast<size_t>(rows * head_dim), 0x3c);
  std::vector<Line> state_memory =
      aligned(sizeof(float) * static_cast<size_t>(attention_state_floats(rows, head_dim)), 0);
  std::vector<Line> scratch =
      aligned(sizeof(float) * static_cast<size_t>(attention_scratch_floats(rows, head_dim)), 0);
  float* max = floats(state_memory) + rows * attention_stride(head_dim);
  std::vector<const float*> q_rows;
  for (int32_t t = 0; t < tokens; ++t) q_rows.push_back(floats(q) + int64_t{t} * group * head_dim);
  const std::vector<int64_t> positions(static_cast<size_t>(tokens), kKeys);  // they see all keys
  AttentionSegment segment = {};
  segment.q = q_rows.data();
  segment.positions = positions.data();
  segment.tokens = tokens;
  segment.group = group;
  segment.head_dim = head_dim;
  segment.k_pages = k_pages.data();
  segment.v_pages = v_pages.data();
  segment.page_tokens = kPageTokens;
  segment.format = format;
  segment.key_end = kKeys;
  segment.scale = 0.125f;
  segment.state = {floats(state_memory), max, max + rows};
  segment.scratch = floats(scratch);
  for (auto _ : state) {
    kernels->attend(segment);
    benchmark::ClobberMemory();
  }
  const auto iterations = static_cast<double>(state.iterations());
  state.counters["FLOP/s"] = benchmark::Counter(
      iterations * 4.0 * rows * static_cast<double>(elements), benchmark::Counter::kIsRate);
  state.counters["B/s"] = benchmark::Counter(iterations * 2.0 * static_cast<double>(bytes),
                                             benchmark::Counter::kIsRate);
}

struct Shape {
  const char* name;
  int32_t tokens, group, head_dim;
};

const int kRegistered = [] {
  for (const IsaLevel isa : {IsaLevel::kGeneric, IsaLevel::kAvx2, IsaLevel::kAvx512,
                             IsaLevel::kAvx512Bf16, IsaLevel::kAmx}) {
    if (!isa_supported(isa)) continue;
    for (const Shape& s :
         {Shape{"decode_1_head", 1, 1, 64}, Shape{"decode_4_heads", 1, 4, 64},
          Shape{"decode_8_heads", 1, 8, 64}, Shape{"decode_4_heads_d128", 1, 4, 128},
          Shape{"prefill_64x1", 64, 1, 64}, Shape{"prefill_8x8", 8, 8, 64},
          Shape{"prefill_32x8", 32, 8, 64}, Shape{"prefill_64x1_d128", 64, 1, 128},
          Shape{"prefill_64x4_d128", 64, 4, 128}}) {
      for (const auto& [format, format_name] :
           {std::pair(KvFormat::kF32, "f32"), std::pair(KvFormat::kBf16, "bf16"),
            std::pair(KvFormat::kF16, "f16"), std::pair(KvFormat::kInt8, "int8")}) {
        const AttentionKernels* kernels = &attention_kernels(isa, format);
        if (isa > IsaLevel::kAvx512 && kernels == &attention_kernels(IsaLevel::kAvx512)) continue;
        const std::string name =
            "attend/" + std::string(isa_name(isa)) + "/" + s.name + "/" + format_name;
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
          run_segment(state, kernels, format, s.tokens, s.group, s.head_dim);
        });
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace ruvllm::kernels
