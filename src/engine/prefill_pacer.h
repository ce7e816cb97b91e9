// PrefillPacer: how many prompt rows may stand beside decoding rows in a step, so that those who
// decode wait at most kStretch times as long for their next token as they would alone. Learns the
// two costs from the steps themselves. Values depend on measured time; which tokens come does not.
//
// One thread. Nothing fails.
#pragma once

#include <algorithm>
#include <cstdint>

namespace ruvllm {

class PrefillPacer {
 public:
  // A step that took `seconds`.
  void observe(int64_t decode_rows, int64_t prefill_rows, double seconds) {
    if (prefill_rows == 0) {
      decode_seconds_ = mix(decode_seconds_, seconds);
      return;
    }
    if (prefill_rows < kLeastRows) return;  // too few to tell
    if (decode_rows > 0 && decode_seconds_ == 0.0) {
      if (row_seconds_ > 0.0) {
        decode_seconds_ = std::max(seconds - row_seconds_ * static_cast<double>(prefill_rows),
                                   row_seconds_ * static_cast<double>(decode_rows));
      }
      return;
    }
    const double rest = decode_rows > 0 ? seconds - decode_seconds_ : seconds;
    row_seconds_ = mix(row_seconds_, std::max(rest, 0.0) / static_cast<double>(prefill_rows));
  }

  // Beside decoding rows.
  int32_t limit() const {
    if (decode_seconds_ == 0.0 || row_seconds_ == 0.0) return kFirstRows;
    const double rows = (kStretch - 1.0) * decode_seconds_ / row_seconds_;
    return static_cast<int32_t>(std::clamp(rows, double{kLeastRows}, 1e6));
  }

 private:
  static constexpr double kStretch = 2.6;
  static constexpr int32_t kFirstRows = 64;
  static constexpr int32_t kLeastRows = 8;
  static double mix(double old, double value) {
    return old == 0.0 ? value : old + 0.2 * (value - old);
  }

  double decode_seconds_ = 0.0;  // of a step that only decodes
  double row_seconds_ = 0.0;     // of one prompt row more
};

}  // namespace ruvllm
