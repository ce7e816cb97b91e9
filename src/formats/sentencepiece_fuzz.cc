// Any bytes as a sentencepiece model and as tekken/tiktoken files: an error or data, no crash.
#include "formats/sentencepiece_model.h"
#include "formats/tokenizer_tekken.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto model = ruvllm::parse_sentencepiece_model(bytes, "input");
  const auto tekken = ruvllm::parse_tekken(bytes, "input");
  const auto tiktoken = ruvllm::parse_tiktoken(bytes, "input");
  (void)model;
  (void)tekken;
  (void)tiktoken;
  return 0;
}
