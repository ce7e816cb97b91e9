// What is packed for others reads back with the same codes, zero points and scales, and what a
// layout cannot hold is refused by name.
#include "formats/foreign_pack.h"

#include <gtest/gtest.h>

#include "formats/quantized_tensors.h"
#include "tensor/random_quantized.h"

namespace ruvllm {
namespace {

using test::random_matrix;

Result<QuantizedMatrix> read_back(const std::vector<PackedTensor>& parts,
                                  const QuantizationConfig& config) {
  std::vector<FileTensor> tensors;
  for (const PackedTensor& part : parts) {
    FileTensor tensor;
    tensor.name = part.name;
    tensor.file = "memory";
    const auto& shape = part.shape;
    tensor.view = shape.size() == 1
                      ? make_view(part.bytes.data(), part.dtype, {shape[0]})
                      : make_view(part.bytes.data(), part.dtype, {shape[0], shape[1]});
    tensors.push_back(std::move(tensor));
  }
  RUVLLM_TRY(join_quantized_tensors(config, "memory", tensors));
  if (tensors.size() != 1 || tensors[0].name != "a.b.weight" || tensors[0].quantized == nullptr) {
    return fail(ErrorCode::kInternal, "more than one matrix");
  }
  return tensors[0].quantized->read();
}

struct Case {
  ForeignLayout layout;
  QuantMethod method;
  int32_t bits;
};

TEST(ForeignPack, ReadsBackEqual) {
  constexpr Case kCases[] = {
      {ForeignLayout::kGptq, QuantMethod::kGptq, 2},
      {ForeignLayout::kGptq, QuantMethod::kGptq, 3},
      {ForeignLayout::kGptq, QuantMethod::kGptq, 4},
      {ForeignLayout::kGptq, QuantMethod::kGptq, 8},
      {ForeignLayout::kAwq, QuantMethod::kAwq, 4},
      {ForeignLayout::kCompressedTensors, QuantMethod::kCompressedTensors, 4},
      {ForeignLayout::kCompressedTensors, QuantMethod::kCompressedTensors, 8}};
  for (const Case& c : kCases) {
    for (const bool zeros : {false, true}) {
      SCOPED_TRACE(testing::Message() << foreign_layout_name(c.layout) << c.bits << zeros);
      const QuantizedMatrix m = random_matrix(c.bits, 32, 96, 32, zeros);
      const auto parts = pack_foreign(c.layout, m, "a.b");
      ASSERT_TRUE(parts) << parts.error().message;
      QuantizationConfig config;
      config.method = c.method;
      config.gptq_v2 = true;
      config.schemes = {{c.bits, 32, false, false}};
      const auto back = read_back(*parts, config);
      ASSERT_TRUE(back) << back.error().message;
      EXPECT_EQ(back->codes, m.codes);
      for (int64_t n = 0; n < m.rows; ++n) {
        for (int64_t g = 0; g < m.num_groups(); ++g) {
          EXPECT_EQ(back->zero_at(n, g), m.zero_at(n, g));
          EXPECT_EQ(back->scale_at(n, g), m.scale_at(n, g));
        }
      }
    }
  }
}

TEST(ForeignPack, SignedBytesReadBackAsTheSameWeights) {
  QuantizedMatrix m = random_matrix(8, 5, 40, 40, false);
  m.int8_activations = true;
  const auto parts = pack_foreign(ForeignLayout::kCompressedTensors, m, "a.b");
  ASSERT_TRUE(parts) << parts.error().message;
  QuantizationConfig config;
  config.method = QuantMethod::kCompressedTensors;
  config.schemes = {{8, 0, false, true}};
  const auto back = read_back(*parts, config);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_TRUE(back->int8_activations);
  std::vector<float> expected(40), found(40);
  for (int64_t n = 0; n < 5; ++n) {
    dequantize_row(m, n, expected.data());
    dequantize_row(*back, n, found.data());
    EXPECT_EQ(found, expected);
  }
}

TEST(ForeignPack, WhatDoesNotFitIsNamed) {
  const auto refused = [](ForeignLayout layout, const QuantizedMatrix& m, const char* word) {
    const auto parts = pack_foreign(layout, m, "a.b");
    ASSERT_FALSE(parts) << word;
    EXPECT_EQ(parts.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(parts.error().message.find("a.b"), std::string::npos) << parts.error().message;
    EXPECT_NE(parts.error().message.find(word), std::string::npos) << parts.error().message;
  };
  refused(ForeignLayout::kAwq, random_matrix(3, 32, 96, 32, true), "4 bits");
  refused(ForeignLayout::kAwq, random_matrix(4, 33, 96, 32, true), "multiple of 8");
  refused(ForeignLayout::kGptq, random_matrix(3, 31, 96, 32, true), "whole words");
  refused(ForeignLayout::kGptq, random_matrix(4, 32, 100, 32, true), "do not divide");
  QuantizedMatrix scaled = random_matrix(4, 32, 96, 32, true);
  scaled.transform.input_scale.assign(96, 0.5f);
  refused(ForeignLayout::kGptq, scaled, "transform");
  QuantizedMatrix fine = random_matrix(4, 32, 96, 32, true);
  fine.scales[3] = 0.1f;
  refused(ForeignLayout::kCompressedTensors, fine, "f16");
}

}  // namespace
}  // namespace ruvllm
