// RUVLLM_UNROLL before a loop of a small constant trip count unrolls it fully, so that arrays of
// vectors indexed by it live in registers.
#pragma once

#if defined(__clang__)
#define RUVLLM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define RUVLLM_UNROLL _Pragma("GCC unroll 16")
#endif
