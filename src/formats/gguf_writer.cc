#include "formats/gguf_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/checked.h"
#include "base/new_file.h"
#include "base/str.h"

namespace ruvllm {
namespace {

constexpr uint64_t kAlignment = 32;  // what readers assume when the file does not say otherwise
constexpr std::string_view kAlignmentKey = "general.alignment";

template <typename T>
void put(std::string& out, T number) {
  char bytes[sizeof number];
  std::memcpy(bytes, &number, sizeof number);
  out.append(bytes, sizeof bytes);
}

void put_text(std::string& out, std::string_view text) {
  put(out, static_cast<uint64_t>(text.size()));
  out += text;
}

uint64_t padding_after(uint64_t size) {
  return (kAlignment - size % kAlignment) % kAlignment;
}

}  // namespace

void GgufWriter::set(std::string_view key, std::string bytes) {
  for (Entry& entry : entries_) {
    if (entry.key != key) continue;
    entry.bytes = std::move(bytes);
    return;
  }
  entries_.push_back({std::string(key), std::move(bytes)});
}

void GgufWriter::copy_entry(std::string_view key, const GgufValue& value) {
  if (key == kAlignmentKey) return;  // this file has the usual one
  std::string bytes;
  put(bytes, static_cast<uint32_t>(value.type()));
  if (value.is_array()) {
    put(bytes, static_cast<uint32_t>(value.element_type()));
    put(bytes, value.count());
  }
  if (value.type() == GgufType::kString) put(bytes, static_cast<uint64_t>(value.raw().size()));
  bytes.append(reinterpret_cast<const char*>(value.raw().data()), value.raw().size());
  set(key, std::move(bytes));
}

void GgufWriter::set_u32(std::string_view key, uint32_t value) {
  std::string bytes;
  put(bytes, static_cast<uint32_t>(GgufType::kU32));
  put(bytes, value);
  set(key, std::move(bytes));
}

Status GgufWriter::add_tensor(std::string name, DType dtype, std::vector<int64_t> shape,
                              std::span<const std::byte> bytes) {
  const auto refuse = [&](const std::string& what) {
    return fail(ErrorCode::kInvalidArgument, concat("tensor \"", printable(name), "\": ", what));
  };
  if (dtype_info(dtype).gguf_id < 0) {
    return refuse(concat("GGUF cannot hold ", dtype_info(dtype).name));
  }
  const auto same = [&](const Tensor& tensor) { return tensor.name == name; };
  if (name.empty() || std::ranges::any_of(tensors_, same)) return refuse("the name is taken");
  uint64_t expected = 0;
  if (shape.empty() || !row_bytes(dtype, shape.back(), expected)) {
    return refuse("its rows are no whole blocks");
  }
  for (size_t i = 0; i + 1 < shape.size(); ++i) {
    if (shape[i] < 0 || !checked_mul(expected, static_cast<uint64_t>(shape[i]), expected)) {
      return refuse("the shape overflows");
    }
  }
  if (expected != bytes.size()) {
    return refuse(concat("found ", bytes.size(), " bytes, expected ", expected));
  }
  tensors_.push_back({std::move(name), dtype, std::move(shape), bytes});
  return {};
}

std::string GgufWriter::header() const {
  std::string out = "GGUF";
  put(out, uint32_t{3});
  put(out, static_cast<uint64_t>(tensors_.size()));
  put(out, static_cast<uint64_t>(entries_.size()));
  for (const Entry& entry : entries_) {
    put_text(out, entry.key);
    out += entry.bytes;
  }
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    put_text(out, tensor.name);
    put(out, static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;) {
      put(out, static_cast<uint64_t>(tensor.shape[i]));
    }
    put(out, static_cast<uint32_t>(dtype_info(tensor.dtype).gguf_id));
    put(out, offset);
    offset += tensor.bytes.size() + padding_after(tensor.bytes.size());
  }
  out.append(padding_after(out.size()), '\0');
  return out;
}

Status GgufWriter::write(const std::string& path) const {
  RUVLLM_ASSIGN(NewFile file, NewFile::create(path));
  RUVLLM_TRY(file.write(header()));
  constexpr char kZeros[kAlignment] = {};
  for (const Tensor& tensor : tensors_) {
    RUVLLM_TRY(file.write(tensor.bytes.data(), tensor.bytes.size()));
    RUVLLM_TRY(file.write(kZeros, padding_after(tensor.bytes.size())));
  }
  return file.commit();
}

}  // namespace ruvllm
