#ifdef RUVLLM_HAS_DOWNLOAD

#include "formats/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>

#include "base/str.h"

namespace ruvllm {
namespace {

int64_t now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// "12.3 MB": decimal units, as hubs and disks count.
std::string human_bytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  while (bytes >= 1000.0 && unit + 1 < std::size(kUnits)) {
    bytes /= 1000.0;
    ++unit;
  }
  const auto tenths = static_cast<int64_t>(bytes * 10.0 + 0.5);
  if (unit == 0) return concat(tenths / 10, " B");
  return concat(tenths / 10, ".", tenths % 10, " ", kUnits[unit]);
}

}  // namespace

ProgressBar::ProgressBar(bool wanted, std::string name, uint64_t total_bytes)
    : visible_(wanted && ::isatty(STDERR_FILENO) == 1),
      name_(std::move(name)),
      total_bytes_(total_bytes) {}

ProgressBar::~ProgressBar() {
  if (drawn_) std::fputc('\n', stderr);
}

std::string ProgressBar::line(const std::string& name, uint64_t done_bytes, uint64_t total_bytes,
                              double bytes_per_s) {
  constexpr uint64_t kCells = 24;
  const double share =
      total_bytes == 0 ? 1.0 : static_cast<double>(done_bytes) / static_cast<double>(total_bytes);
  const auto cells = static_cast<size_t>(share * kCells);
  std::string bar(std::min<size_t>(cells, kCells), '#');
  bar.resize(kCells, '.');
  return concat(name, "  [", bar, "]  ", static_cast<int>(share * 100.0), "%  ",
                human_bytes(static_cast<double>(done_bytes)), " of ",
                human_bytes(static_cast<double>(total_bytes)), "  ", human_bytes(bytes_per_s),
                "/s");
}

void ProgressBar::update(uint64_t done_bytes) {
  if (!visible_) return;
  const int64_t now = now_us();
  if (start_us_ == 0) {
    start_us_ = now;
    first_bytes_ = done_bytes;
  }
  constexpr int64_t kRedrawUs = 100'000;
  if (done_bytes < total_bytes_ && now - last_us_ < kRedrawUs) return;
  last_us_ = now;
  const double seconds = static_cast<double>(std::max<int64_t>(now - start_us_, 1)) * 1e-6;
  const double rate = static_cast<double>(done_bytes - first_bytes_) / seconds;
  const std::string text = concat("\r", line(name_, done_bytes, total_bytes_, rate), "\x1b[K");
  std::fwrite(text.data(), 1, text.size(), stderr);
  drawn_ = true;
}

}  // namespace ruvllm

#endif  // RUVLLM_HAS_DOWNLOAD
