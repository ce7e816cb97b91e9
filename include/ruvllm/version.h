// The version of the library, as numbers and as text. Constant; no state.
#pragma once

namespace ruvllm {

inline constexpr int kVersionMajor = 0;
inline constexpr int kVersionMinor = 1;
inline constexpr int kVersionPatch = 0;
inline constexpr const char kVersion[] = "0.1.0";

}  // namespace ruvllm
