// Which instruction sets this machine has, and which one the kernels are picked for.
//
// An IsaLevel names a set of kernels (and the files *_<name>.cc). A level runs what its own files
// hold and, where they hold nothing for an operation, what the level below it holds: avx512vnni ->
// avx512 -> avx2 -> generic, neon_i8mm -> neon_dotprod -> neon -> generic. Decided once when the
// Ops are made; RUVLLM_ISA=<name> forces a level and is refused by name when this machine or this
// build lacks it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "ruvllm/result.h"

namespace ruvllm::kernels {

enum class IsaLevel : uint8_t {
  kGeneric,      // portable C++: any machine, WASM too
  kNeon,         // aarch64: any
  kNeonDotprod,  // SDOT
  kNeonI8mm,     // SDOT, USDOT, SMMLA
  kAvx2,         // AVX2, FMA, F16C
  kAvxVnni,      // AVX2 and the VEX form of VNNI
  kAvx512,       // F, BW, DQ, VL
  kAvx512Vnni,
  kAvx512Bf16,  // VNNI and BF16
  kAmx,         // tiles, int8 and bf16
};

// Every level, in the order of the enum.
std::span<const IsaLevel> all_isa_levels();
std::string_view isa_name(IsaLevel level);

// The level whose kernels `level` uses where it has none of its own; kGeneric falls back to itself.
IsaLevel isa_fallback(IsaLevel level);
// Whether a kernel made for `kernel` may run where `level` is picked: `kernel` is `level` or on its
// way down.
bool isa_includes(IsaLevel level, IsaLevel kernel);

// Whether the processor and the operating system can run this level's instructions.
bool isa_supported(IsaLevel level);

// Whether the dot product of kAvx512Bf16 is faster than f32 here: on AMD's processors (measured on
// two cores of Zen 5: 468 GMAC/s, f32 254; of Zen 4: 234, f32 117), not on Intel's (105, f32 228).
bool has_fast_bf16_dot();

// How far ahead of a stream of weights memory is best fetched into the first level; 0: whatever is
// best for most processors of an instruction set. 8 KB on AMD's from Zen 5 on (two cores, both
// streaming, GB/s with 8 KB and with what is best on Zen 4: Q8_0 28-33 and 26, I8 with a scale a
// row 33 and 21, in groups of 128 32 and 16, Q4_K 35 and 21, I4 32 and 24; a plain loop of loads
// 20-26).
int64_t stream_ahead_bytes();

// The highest supported level, or what RUVLLM_ISA asks for.
Result<IsaLevel> pick_isa();
// As pick_isa with the variable's value given; empty: not set.
Result<IsaLevel> pick_isa(std::string_view forced);

}  // namespace ruvllm::kernels
