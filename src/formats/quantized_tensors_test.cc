// Others' quantized checkpoints: every weight the reference lists, bit for bit, and hostile edits.
#include "formats/quantized_tensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/str.h"
#include "base/test_util.h"
#include "formats/checkpoint.h"
#include "formats/safetensors.h"

namespace ruvllm {
namespace {

namespace fs = std::filesystem;

std::vector<float> dequantize(const FileTensor& tensor) {
  const auto matrix = tensor.quantized->read();
  EXPECT_TRUE(matrix) << (matrix ? "" : matrix.error().message);
  if (!matrix) return {};
  std::vector<float> values(matrix->codes.size());
  for (int64_t n = 0; n < matrix->rows; ++n) {
    dequantize_row(*matrix, n, values.data() + n * matrix->cols);
  }
  return values;
}

// Rows by themselves are those of the whole matrix, in runs that no packing's words are long.
void expect_rows_of_whole(const QuantizedSource& source) {
  const auto whole = source.read();
  ASSERT_TRUE(whole) << whole.error().message;
  const auto form = source.form();
  ASSERT_TRUE(form.has_value());
  EXPECT_EQ(form->rows, whole->rows);
  EXPECT_EQ(form->cols, whole->cols);
  EXPECT_EQ(form->bits, whole->bits);
  EXPECT_EQ(form->kind, whole->kind);
  EXPECT_EQ(form->group_size, whole->group_size);
  EXPECT_EQ(form->int8_activations, whole->int8_activations);
  EXPECT_EQ(form->transform, whole->transform);
  const int64_t groups = whole->num_groups();
  QuantizedMatrix some;
  int64_t count = 1;
  for (int64_t first = 0; first < whole->rows; first += count, count = count % 11 + 1) {
    count = std::min(count, whole->rows - first);
    ASSERT_TRUE(source.read_rows(first, count, some));
    ASSERT_EQ(some.rows, count);
    const auto codes = whole->codes.begin() + first * whole->cols;
    ASSERT_TRUE(
        std::equal(codes, codes + count * whole->cols, some.codes.begin(), some.codes.end()))
        << "rows from " << first;
    for (int64_t n = 0; n < count; ++n) {
      for (int64_t g = 0; g < groups; ++g) {
        ASSERT_EQ(some.scale_at(n, g), whole->scale_at(first + n, g));
        ASSERT_EQ(some.zero_at(n, g), whole->zero_at(first + n, g));
      }
    }
  }
}

TEST(QuantizedTensors, GoldenWeightsBitForBit) {
  const auto shared = test::shared_dir();
  if (!shared || !fs::exists(*shared + "/golden_quant")) GTEST_SKIP() << "no reference data";
  int cases = 0;
  int matrices = 0;
  for (const auto& entry : fs::directory_iterator(*shared + "/golden_quant")) {
    if (!fs::exists(entry.path() / "expected.safetensors")) continue;
    ++cases;
    const auto checkpoint = open_checkpoint(entry.path().string());
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    const auto file = MmapFile::open((entry.path() / "expected.safetensors").string());
    ASSERT_TRUE(file);
    const auto expected = parse_safetensors(file->bytes(), "expected");
    ASSERT_TRUE(expected);
    for (const FileTensor& want : *expected) {
      if (!want.name.starts_with("dequant.")) continue;
      const FileTensor* tensor = (*checkpoint)->find(want.name.substr(8));
      ASSERT_NE(tensor, nullptr) << want.name;
      ASSERT_NE(tensor->quantized, nullptr) << want.name;
      ASSERT_EQ(tensor->view.shape, want.view.shape) << want.name;
      const std::vector<float> got = dequantize(*tensor);
      ASSERT_EQ(got.size(), static_cast<size_t>(want.view.num_elements()));
      size_t different = 0;
      for (size_t i = 0; i < got.size(); ++i) {
        float value = 0.0f;
        std::memcpy(&value, want.view.data + i * 4, 4);
        different += value != got[i] ? 1 : 0;
      }
      EXPECT_EQ(different, 0u) << entry.path() << " " << want.name;
      expect_rows_of_whole(*tensor->quantized);
      ++matrices;
    }
  }
  EXPECT_GE(cases, 18);
  EXPECT_GE(matrices, 36);
}

// Tensors of one GPTQ matrix [8, 16], 4 bits, groups of 8, made by hand.
struct TinyGptq {
  std::vector<int32_t> qweight = std::vector<int32_t>(2 * 8);
  std::vector<int32_t> qzeros = {0x76543210, 0x77777777};
  std::vector<float> scales = std::vector<float>(16, 0.5f);
  std::vector<int32_t> g_idx = {1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1};
  std::vector<FileTensor> tensors;

