// Any bytes as a tokenizer.json: an error or data, no crash, no allocation out of proportion.
#include "formats/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto result = ruvllm::parse_tokenizer_json(text, "input");
  (void)result;
  return 0;
}
