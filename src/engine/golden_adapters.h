// Tests only: the reference data of LoRA and X-LoRA (golden_adapters, beside the checkout).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/mmap_file.h"
#include "base/str.h"
#include "base/test_util.h"
#include "formats/safetensors.h"

namespace ruvllm::test {

using Values = std::vector<float>;

struct Expected {
  std::map<std::string, Values> values;
  std::map<std::string, std::vector<int32_t>> ids;
  std::map<std::string, std::vector<int64_t>> shapes;

  int64_t dim(const std::string& name, size_t i) const { return shapes.find(name)->second[i]; }
  const Values& at(const std::string& name) const { return values.find(name)->second; }
};

inline Expected read_expected(const std::string& path) {
  Expected out;
  const auto file = MmapFile::open(path);
  EXPECT_TRUE(file.has_value());
  const auto tensors = parse_safetensors(file->bytes(), path);
  EXPECT_TRUE(tensors.has_value());
  for (const FileTensor& tensor : *tensors) {
    const TensorView& view = tensor.view;
    const auto count = static_cast<size_t>(view.num_elements());
    auto& shape = out.shapes[tensor.name];
    for (int i = 0; i < view.rank; ++i) shape.push_back(view.dim(i));
    if (view.dtype == DType::kF32) {
      Values& values = out.values[tensor.name];
      values.resize(count);
      std::memcpy(values.data(), view.data, count * 4);
      continue;
    }
    auto& ids = out.ids[tensor.name];
    for (size_t i = 0; i < count; ++i) {
      int64_t id = 0;
      const size_t size = view.dtype == DType::kI64 ? 8 : 4;
      std::memcpy(&id, view.data + i * size, size);
      ids.push_back(static_cast<int32_t>(id));
    }
  }
  return out;
}

inline Json read_json(const std::string& path) {
  std::string text = read_text_file(path, 1 << 20).value_or("{}");
  // Python's writer knows a NaN, JSON does not.
  for (size_t at = text.find(": NaN"); at != std::string::npos; at = text.find(": NaN", at)) {
    text.replace(at, 5, ": null");
  }
  auto json = Json::parse(text);
  EXPECT_TRUE(json.has_value()) << path;
  return json ? *std::move(json) : Json();
}

inline float max_difference(const Values& a, const Values& b) {
  EXPECT_EQ(a.size(), b.size());
  float most = a.size() == b.size() ? 0.0f : 1e30f;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const float difference = std::fabs(a[i] - b[i]);
    if (!(difference <= most)) most = difference;  // also when it is not a number
  }
  return most;
}

inline std::string golden_root() {
  const auto shared = test::shared_dir();
  return shared && directory_exists(*shared + "/golden_adapters") ? *shared + "/golden_adapters"
                                                                  : std::string();
}

}  // namespace ruvllm::test
