// One line on stderr that shows how far a download is, redrawn at most ten times a second and only
// when stderr is a terminal. The destructor ends the line. One thread.
#pragma once

#include <cstdint>
#include <string>

namespace ruvllm {

class ProgressBar {
 public:
  ProgressBar(bool wanted, std::string name, uint64_t total_bytes);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(uint64_t done_bytes);

  // The line itself: "name  [####....]  43%  1.2 GB of 2.8 GB  12.3 MB/s".
  static std::string line(const std::string& name, uint64_t done_bytes, uint64_t total_bytes,
                          double bytes_per_s);

 private:
  bool visible_;
  bool drawn_ = false;
  std::string name_;
  uint64_t total_bytes_;
  uint64_t first_bytes_ = 0;  // where this run began
  int64_t start_us_ = 0;
  int64_t last_us_ = 0;
};

}  // namespace ruvllm
