// What --isq means: its text as an IsqConfig, and what that says about one matrix. Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "quantize/grid.h"
#include "ruvllm/options.h"
#include "ruvllm/result.h"

namespace ruvllm {

// METHODBITS[:gGROUP][:sym][:rot][:tuned[N]][:seedN][,PATTERN=BITS[:gGROUP]...], or auto:BITS with
// a fraction for METHODBITS; BITS of a pattern may be "keep". kInvalidArgument naming the part that
// is wrong and what was expected.
Result<IsqConfig> parse_isq(std::string_view text);
// The inverse; equal configurations have equal texts.
std::string isq_text(const IsqConfig& config);
// Of a config that was not parsed.
Status check_isq(const IsqConfig& config);

bool needs_calibration(IsqMethod method);
// Whether a text is read.
bool needs_calibration(const IsqConfig& config);

enum class MatrixKind : uint8_t { kEmbedding, kHead, kLinear };

struct MatrixScheme {
  bool keep = false;   // as stored
  bool fixed = false;  // by an override
  IsqMethod method = IsqMethod::kRtn;
  Grid grid;
  bool rotate = false;
  bool tuned = false;  // below 8 bits: distill.h goes on from what the method gives
};
MatrixScheme scheme_of(const IsqConfig& config, std::string_view tensor_name, MatrixKind kind);

// What auto chooses from for each part of a model.
struct GridWidth {
  int32_t bits;
  int64_t group_size;
};
inline constexpr GridWidth kAutoWidths[] = {{2, 128}, {2, 64},  {2, 32}, {2, 16}, {3, 128}, {3, 64},
                                            {3, 32},  {4, 128}, {4, 64}, {4, 32}, {8, 64}};
// The grid of that width, for what else `as` says.
Grid grid_of(GridWidth width, const Grid& as);

// Bytes of a matrix [rows, cols] on that grid as it is stored: packed codes, f16 scales, packed
// zero points.
uint64_t stored_bytes(const Grid& grid, int64_t rows, int64_t cols);

}  // namespace ruvllm
