// The text of --isq, and what it says about matrices.
#include "quantize/isq_config.h"
#include "quantize/isq_matrices.h"

#include <gtest/gtest.h>

namespace ruvllm {
namespace {

TEST(IsqConfig, TextsAndBack) {
  for (const char* text :
       {"rtn8", "rtn4:g64", "awq4:sym", "gptq2:g16:rot:seed7", "smoothquant8",
        "gptq3:g64,down_proj=8:g32,embed=keep,layers.0.=4", "auto:2.6", "auto:3.25:sym:rot,head=4",
        "auto:2.140625", "rtn4:g32:tuned", "rtn2:sym:tuned1:seed3,down_proj=8", "auto:2.6:tuned64",
        "gptq4:g64:tuned4", "auto:2.125:sym", "auto:8.25"}) {
    const auto config = parse_isq(text);
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(isq_text(*config), text);
  }
  EXPECT_EQ(isq_text(*parse_isq("sq8")), "smoothquant8");
  EXPECT_EQ(isq_text(*parse_isq("rtn4:tuned8")), "rtn4:tuned");
}

TEST(IsqConfig, WhatIsWrongIsNamed) {
  for (const char* text : {"",
                           "rtn",
                           "rtn5",
                           "rtn4:g3",
                           "rtn4:g",
                           "rtn4:x",
                           "foo4",
                           "sq4",
                           "sq8:g32",
                           "awq4:rot",
                           "rtn4,=8",
                           "rtn4,a",
                           "rtn4,a=5",
                           "rtn4,a=8:9",
                           "rtn4:seed",
                           "rtn4:seed-1",
                           "auto",
                           "auto:",
                           "auto:x",
                           "auto:1",
                           "auto:2.14",
                           "auto:2.124:sym",
                           "auto:8.26",
                           "auto:9",
                           "auto:nan",
                           "auto:2.6:g32",
                           "rtn4:tuned0",
                           "rtn4:tuned65",
                           "rtn4:tuned-1",
                           "rtn4:tunedx",
                           "rtn8:tuned",
                           "rtn4:rot:tuned",
                           "gptq8:tuned",
                           "awq4:tuned",
                           "sq8:tuned",
                           "auto:2.6:rot:tuned",
                           "rtn99999999999999999999",
                           "rtn4:g99999999"}) {
    const auto config = parse_isq(text);
    ASSERT_FALSE(config) << text;
    EXPECT_TRUE(config.error().message.starts_with("isq: ")) << config.error().message;
  }
  EXPECT_FALSE(parse_isq(std::string(5000, 'a')));
}

TEST(IsqConfig, SchemesOfMatrices) {
  const IsqConfig config = *parse_isq("gptq4:g64,down=8,head=4:g32,layers.1.=keep");
  const auto of = [&](const char* name, MatrixKind kind) { return scheme_of(config, name, kind); };
  EXPECT_EQ(of("layers.0.q", MatrixKind::kLinear).grid.bits, 4);
  EXPECT_EQ(of("layers.0.q", MatrixKind::kLinear).grid.group_size, 64);
  EXPECT_EQ(of("layers.0.q", MatrixKind::kLinear).method, IsqMethod::kGptq);
  EXPECT_EQ(of("layers.0.down", MatrixKind::kLinear).grid.bits, 8);
  EXPECT_TRUE(of("layers.1.down", MatrixKind::kLinear).keep);
  EXPECT_EQ(of("e", MatrixKind::kEmbedding).grid.bits, 8);
  EXPECT_EQ(of("e", MatrixKind::kEmbedding).method, IsqMethod::kRtn);
  EXPECT_EQ(of("h", MatrixKind::kHead).grid.bits, 4);
  EXPECT_EQ(of("h", MatrixKind::kHead).grid.group_size, 32);
}

TEST(IsqConfig, LinearMatricesAreTuned) {
  const IsqConfig config = *parse_isq("rtn2:tuned3,down=8");
  EXPECT_EQ(config.tuned_passes, 3);
  EXPECT_TRUE(needs_calibration(config));
  EXPECT_FALSE(needs_calibration(*parse_isq("rtn2")));
  EXPECT_TRUE(scheme_of(config, "layers.0.q", MatrixKind::kLinear).tuned);
  EXPECT_FALSE(scheme_of(config, "e", MatrixKind::kEmbedding).tuned);
  IsqMatrix matrix;
  matrix.scheme = scheme_of(config, "layers.0.q", MatrixKind::kLinear);
  EXPECT_TRUE(is_tuned(matrix));
  matrix.scheme = scheme_of(config, "layers.0.down", MatrixKind::kLinear);
  EXPECT_FALSE(is_tuned(matrix));  // 8 bits
}

TEST(IsqConfig, BytesOfAMatrix) {
  Grid grid;
  grid.bits = 4;
  // 64 x 64: codes 2048, scales 64 * 2 * 2, zeros 8 words of 2 groups.
  EXPECT_EQ(stored_bytes(grid, 64, 64), 2048u + 256u + 64u);
  grid.symmetric = true;
  EXPECT_EQ(stored_bytes(grid, 64, 64), 2048u + 256u);
}

}  // namespace
}  // namespace ruvllm
