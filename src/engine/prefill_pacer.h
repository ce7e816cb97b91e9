// PrefillPacer: how many prompt rows may stand beside decoding rows in a step, so that those who
// decode wait about kStretch times as long for their next token as they would alone: below 3 times
// even where the estimate is off, while a prompt keeps half of its speed (rows in small steps cost
// about a fifth more). Where more wait for their first token than decode, a step's time is shared
// by their numbers instead: short steps would keep the many waiting, and cost throughput. Learns
// the two costs from the steps themselves. While prompts wait there is no step that only decodes,
// so what one would take is carried over from the last that was, to as many rows as decode now.
// Values depend on measured time; which tokens come does not.
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
    decode_rows_ = decode_rows;
    if (prefill_rows == 0) {
      set_decode_seconds(mix(decode_seconds(), seconds));
      return;
    }
    if (prefill_rows < kLeastRows) return;  // too few to tell
    if (decode_rows > 0 && measured_seconds_ == 0.0) {
      if (row_seconds_ > 0.0) {
        set_decode_seconds(std::max(seconds - row_seconds_ * static_cast<double>(prefill_rows),
                                    row_seconds_ * static_cast<double>(decode_rows)));
      }
      return;
    }
    const double rest = decode_rows > 0 ? seconds - decode_seconds() : seconds;
    row_seconds_ = mix(row_seconds_, std::max(rest, 0.0) / static_cast<double>(prefill_rows));
  }

  // Beside decoding rows, while so many sequences wait for their first token.
  int32_t limit(int64_t waiting) const {
    if (measured_seconds_ == 0.0 || row_seconds_ == 0.0) return kFirstRows;
    const double more =
        static_cast<double>(waiting) / static_cast<double>(std::max<int64_t>(decode_rows_, 1));
    const double rows = std::max(kStretch - 1.0, more) * decode_seconds() / row_seconds_;
    return static_cast<int32_t>(std::clamp(rows, double{kLeastRows}, 1e6));
  }

 private:
  static constexpr double kStretch = 2.4;
  static constexpr int32_t kFirstRows = 64;
  static constexpr int32_t kLeastRows = 8;
  static double mix(double old, double value) {
    return old == 0.0 ? value : old + 0.2 * (value - old);
  }

  // Of a step that only decodes, as many rows as the last step did; 0: not known. A row more or
  // less counts as one of a prompt.
  double decode_seconds() const {
    if (measured_seconds_ == 0.0) return 0.0;
    const auto more_rows = static_cast<double>(decode_rows_ - measured_rows_);
    return std::max(measured_seconds_ + row_seconds_ * more_rows,
                    row_seconds_ * static_cast<double>(decode_rows_));
  }
  void set_decode_seconds(double seconds) {
    measured_seconds_ = seconds;
    measured_rows_ = decode_rows_;
  }

  int64_t decode_rows_ = 0;        // of the last step
  double measured_seconds_ = 0.0;  // of a step that only decodes measured_rows_ rows
  int64_t measured_rows_ = 0;
  double row_seconds_ = 0.0;  // of one prompt row more
};

}  // namespace ruvllm
