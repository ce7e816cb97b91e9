#include "kernels/cpu_isa.h"

#include <array>
#include <cstdlib>

#include "base/str.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace ruvllm::kernels {
namespace {

struct IsaInfo {
  IsaLevel level;
  IsaLevel fallback;
  std::string_view name;
};

constexpr IsaInfo kInfos[] = {
    {IsaLevel::kGeneric, IsaLevel::kGeneric, "generic"},
    {IsaLevel::kNeon, IsaLevel::kGeneric, "neon"},
    {IsaLevel::kNeonDotprod, IsaLevel::kNeon, "neon_dotprod"},
    {IsaLevel::kNeonI8mm, IsaLevel::kNeonDotprod, "neon_i8mm"},
    {IsaLevel::kAvx2, IsaLevel::kGeneric, "avx2"},
    {IsaLevel::kAvxVnni, IsaLevel::kAvx2, "avxvnni"},
    {IsaLevel::kAvx512, IsaLevel::kAvx2, "avx512"},
    {IsaLevel::kAvx512Vnni, IsaLevel::kAvx512, "avx512vnni"},
    {IsaLevel::kAvx512Bf16, IsaLevel::kAvx512Vnni, "avx512bf16"},
    {IsaLevel::kAmx, IsaLevel::kAvx512Bf16, "amx"},
};

constexpr uint32_t kZen5Family = 0x1a;

constexpr size_t kNumLevels = std::size(kInfos);

constexpr auto kLevels = [] {
  std::array<IsaLevel, kNumLevels> levels{};
  for (size_t i = 0; i < kNumLevels; ++i) levels[i] = kInfos[i].level;
  return levels;
}();

const IsaInfo& info(IsaLevel level) {
  return kInfos[static_cast<size_t>(level)];
}

#if defined(__x86_64__)

uint64_t xgetbv0() {
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

bool bit(uint32_t word, int n) {
  return ((word >> n) & 1u) != 0;
}

// Linux hands the AMX tile data state only to those who ask.
bool request_amx_state() {
#if defined(__linux__)
  constexpr long kArchReqXcompPerm = 0x1023;
  constexpr long kXfeatureTileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureTileData) == 0;
#else
  return false;
#endif
}

bool made_by_amd() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(0, &a, &b, &c, &d) == 0) return false;
  return b == signature_AMD_ebx && c == signature_AMD_ecx && d == signature_AMD_edx;
}

// The family as vendors count it: base and extended family added.
uint32_t cpu_family() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return 0;
  const uint32_t base = (a >> 8) & 0xf;
  return base == 0xf ? base + ((a >> 20) & 0xff) : base;
}

using Supported = std::array<bool, kNumLevels>;

Supported detect() {
  Supported out{};
  out[static_cast<size_t>(IsaLevel::kGeneric)] = true;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return out;
  const bool has_xgetbv = bit(c, 27);
  const bool fma = bit(c, 12);
  const bool f16c = bit(c, 29);
  if (!has_xgetbv || !bit(c, 28)) return out;
  // What the operating system saves: SSE and AVX state, the three AVX-512 states, the two of AMX.
  const uint64_t saved = xgetbv0();
  const bool os_avx = (saved & 0x6) == 0x6;
  const bool os_avx512 = (saved & 0xe6) == 0xe6;
  const bool os_amx = (saved & 0x60000) == 0x60000;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return out;
  const bool has_leaf_1 = a >= 1;
  const bool avx2 = os_avx && fma && f16c && bit(b, 5) && bit(b, 8);
  const bool avx512 = avx2 && os_avx512 && bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);
  const bool vnni512 = avx512 && bit(c, 11);
  const bool amx = os_amx && bit(d, 22) && bit(d, 24) && bit(d, 25);
  if (has_leaf_1) __get_cpuid_count(7, 1, &a, &b, &c, &d);
  const bool avxvnni = avx2 && has_leaf_1 && bit(a, 4);
  const bool bf16 = vnni512 && has_leaf_1 && bit(a, 5);
  out[static_cast<size_t>(IsaLevel::kAvx2)] = avx2;
  out[static_cast<size_t>(IsaLevel::kAvxVnni)] = avxvnni;
  out[static_cast<size_t>(IsaLevel::kAvx512)] = avx512;
  out[static_cast<size_t>(IsaLevel::kAvx512Vnni)] = vnni512;
  out[static_cast<size_t>(IsaLevel::kAvx512Bf16)] = bf16;
  out[static_cast<size_t>(IsaLevel::kAmx)] = bf16 && amx && request_amx_state();
  return out;
}