  TinyGptq() {
    for (size_t i = 0; i < qweight.size(); ++i) qweight[i] = static_cast<int32_t>(i * 0x01234567u);
    add("m.qweight", qweight.data(), DType::kI32, {2, 8});
    add("m.qzeros", qzeros.data(), DType::kI32, {2, 1});
    add("m.scales", scales.data(), DType::kF32, {2, 8});
    add("m.g_idx", g_idx.data(), DType::kI32, {16});
    add("norm.weight", scales.data(), DType::kF32, {8});
  }
  void add(const char* name, const void* data, DType dtype, std::initializer_list<int64_t> shape) {
    FileTensor tensor;
    tensor.name = name;
    tensor.file = "f";
    tensor.view = make_view(data, dtype, shape);
    tensors.push_back(tensor);
  }
  static QuantizationConfig config() {
    QuantizationConfig config;
    config.method = QuantMethod::kGptq;
    config.gptq_v2 = true;
    config.schemes = {{.bits = 4, .group_size = 8}};
    return config;
  }
};

TEST(QuantizedTensors, UnorderedGroupsBecomeAPermutation) {
  TinyGptq tiny;
  ASSERT_TRUE(join_quantized_tensors(TinyGptq::config(), "p", tiny.tensors));
  ASSERT_EQ(tiny.tensors.size(), 2u);
  EXPECT_EQ(tiny.tensors[0].name, "m.weight");
  EXPECT_EQ(tiny.tensors[1].name, "norm.weight");
  expect_rows_of_whole(*tiny.tensors[0].quantized);
  const auto matrix = tiny.tensors[0].quantized->read();
  ASSERT_TRUE(matrix);
  const std::vector<int32_t> order = {1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 10, 11, 12, 13, 14, 15};
  EXPECT_EQ(matrix->transform.permutation, order);
  // Straight from the definition.
  const std::vector<float> got = dequantize(tiny.tensors[0]);
  for (size_t n = 0; n < 8; ++n) {
    for (size_t k = 0; k < 16; ++k) {
      const auto word = static_cast<uint32_t>(tiny.qweight[k / 8 * 8 + n]);
      const auto group = static_cast<size_t>(tiny.g_idx[k]);
      const auto zero = (static_cast<uint32_t>(tiny.qzeros[group]) >> (4 * n)) & 15u;
      const auto code = (word >> (4 * (k % 8))) & 15u;
      EXPECT_EQ(got[n * 16 + k],
                0.5f * static_cast<float>(static_cast<int>(code) - static_cast<int>(zero)));
    }
  }
}

TEST(QuantizedTensors, ContradictionsAreRefusedByName) {
  const auto error = [](auto edit) {
    TinyGptq tiny;
    edit(tiny);
    const Status joined = join_quantized_tensors(TinyGptq::config(), "p", tiny.tensors);
    if (!joined) return joined.error().message;
    const auto matrix = tiny.tensors[0].quantized->read();
    return matrix ? std::string() : matrix.error().message;
  };
  EXPECT_EQ(error([](TinyGptq&) {}), "");
  EXPECT_NE(error([](TinyGptq& t) { t.tensors.erase(t.tensors.begin() + 2); }).find("m.scales"),
            std::string::npos);
  EXPECT_NE(error([](TinyGptq& t) { t.tensors[1].view.shape[1] = 2; }).find("m.qzeros: found"),
            std::string::npos);
  EXPECT_NE(error([](TinyGptq& t) { t.tensors[0].view.dtype = DType::kF32; }).find("m.qweight"),
            std::string::npos);
  EXPECT_NE(error([](TinyGptq& t) { t.tensors[0].view.shape = {0, 8}; }).find("m.qweight"),
            std::string::npos);
  EXPECT_NE(error([](TinyGptq& t) { t.g_idx[3] = 2; }).find("input 3 is in group 2 of 2"),
            std::string::npos);
  EXPECT_NE(error([](TinyGptq& t) { t.g_idx[3] = -1; }).find("g_idx"), std::string::npos);
  EXPECT_NE(error([](TinyGptq& t) { t.g_idx[0] = 0; }).find("group 0 has more than 8"),
            std::string::npos);
}

TEST(QuantizedConfig, WhatIsNotReadIsRefusedByName) {
  const auto error = [](std::string_view text) {
    const auto json = Json::parse(text);
    EXPECT_TRUE(json) << text;
    const auto config = parse_quantization_config(*json, "c.json");
    return config ? std::string() : config.error().message;
  };
  const auto has = [&](std::string_view text, std::string_view part) {
    EXPECT_NE(error(text).find(part), std::string::npos) << error(text);
  };
  EXPECT_EQ(error(R"({"quant_method":"gptq","bits":4,"group_size":-1})"), "");
  has(R"({"quant_method":"exl9"})", "\"exl9\" is not supported");
  has(R"({"quant_method":"gptq","bits":5,"group_size":32})", "bits: found 5");
  has(R"({"quant_method":"gptq","bits":4,"group_size":0})", "group_size: found 0");
  has(R"({"quant_method":"gptq","bits":4,"checkpoint_format":"marlin"})", "marlin");
  has(R"({"quant_method":"awq","bits":4,"version":"gemv"})", "gemv");
  has(R"({"quant_method":"compressed-tensors"})", "config_groups");
  has(R"({"quant_method":"compressed-tensors","format":"marlin-24","config_groups":{}})",
      "marlin-24");
  has(R"({"quant_method":"compressed-tensors","transform_config":{"a":1},"config_groups":{}})",
      "transform_config");
  has(R"({"quant_method":"compressed-tensors","config_groups":{"g":{"weights":{"num_bits":4,
         "type":"float"}}}})",
      "4-bit floats");
  has(R"({"quant_method":"compressed-tensors","config_groups":{"g":{"weights":{"num_bits":8,
         "strategy":"block"}}}})",
      "block");
  has(R"({"quant_method":"compressed-tensors","config_groups":{"g":{"weights":null}}})", "weights");
}

}  // namespace
}  // namespace ruvllm
