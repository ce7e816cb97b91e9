// libFuzzer target: any bytes as a GGUF file, and its metadata as a model's config. What parses
// must lie within the input, and a config that is accepted must hold together.
#include <cstdlib>

#include "formats/gguf.h"
#include "formats/gguf_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ruvllm;
  const auto file = parse_gguf({reinterpret_cast<const std::byte*>(data), size}, "f");
  if (!file) return 0;
  size_t sum = 0;
  for (const auto& [key, value] : file->metadata) {
    std::vector<std::string_view> strings;
    std::vector<int64_t> integers;
    std::vector<double> doubles;
    sum += value.describe().size();
    if (value.get_strings(strings)) {
      for (const std::string_view text : strings) {
        for (const char c : text) sum += static_cast<unsigned char>(c);
      }
    }
    if (value.get_integers(integers) && integers.size() != value.count()) std::abort();
    if (value.get_doubles(doubles) && doubles.size() != value.count()) std::abort();
    if (file->find(key) == nullptr) std::abort();
  }
  for (const FileTensor& tensor : file->tensors) {
    const int64_t width = tensor.view.dim(tensor.view.rank - 1);
    uint64_t row = 0;
    if (!row_bytes(tensor.view.dtype, width, row)) std::abort();
    const uint64_t bytes = row * static_cast<uint64_t>(tensor.view.num_elements() / width);
    if (bytes == 0 || bytes > size) std::abort();
    sum += static_cast<size_t>(tensor.view.data[0]);
    sum += static_cast<size_t>(tensor.view.data[bytes - 1]);
  }
  const auto config = gguf_model_config(*file);
  if (config) {
    if (config->layers.empty() || config->num_heads % config->num_kv_heads != 0) std::abort();
    if (config->bos_id >= config->vocab_size) std::abort();
  }
  static volatile size_t sink = 0;
  sink = sum;
  return 0;
}
