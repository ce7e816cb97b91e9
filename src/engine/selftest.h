// The self test: replays goldens that are built into the binary on this machine, with the kernels
// it would use, and reports each. No files are read.
//
// What is compared: element formats with known values; the sampler and its generator with known
// draws; a tokenizer with known ids; a chat template with a known text; a small random model in
// several formats, once through the reference operations and once through the device's, and with
// logits recorded earlier.
#pragma once

#include <string>
#include <vector>

#include "ruvllm/options.h"
#include "ruvllm/result.h"

namespace ruvllm {

struct SelftestCheck {
  std::string name;
  bool passed = false;
  std::string detail;  // what was measured, or what was found and expected
  double seconds = 0.0;
};

struct SelftestReport {
  std::vector<SelftestCheck> checks;
  std::string device;
  std::string kernels;
  std::string logits_hash;  // of the most likely tokens in the exact mode: the same everywhere
  bool passed() const;
};

// kUnsupported when the device is not in this build.
Result<SelftestReport> run_selftest(DeviceKind device, int32_t threads);

}  // namespace ruvllm
