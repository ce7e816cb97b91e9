// libFuzzer target: any bytes as a safetensors file and as an index. What parses must lie within
// the input: the sanitizers see every tensor's first and last byte read.
#include <cstdlib>

#include "formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ruvllm;
  unsigned sum = 0;
  const auto tensors = parse_safetensors({reinterpret_cast<const std::byte*>(data), size}, "f");
  if (tensors) {
    for (const FileTensor& tensor : *tensors) {
      uint64_t bytes = 0;
      if (!row_bytes(tensor.view.dtype, tensor.view.num_elements(), bytes)) std::abort();
      if (bytes > size) std::abort();
      if (bytes == 0) continue;
      sum += static_cast<unsigned>(tensor.view.data[0]);
      sum += static_cast<unsigned>(tensor.view.data[bytes - 1]);
    }
  }
  const auto index = parse_safetensors_index({reinterpret_cast<const char*>(data), size}, "i");
  if (index) {
    for (const std::string& shard : index->shards) {
      if (shard.find('/') != std::string::npos) std::abort();
    }
  }
  static volatile unsigned sink = 0;
  sink = sum;
  return 0;
}
