// libFuzzer target: any bytes as the JSON lines of a calibration file. No text may be longer than
// the input, and a message names a line.
#include <cstdlib>

#include "quantize/calibration_text.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ruvllm;
  const auto texts = parse_calibration_lines({reinterpret_cast<const char*>(data), size}, "f");
  if (!texts) {
    if (texts.error().message.find("f: line ") != 0) std::abort();
    return 0;
  }
  size_t sum = 0;
  for (const std::string& text : *texts) sum += text.size();
  if (sum > size) std::abort();
  return 0;
}
