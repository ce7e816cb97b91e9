#include "engine/isq_cache.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <span>
#include <unordered_map>
#include <utility>

#include "base/log.h"
#include "base/new_file.h"
#include "base/str.h"
#include "formats/quantized_pack.h"
#include "formats/quantized_tensors.h"
#include "formats/safetensors.h"
#include "formats/safetensors_writer.h"

namespace ruvllm {
namespace {

// To be raised when a quantizer gives other numbers for the same settings.
constexpr uint64_t kFormat = 3;

constexpr size_t kBeginning = size_t{1} << 20;
constexpr size_t kPiece = size_t{1} << 14;
constexpr uint64_t kPieces = 256;
static_assert(kPiece <= kBeginning);

// 128 bits of a sequence of words: two lanes of multiply, shift and add (the finalizer of
// splitmix64) with different constants. Against accidents, not against an enemy: whoever can write
// the folder can write anything into it.
class KeyHash {
 public:
  void add(uint64_t word) {
    a_ = mix(a_ ^ word, 0xBF58476D1CE4E5B9u);
    b_ = mix(b_ + word, 0x94D049BB133111EBu);
  }
  void add(std::span<const std::byte> bytes) {
    add(bytes.size());
    for (size_t i = 0; i < bytes.size(); i += 8) {
      uint64_t word = 0;
      std::memcpy(&word, bytes.data() + i, std::min<size_t>(8, bytes.size() - i));
      add(word);
    }
  }
  void add(std::string_view text) { add(std::as_bytes(std::span(text.data(), text.size()))); }
  std::string hex() const {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    for (const uint64_t half : {a_, b_}) {
      for (int shift = 60; shift >= 0; shift -= 4) out += kDigits[half >> shift & 15];
    }
    return out;
  }

 private:
  static uint64_t mix(uint64_t x, uint64_t factor) {
    x = (x + 0x9E3779B97F4A7C15u) * factor;
    x = (x ^ (x >> 29)) * 0x9FB21C651E98DF25u;
    return x ^ (x >> 32);
  }
  uint64_t a_ = 0x243F6A8885A308D3u;
  uint64_t b_ = 0x13198A2E03707344u;
};

void add_file(KeyHash& hash, const MmapFile& file) {
  struct stat info = {};
  if (::stat(file.path().c_str(), &info) == 0) {
    hash.add(static_cast<uint64_t>(info.st_mtim.tv_sec));
    hash.add(static_cast<uint64_t>(info.st_mtim.tv_nsec));
  }
  const std::span<const std::byte> bytes = file.bytes();
  hash.add(bytes.size());
  hash.add(bytes.first(std::min(kBeginning, bytes.size())));
  if (bytes.size() <= kBeginning) return;
  // At even distances; the last one ends where the file does.
  const auto last = static_cast<uint64_t>(bytes.size() - kPiece);
  for (uint64_t i = 0; i < kPieces; ++i) {
    hash.add(bytes.subspan(static_cast<size_t>(last * i / (kPieces - 1)), kPiece));
  }
}

}  // namespace

IsqCache::IsqCache(std::string folder, const Checkpoint& checkpoint, const std::string& isq,
                   bool foldable_scales, const std::vector<std::vector<int32_t>>& samples)
    : folder_(std::move(folder)) {
  KeyHash hash;
  hash.add(kFormat);
  hash.add(isq);
  hash.add(uint64_t{foldable_scales});
  for (const std::vector<int32_t>& sample : samples) hash.add(std::as_bytes(std::span(sample)));
  for (const MmapFile& file : checkpoint.files) add_file(hash, file);
  if (const auto config = read_text_file(checkpoint.path + "/config.json", uint64_t{1} << 24)) {
    hash.add(*config);
  }
  path_ = concat(folder_, "/isq-", hash.hex(), ".safetensors");
}

std::optional<IsqCache::Entry> IsqCache::read(const std::vector<IsqMatrix>& matrices) const {
  if (!file_exists(path_)) return std::nullopt;
  const auto refuse = [&](const std::string& why) -> std::optional<Entry> {
    log_warning("isq cache: ", path_, ": not used: ", why);
    return std::nullopt;
  };
  auto file = MmapFile::open(path_);
  if (!file) return refuse(file.error().message);
  auto tensors = parse_safetensors(file->bytes(), path_);
  if (!tensors) return refuse(tensors.error().message);
  QuantizationConfig config;
  config.method = QuantMethod::kRuvllm;
  if (const Status joined = join_quantized_tensors(config, path_, *tensors); !joined) {
    return refuse(joined.error().message);
  }
  std::unordered_map<std::string, FileTensor*> by_prefix;
  for (FileTensor& tensor : *tensors) by_prefix.emplace(matrix_prefix(tensor.name), &tensor);
  Entry entry{std::move(*file), {}};
  for (const IsqMatrix& matrix : matrices) {
    if (matrix.scheme.keep) continue;
    const auto found = by_prefix.find(matrix_prefix(matrix.name));
    if (found == by_prefix.end() || found->second->quantized == nullptr ||
        found->second->view.dim(0) != matrix.rows() ||
        found->second->view.dim(1) != matrix.cols()) {
      return refuse(concat("matrix ", matrix.name, " is missing or of another size"));
    }
    FileTensor tensor = *found->second;
    tensor.name = matrix.name;
    entry.tensors.push_back(std::move(tensor));
  }
  return entry;
}

Status IsqCache::write(const Checkpoint& quantized, const std::vector<IsqMatrix>& matrices,
                       StopFlag stop) const {
  std::deque<std::vector<PackedTensor>> memory;
  SafetensorsWriter writer;
  for (const IsqMatrix& matrix : matrices) {
    RUVLLM_TRY(stop.status());
    const FileTensor* tensor = matrix.scheme.keep ? nullptr : quantized.find(matrix.name);
    if (tensor == nullptr || tensor->quantized == nullptr) continue;
    const auto values = tensor->quantized->read();
    if (!values) {
      return fail(values.error().code,
                  concat(tensor->file, ": tensor ", tensor->name, ": ", values.error().message));
    }
    RUVLLM_ASSIGN(memory.emplace_back(), pack_matrix(*values, matrix_prefix(matrix.name)));
    for (const PackedTensor& part : memory.back()) {
      RUVLLM_TRY(writer.add(part.name, part.dtype, part.shape, part.bytes));
    }
  }
  RUVLLM_TRY(make_folder(folder_));
  return writer.write(path_);
}

}  // namespace ruvllm
