#include "quantize/isq_config.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/str.h"

namespace ruvllm {
namespace {

constexpr int32_t kMaxGroup = 1 << 16;
constexpr size_t kMaxText = 4096;
constexpr size_t kMaxOverrides = 256;
constexpr int32_t kTunedPasses = 8;  // when it is not said
constexpr int32_t kMostTunedPasses = 64;

struct MethodName {
  std::string_view name;
  IsqMethod method;
};
// The first name of a method is the one isq_text() writes.
constexpr MethodName kMethods[] = {{"rtn", IsqMethod::kRtn},
                                   {"awq", IsqMethod::kAwq},
                                   {"gptq", IsqMethod::kGptq},
                                   {"smoothquant", IsqMethod::kSmoothQuant},
                                   {"sq", IsqMethod::kSmoothQuant}};

template <typename... Parts>
Status bad(std::string_view part, const Parts&... parts) {
  return fail(ErrorCode::kInvalidArgument, concat("isq: ", printable(part, 60), ": ", parts...));
}

// Bits per weight of the narrowest and the widest of auto's widths, in a matrix that has no partly
// filled words or groups.
std::pair<double, double> auto_range(bool symmetric) {
  constexpr int64_t kSize = 640;
  Grid grid;
  grid.symmetric = symmetric;
  double least = INFINITY;
  double most = 0.0;
  for (const GridWidth width : kAutoWidths) {
    const auto bytes = static_cast<double>(stored_bytes(grid_of(width, grid), kSize, kSize));
    const double bits = 8.0 * bytes / static_cast<double>(kSize * kSize);
    least = std::min(least, bits);
    most = std::max(most, bits);
  }
  return {least, most};
}

bool known_bits(int32_t bits) {
  return bits == 2 || bits == 3 || bits == 4 || bits == 8;
}

// Cuts `text` at the first `separator`; `text` becomes the rest.
std::string_view next_part(std::string_view& text, char separator) {
  const size_t at = std::min(text.find(separator), text.size());
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return part;
}

Status parse_group(std::string_view part, int32_t& group) {
  if (!part.starts_with('g') || !parse_number(part.substr(1), group) || group < 8 ||
      group > kMaxGroup) {
    return bad(part, "expected gN, a group of 8 to ", kMaxGroup, " weights");
  }
  return {};
}

Status parse_method(std::string_view part, std::string_view& rest, IsqConfig& config) {
  if (part == "auto") {
    const std::string_view bits = next_part(rest, ':');
    config.method = IsqMethod::kGptq;
    if (parse_number(bits, config.auto_bits) && config.auto_bits > 0.0) return {};
    return bad(concat(part, ":", bits), "expected auto:BITS, such as auto:2.6");
  }
  for (const auto& [name, method] : kMethods) {
    int32_t bits = 0;
    if (!part.starts_with(name) || !parse_number(part.substr(name.size()), bits)) continue;
    config.method = method;
    config.bits = bits;
    return {};
  }
  return bad(part, "expected a method and bits, such as rtn8, awq4, gptq3, smoothquant8, auto:2.6");
}

Status parse_override(std::string_view part, IsqConfig& config) {
  const size_t equals = part.rfind('=');
  if (equals == std::string_view::npos || equals == 0) return bad(part, "expected PATTERN=BITS");
  IsqOverride override_;
  override_.pattern = part.substr(0, equals);
  std::string_view value = part.substr(equals + 1);
  const std::string_view bits = next_part(value, ':');
  if (bits == "keep") {
    override_.bits = 0;
  } else if (!parse_number(bits, override_.bits) || !known_bits(override_.bits)) {
    return bad(part, "expected 2, 3, 4, 8 or keep");
  }
  if (!value.empty()) RUVLLM_TRY(parse_group(value, override_.group_size));
  if (config.overrides.size() >= kMaxOverrides) return bad(part, "too many patterns");
  config.overrides.push_back(std::move(override_));
  return {};
}

Status parse_tuned(std::string_view part, int32_t& passes) {
  constexpr size_t kName = std::string_view("tuned").size();
  if (part.size() == kName) {
    passes = kTunedPasses;
    return {};
  }
  if (parse_number(part.substr(kName), passes) && passes >= 1 && passes <= kMostTunedPasses) {
    return {};
  }
  return bad(part, "expected tunedN, 1 to ", kMostTunedPasses, " passes over the text");
}

Status check_tuned(const IsqConfig& config) {
  if (config.tuned_passes < 1 || config.tuned_passes > kMostTunedPasses) {
    return bad(concat("tuned", config.tuned_passes), "expected 1 to ", kMostTunedPasses,
               " passes over the text");
  }
  if (config.method != IsqMethod::kRtn && config.method != IsqMethod::kGptq) {
    return bad("tuned", "goes with rtn, gptq and auto");
  }
  if (config.auto_bits == 0.0 && config.bits == 8) {
    return bad("tuned", "8 bits leave nothing to tune");
  }
  if (config.rotate) return bad("tuned", "does not go with rot");
  return {};
}

}  // namespace

bool needs_calibration(IsqMethod method) {
  return method != IsqMethod::kRtn;
}

bool needs_calibration(const IsqConfig& config) {
  return needs_calibration(config.method) || config.tuned_passes != 0;
}

Status check_isq(const IsqConfig& config) {
  if (!known_bits(config.bits)) return bad(concat(config.bits, " bits"), "expected 2, 3, 4 or 8");
  if (config.method == IsqMethod::kSmoothQuant && config.bits != 8) {
    return bad(concat(config.bits, " bits"), "smoothquant has 8");
  }
  if (config.method == IsqMethod::kSmoothQuant && config.group_size != 0) {
    return bad("group", "smoothquant has one scale per row");
  }
  if (config.group_size != 0 && (config.group_size < 8 || config.group_size > kMaxGroup)) {
    return bad(concat("group ", config.group_size), "expected 8 to ", kMaxGroup);
  }
  if (config.calibration_samples < 1 || config.calibration_samples > 1 << 16) {
    return bad(concat(config.calibration_samples, " calibration samples"), "expected 1 to 65536");
  }
  const auto [least, most] = auto_range(config.symmetric);
  if (config.auto_bits != 0.0 && !(config.auto_bits >= least && config.auto_bits <= most)) {
    return bad(concat("auto:", config.auto_bits), "expected ", least, " to ", most,
               " bits per weight");
  }
  if (config.auto_bits != 0.0 && (config.method != IsqMethod::kGptq || config.group_size != 0)) {
    return bad("auto", "chooses groups by itself, and its method is gptq");
  }
  if (config.rotate && config.method != IsqMethod::kRtn && config.method != IsqMethod::kGptq) {
    return bad("rot", "goes with rtn and gptq");
  }
  if (config.tuned_passes != 0) RUVLLM_TRY(check_tuned(config));
  for (const IsqOverride& item : config.overrides) {
    if (item.pattern.empty() || (item.bits != 0 && !known_bits(item.bits))) {
      return bad(item.pattern, "expected a pattern and 2, 3, 4, 8 or 0 bits");
    }
  }
  return {};
}

Result<IsqConfig> parse_isq(std::string_view text) {
  if (text.size() > kMaxText) {
    return fail(ErrorCode::kInvalidArgument, concat("isq: longer than ", kMaxText, " characters"));
  }
  IsqConfig config;
  std::string_view rest = text;
  std::string_view main = next_part(rest, ',');
  const std::string_view method = next_part(main, ':');
  RUVLLM_TRY(parse_method(method, main, config));
  while (!main.empty()) {
    const std::string_view part = next_part(main, ':');
    if (part == "sym") {
      config.symmetric = true;
    } else if (part == "asym") {
      config.symmetric = false;
    } else if (part == "rot") {
      config.rotate = true;
    } else if (part.starts_with("tuned")) {
      RUVLLM_TRY(parse_tuned(part, config.tuned_passes));
    } else if (part.starts_with("seed")) {
      if (!parse_number(part.substr(4), config.seed)) {
        RUVLLM_TRY(bad(part, "expected seedN"));
      }
    } else {
      RUVLLM_TRY(parse_group(part, config.group_size));
    }
  }
  while (!rest.empty()) RUVLLM_TRY(parse_override(next_part(rest, ','), config));
  RUVLLM_TRY(check_isq(config));
  return config;
}

std::string isq_text(const IsqConfig& config) {
  std::string out;
  for (const auto& [name, method] : kMethods) {
    if (out.empty() && method == config.method) out = concat(name, config.bits);
  }
  if (config.auto_bits != 0.0) out = concat("auto:", config.auto_bits);
  if (config.group_size != 0) out += concat(":g", config.group_size);
  if (config.symmetric) out += ":sym";
  if (config.rotate) out += ":rot";
  if (config.tuned_passes == kTunedPasses) {
    out += ":tuned";
  } else if (config.tuned_passes != 0) {
    out += concat(":tuned", config.tuned_passes);
  }
  if (config.seed != 0) out += concat(":seed", config.seed);
  for (const IsqOverride& item : config.overrides) {
    out += concat(",", item.pattern, "=", item.bits == 0 ? "keep" : concat(item.bits));
    if (item.group_size != 0) out += concat(":g", item.group_size);
  }
  return out;
}

MatrixScheme scheme_of(const IsqConfig& config, std::string_view tensor_name, MatrixKind kind) {
  constexpr int64_t kDefaultGroup = 32;
  MatrixScheme scheme;
  scheme.method = kind == MatrixKind::kLinear ? config.method : IsqMethod::kRtn;
  int32_t bits = kind == MatrixKind::kLinear ? config.bits : 8;
  int32_t group = kind == MatrixKind::kLinear ? config.group_size : 0;
  for (const IsqOverride& item : config.overrides) {
    const bool fits = (item.pattern == "embed" && kind == MatrixKind::kEmbedding) ||
                      (item.pattern == "head" && kind == MatrixKind::kHead) ||
                      tensor_name.find(item.pattern) != std::string_view::npos;
    if (!fits) continue;
    scheme.fixed = true;
    bits = item.bits;
    if (item.group_size != 0) group = item.group_size;
  }
  scheme.keep = bits == 0;
  if (scheme.keep) return scheme;
  // Other bits than 8 of a SmoothQuant model are rounded.
  if (scheme.method == IsqMethod::kSmoothQuant && bits != 8) scheme.method = IsqMethod::kRtn;
  const bool by_row = scheme.method == IsqMethod::kSmoothQuant && group == 0;
  scheme.grid.bits = bits;
  scheme.grid.group_size = by_row ? 0 : group != 0 ? group : kDefaultGroup;
  scheme.grid.symmetric = config.symmetric || bits == 8;
  // The best range for each group, by squared error. For 8 bits it is the whole range.
  scheme.grid.search = bits < 8 && scheme.method == IsqMethod::kRtn;
  scheme.rotate = config.rotate && kind == MatrixKind::kLinear;
  scheme.tuned = config.tuned_passes != 0 && kind == MatrixKind::kLinear;
  return scheme;
}

Grid grid_of(GridWidth width, const Grid& as) {
  Grid grid = as;
  grid.bits = width.bits;
  grid.group_size = width.group_size;
  grid.symmetric = as.symmetric || width.bits == 8;
  grid.search = width.bits < 8;
  return grid;
}

uint64_t stored_bytes(const Grid& grid, int64_t rows, int64_t cols) {
  const int64_t per_word = 32 / grid.bits;
  const int64_t groups = (cols + grid.group_of(cols) - 1) / grid.group_of(cols);
  const int64_t codes = rows * ((cols + per_word - 1) / per_word) * 4;
  const int64_t zeros = grid.symmetric ? 0 : (rows + per_word - 1) / per_word * groups * 4;
  return static_cast<uint64_t>(codes + rows * groups * 2 + zeros);
}

}  // namespace ruvllm