#else

bool made_by_amd() {
  return false;
}

uint32_t cpu_family() {
  return 0;
}

std::array<bool, kNumLevels> detect() {
  std::array<bool, kNumLevels> out{};
  out[static_cast<size_t>(IsaLevel::kGeneric)] = true;
#if defined(__aarch64__)
  out[static_cast<size_t>(IsaLevel::kNeon)] = true;
#if defined(__linux__)
  // Bits of the kernel's interface (asm/hwcap.h), by number: old headers lack the second.
  constexpr unsigned long kHasAsimdDp = 1UL << 20;  // of AT_HWCAP
  constexpr unsigned long kHasI8mm = 1UL << 13;     // of AT_HWCAP2
  const bool dotprod = (getauxval(AT_HWCAP) & kHasAsimdDp) != 0;
  out[static_cast<size_t>(IsaLevel::kNeonDotprod)] = dotprod;
  out[static_cast<size_t>(IsaLevel::kNeonI8mm)] = dotprod && (getauxval(AT_HWCAP2) & kHasI8mm) != 0;
#endif
#endif
  return out;
}

#endif

std::string names(bool supported_only) {
  std::string out;
  for (const IsaInfo& row : kInfos) {
    if (supported_only && !isa_supported(row.level)) continue;
    if (!out.empty()) out += ", ";
    out += row.name;
  }
  return out;
}

}  // namespace

std::span<const IsaLevel> all_isa_levels() {
  return kLevels;
}

std::string_view isa_name(IsaLevel level) {
  return info(level).name;
}

IsaLevel isa_fallback(IsaLevel level) {
  return info(level).fallback;
}

bool isa_includes(IsaLevel level, IsaLevel kernel) {
  while (level != kernel && level != IsaLevel::kGeneric) level = isa_fallback(level);
  return level == kernel;
}

bool isa_supported(IsaLevel level) {
  static const auto supported = detect();
  return supported[static_cast<size_t>(level)];
}

bool has_fast_bf16_dot() {
  static const bool fast = isa_supported(IsaLevel::kAvx512Bf16) && made_by_amd();
  return fast;
}

int64_t stream_ahead_bytes() {
  static const int64_t bytes = made_by_amd() && cpu_family() >= kZen5Family ? 8192 : 0;
  return bytes;
}

Result<IsaLevel> pick_isa() {
  const char* forced = std::getenv("RUVLLM_ISA");
  return pick_isa(forced == nullptr ? std::string_view() : std::string_view(forced));
}

Result<IsaLevel> pick_isa(std::string_view forced) {
  if (forced.empty()) {
    IsaLevel best = IsaLevel::kGeneric;
    for (const IsaLevel level : kLevels) {
      if (isa_supported(level)) best = level;
    }
    return best;
  }
  for (const IsaInfo& row : kInfos) {
    if (row.name != forced) continue;
    if (isa_supported(row.level)) return row.level;
    return fail(
        ErrorCode::kUnsupported,
        concat("RUVLLM_ISA=", forced, ": this machine cannot run it; it has ", names(true)));
  }
  return fail(ErrorCode::kUnsupported, concat("RUVLLM_ISA=", printable(forced),
                                              ": no such instruction set; known: ", names(false)));
}

}  // namespace ruvllm::kernels
