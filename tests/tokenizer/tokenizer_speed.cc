// How fast a tokenizer encodes: tokenizer_speed TOKENIZER TEXT_FILE [REPEATS]. One JSON line:
// bytes, tokens, a hash of the ids (FNV-1a over them as little-endian u32) and the best CPU time of
// a call. tools/bench/compare_tokenizers.py runs it beside the Python package.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "base/mmap_file.h"
#include "formats/checkpoint.h"
#include "tokenizer/tokenizer.h"

namespace ruvllm {
namespace {

int fail_with(const Error& error) {
  std::fprintf(stderr, "tokenizer_speed: %s\n", error.message.c_str());
  return 1;
}

uint64_t hash_of(const std::vector<int32_t>& ids) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      hash = (hash ^ (static_cast<uint32_t>(id) >> shift & 0xff)) * 0x100000001b3u;
    }
  }
  return hash;
}

double cpu_seconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

int run(const std::string& tokenizer_path, const std::string& text_path, int repeats) {
  const double start = cpu_seconds();
  auto data = load_tokenizer_data(tokenizer_path);
  if (!data) return fail_with(data.error());
  const auto tokenizer = make_tokenizer(*std::move(data));
  if (!tokenizer) return fail_with(tokenizer.error());
  const double load_seconds = cpu_seconds() - start;
  const auto text = read_text_file(text_path, 1 << 30);
  if (!text) return fail_with(text.error());
  double best = 1e30;
  std::vector<int32_t> ids;
  for (int i = 0; i < repeats; ++i) {
    const double begin = cpu_seconds();
    auto encoded = (*tokenizer)->encode(*text, false);
    const double seconds = cpu_seconds() - begin;
    if (!encoded) return fail_with(encoded.error());
    ids = *std::move(encoded);
    best = std::min(best, seconds);
  }
  std::printf(
      "{\"bytes\":%zu,\"tokens\":%zu,\"hash\":\"%016llx\",\"seconds\":%.6f,\"load_seconds\":%.4f}"
      "\n",
      text->size(), ids.size(), static_cast<unsigned long long>(hash_of(ids)), best, load_seconds);
  return 0;
}

}  // namespace
}  // namespace ruvllm

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: tokenizer_speed TOKENIZER TEXT_FILE [REPEATS]\n");
    return 2;
  }
  return ruvllm::run(argv[1], argv[2], argc > 3 ? std::max(1, std::atoi(argv[3])) : 3);
}
