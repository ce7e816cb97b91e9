#include "formats/safetensors_writer.h"

#include <algorithm>

#include "base/checked.h"
#include "base/json.h"
#include "base/new_file.h"
#include "base/str.h"
#include "formats/safetensors.h"

namespace ruvllm {
Status SafetensorsWriter::add(std::string name, DType dtype, std::vector<int64_t> shape,
                              std::span<const std::byte> bytes) {
  const auto refuse = [&](const std::string& what) {
    return fail(ErrorCode::kInvalidArgument, concat("tensor \"", printable(name), "\": ", what));
  };
  if (name.empty() || name == "__metadata__") return refuse("the name is not allowed");
  if (safetensors_dtype_name(dtype).empty()) {
    return refuse(concat("safetensors cannot hold ", dtype_info(dtype).name));
  }
  for (const Item& item : items_) {
    if (item.name == name) return refuse("added twice");
  }
  uint64_t expected = static_cast<uint64_t>(dtype_info(dtype).block_bytes);
  for (const int64_t dim : shape) {
    if (dim < 0 || !checked_mul(expected, static_cast<uint64_t>(dim), expected)) {
      return refuse("the shape overflows");
    }
  }
  if (expected != bytes.size()) {
    return refuse(concat("found ", bytes.size(), " bytes, expected ", expected));
  }
  items_.push_back({std::move(name), dtype, std::move(shape), bytes});
  return {};
}

void SafetensorsWriter::add_metadata(std::string key, std::string value) {
  metadata_.emplace_back(std::move(key), std::move(value));
}

// The JSON header for the data in `order`, padded with spaces so that the data starts at a multiple
// of 8 bytes.
std::string SafetensorsWriter::header(const std::vector<const Item*>& order) const {
  std::string out = "{";
  if (!metadata_.empty()) {
    out += "\"__metadata__\":{";
    for (size_t i = 0; i < metadata_.size(); ++i) {
      if (i > 0) out += ',';
      append_json_string(out, metadata_[i].first);
      out += ':';
      append_json_string(out, metadata_[i].second);
    }
    out += '}';
  }
  uint64_t offset = 0;
  for (const Item* item : order) {
    if (out.size() > 1) out += ',';
    append_json_string(out, item->name);
    out += concat(":{\"dtype\":\"", safetensors_dtype_name(item->dtype), "\",\"shape\":[");
    for (size_t i = 0; i < item->shape.size(); ++i) {
      if (i > 0) out += ',';
      out += concat(item->shape[i]);
    }
    out += concat("],\"data_offsets\":[", offset, ",", offset + item->bytes.size(), "]}");
    offset += item->bytes.size();
  }
  out += '}';
  while (out.size() % 8 != 0) out += ' ';
  return out;
}

Status SafetensorsWriter::write(const std::string& path) const {
  std::vector<const Item*> order;
  order.reserve(items_.size());
  for (const Item& item : items_) order.push_back(&item);
  std::ranges::sort(order, [](const Item* a, const Item* b) {
    const int32_t a_bytes = dtype_info(a->dtype).block_bytes;
    const int32_t b_bytes = dtype_info(b->dtype).block_bytes;
    return a_bytes != b_bytes ? a_bytes > b_bytes : a < b;  // they lie in one vector: as added
  });
  const std::string json = header(order);
  unsigned char length[8];
  for (size_t i = 0; i < 8; ++i) {
    length[i] = static_cast<unsigned char>(static_cast<uint64_t>(json.size()) >> (8 * i));
  }

  RUVLLM_ASSIGN(NewFile file, NewFile::create(path));
  RUVLLM_TRY(file.write(length, sizeof length));
  RUVLLM_TRY(file.write(json));
  for (const Item* item : order) RUVLLM_TRY(file.write(item->bytes.data(), item->bytes.size()));
  return file.commit();
}

}  // namespace ruvllm
