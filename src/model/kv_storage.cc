#include "model/kv_storage.h"

#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/checked.h"
#include "base/huge_memory.h"
#include "base/str.h"
#include "ops/kv_layout.h"

namespace ruvllm {
namespace {

constexpr size_t kAlignment = 64;
constexpr uint64_t kPage = 4096;

// Zeros: a kernel may load whole groups of tokens, positions that are not written yet included.
std::byte* allocate_zeros(size_t bytes) {
  std::byte* const memory = allocate_huge(bytes).release();
  if (memory != nullptr) std::memset(memory, 0, bytes);
  return memory;
}

}  // namespace

void KvStorage::Free::operator()(std::byte* memory) const {
  std::free(memory);
}

Result<KvStorage> KvStorage::make(const ModelConfig& config, DType dtype, int32_t block_tokens) {
  KvStorage storage;
  storage.layer_.dtype = dtype;
  storage.layer_.block_tokens = block_tokens;
  storage.layer_.num_kv_heads = config.num_kv_heads;
  storage.layer_.head_dim = config.head_dim;
  const auto row_bytes = static_cast<uint64_t>(kv_row_bytes(dtype, config.head_dim));
  uint64_t part = 0;
  uint64_t block = 0;
  const bool fits = checked_mul(row_bytes, static_cast<uint64_t>(config.num_kv_heads), part) &&
                    checked_mul(part, static_cast<uint64_t>(block_tokens), part) &&
                    checked_add(part, kAlignment - 1, part) &&
                    checked_mul(part / kAlignment * kAlignment,
                                2 * static_cast<uint64_t>(config.num_layers()), block) &&
                    block <= static_cast<uint64_t>(std::numeric_limits<ptrdiff_t>::max());
  if (!fits) {
    return fail(ErrorCode::kOutOfMemory,
                concat("one KV block of ", block_tokens, " tokens does not fit this machine"));
  }
  // Pages of a head that are a part of a memory page begin at all its parts by turns: were they to
  // begin at the same one, what is read together would share a part of the first cache's sets.
  const uint64_t head = row_bytes * static_cast<uint64_t>(block_tokens);
  if (head % kAlignment == 0 && head < kPage && kPage % head == 0 && block % kPage == 0) {
    block += head;
  }
  storage.part_bytes_ = static_cast<int64_t>(part / kAlignment * kAlignment);
  storage.block_bytes_ = block;
  return storage;
}

Status KvStorage::reserve(int64_t num_blocks) {
  if (num_blocks > std::numeric_limits<int32_t>::max()) {
    return fail(ErrorCode::kOutOfMemory, concat(num_blocks, " KV blocks are too many"));
  }
  const int64_t added = num_blocks - this->num_blocks();
  if (added <= 0) return {};
  uint64_t bytes = 0;
  std::byte* memory = nullptr;
  if (checked_mul(block_bytes_, static_cast<uint64_t>(added), bytes) &&
      bytes <= static_cast<uint64_t>(std::numeric_limits<ptrdiff_t>::max())) {
    memory = allocate_zeros(static_cast<size_t>(bytes));
  }
  if (memory == nullptr) {
    return fail(ErrorCode::kOutOfMemory,
                concat("no memory for ", added, " KV blocks of ", block_bytes_, " bytes"));
  }
  pieces_.emplace_back(memory);
  for (int64_t i = 0; i < added; ++i) {
    addresses_.push_back(memory + static_cast<size_t>(i) * block_bytes_);
  }
  return {};
}

void KvStorage::copy(int32_t from, int32_t to) {
  std::memcpy(addresses_[static_cast<size_t>(to)], addresses_[static_cast<size_t>(from)],
              static_cast<size_t>(block_bytes_));
}

KvLayerView KvStorage::layer(int32_t index) const {
  KvLayerView view = layer_;
  view.blocks = addresses_.data();
  view.k_offset_bytes = 2 * part_bytes_ * index;
  view.v_offset_bytes = view.k_offset_bytes + part_bytes_;
  return view;
}

}  // namespace ruvllm
