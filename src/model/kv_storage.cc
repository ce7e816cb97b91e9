#include "model/kv_storage.h"

#include <cstring>
#include <limits>
#include <new>

#include "base/checked.h"
#include "base/str.h"
#include "ops/kv_layout.h"

namespace ruvllm {
namespace {

constexpr size_t kAlignment = 64;

}  // namespace

void KvStorage::FreeBytes::operator()(std::byte* memory) const {
  ::operator delete(memory, std::align_val_t{kAlignment});
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
  storage.part_bytes_ = static_cast<int64_t>(part / kAlignment * kAlignment);
  storage.block_bytes_ = block;
  return storage;
}

Status KvStorage::reserve(int64_t num_blocks) {
  if (num_blocks > std::numeric_limits<int32_t>::max()) {
    return fail(ErrorCode::kOutOfMemory, concat(num_blocks, " KV blocks are too many"));
  }
  while (this->num_blocks() < num_blocks) {
    const auto bytes = static_cast<size_t>(block_bytes_);
    auto* memory =
        static_cast<std::byte*>(::operator new(bytes, std::align_val_t{kAlignment}, std::nothrow));
    if (memory == nullptr) {
      return fail(ErrorCode::kOutOfMemory,
                  concat("no memory for KV block ", this->num_blocks(), " of ", num_blocks, " (",
                         block_bytes_, " bytes each)"));
    }
    // Zeros: a kernel may load whole tiles, positions that are not written yet included.
    std::memset(memory, 0, bytes);
    blocks_.emplace_back(memory);
    addresses_.push_back(memory);
  }
  return {};
}

KvLayerView KvStorage::layer(int32_t index) const {
  KvLayerView view = layer_;
  view.blocks = addresses_.data();
  view.k_offset_bytes = 2 * part_bytes_ * index;
  view.v_offset_bytes = view.k_offset_bytes + part_bytes_;
  return view;
}

}  // namespace ruvllm
