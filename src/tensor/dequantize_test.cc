// Every format against blocks made by the GGUF reference library, bit for bit.
#include "tensor/dequantize.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/json.h"
#include "base/mmap_file.h"
#include "base/test_util.h"

namespace ruvllm {
namespace {

// Just enough safetensors for this test: the folder with the real reader stands above this one.
struct Blocks {
  MmapFile file;
  Json header;
  const std::byte* data = nullptr;

  struct Entry {
    const std::byte* data = nullptr;
    uint64_t bytes = 0;
  };
  Entry find(const std::string& name) const {
    const Json* entry = header.find(name);
    if (entry == nullptr) return {};
    const Json::Array& offsets = *entry->find("data_offsets")->as_array();
    const uint64_t begin = *offsets[0].as_uint64();
    return {data + begin, *offsets[1].as_uint64() - begin};
  }
};

Blocks open_blocks(const std::string& folder) {
  Blocks blocks{*MmapFile::open(folder + "/blocks.safetensors"), {}, nullptr};
  const std::span<const std::byte> bytes = blocks.file.bytes();
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, header_bytes);
  blocks.header = *Json::parse(text);
  blocks.data = bytes.data() + 8 + header_bytes;
  return blocks;
}

std::string upper(std::string_view name) {
  std::string out(name);
  for (char& c : out) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  return out;
}

constexpr int kNumDTypes = static_cast<int>(DType::kNVFP4) + 1;

class GoldenBlocks : public testing::Test {
 protected:
  void SetUp() override {
    const std::optional<std::string> shared = test::shared_dir();
    if (!shared) GTEST_SKIP() << "no reference data on this machine";
    folder_ = *shared + "/golden/gguf_blocks";
  }
  std::string folder_;
};

TEST_F(GoldenBlocks, SizesAndIdsAgree) {
  const Json index = *Json::parse(*read_text_file(folder_ + "/blocks.json", 1 << 20));
  int checked = 0;
  for (const JsonMember& type : *index.as_object()) {
    const auto dtype =
        dtype_from_gguf_id(static_cast<uint32_t>(*type.value.find("type_id")->as_int64()));
    ASSERT_TRUE(dtype.has_value()) << type.key;
    const DTypeInfo& info = dtype_info(*dtype);
    EXPECT_EQ(upper(info.name), type.key);
    EXPECT_EQ(info.block_elements, *type.value.find("block_elements")->as_int64()) << type.key;
    EXPECT_EQ(info.block_bytes, *type.value.find("block_bytes")->as_int64()) << type.key;
    EXPECT_TRUE(!*type.value.find("quantize")->as_bool() || can_quantize(*dtype)) << type.key;
    ++checked;
  }
  EXPECT_EQ(checked, 23);
}

TEST_F(GoldenBlocks, DequantizeBitForBit) {
  const Blocks blocks = open_blocks(folder_);
  int checked = 0;
  for (int d = 0; d < kNumDTypes; ++d) {
    const auto dtype = static_cast<DType>(d);
    const DTypeInfo& info = dtype_info(dtype);
    const Blocks::Entry raw = blocks.find(upper(info.name) + ".raw");
    if (raw.data == nullptr || !can_dequantize(dtype)) continue;
    const Blocks::Entry expected = blocks.find(upper(info.name) + ".f32");
    const auto n = static_cast<int64_t>(expected.bytes / sizeof(float));
    uint64_t bytes = 0;
    ASSERT_TRUE(row_bytes(dtype, n, bytes));
    ASSERT_EQ(bytes, raw.bytes) << info.name;
    std::vector<uint32_t> got(static_cast<size_t>(n));
    std::vector<uint32_t> want(static_cast<size_t>(n));
    dequantize_row(dtype, raw.data, reinterpret_cast<float*>(got.data()), n);
    std::memcpy(want.data(), expected.data, expected.bytes);
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_EQ(got[i], want[i]) << info.name << " element " << i << ": got "
                                 << std::bit_cast<float>(got[i]) << ", expected "
                                 << std::bit_cast<float>(want[i]);
    }
    ++checked;
  }
  EXPECT_EQ(checked, 18);  // the 25 of the file but for iq1_s, iq1_m, iq2_*, iq3_*
}

TEST_F(GoldenBlocks, QuantizeBitForBit) {
  const Blocks blocks = open_blocks(folder_);
  int checked = 0;
  for (int d = 0; d < kNumDTypes; ++d) {
    const auto dtype = static_cast<DType>(d);
    const DTypeInfo& info = dtype_info(dtype);
    const Blocks::Entry in = blocks.find(upper(info.name) + ".quantize_in");
    if (in.data == nullptr) continue;
    ASSERT_TRUE(can_quantize(dtype)) << info.name;
    const Blocks::Entry out = blocks.find(upper(info.name) + ".quantize_out");
    std::vector<float> values(in.bytes / sizeof(float));
    std::memcpy(values.data(), in.data, in.bytes);
    std::vector<uint8_t> got(out.bytes);
    quantize_row(dtype, values.data(), got.data(), static_cast<int64_t>(values.size()));
    const auto* want = reinterpret_cast<const uint8_t*>(out.data);
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i], want[i]) << info.name << " block "
                                 << i / static_cast<size_t>(info.block_bytes) << " byte "
                                 << i % static_cast<size_t>(info.block_bytes);
    }
    ++checked;
  }
  EXPECT_EQ(checked, 10);
}

template <typename T>
float dequantize_one(DType dtype, T value) {
  float out = -1.0f;
  dequantize_row(dtype, &value, &out, 1);
  return out;
}

TEST(Dequantize, Scalars) {
  EXPECT_EQ(dequantize_one(DType::kF32, 1.5f), 1.5f);
  EXPECT_EQ(dequantize_one(DType::kF64, -0.1), -0.1f);
  EXPECT_EQ(dequantize_one(DType::kI8, int8_t{-128}), -128.0f);
  EXPECT_EQ(dequantize_one(DType::kU8, uint8_t{255}), 255.0f);
  EXPECT_EQ(dequantize_one(DType::kI16, int16_t{-30000}), -30000.0f);
  EXPECT_EQ(dequantize_one(DType::kI32, int32_t{1 << 30}), 0x1p30f);
  EXPECT_EQ(dequantize_one(DType::kI64, int64_t{-1}), -1.0f);
  EXPECT_EQ(dequantize_one(DType::kBool, uint8_t{7}), 1.0f);
  // OCP 8-bit floats, from the specification's tables of extreme values.
  EXPECT_EQ(dequantize_one(DType::kF8E4M3, uint8_t{0x7e}), 448.0f);
  EXPECT_EQ(dequantize_one(DType::kF8E4M3, uint8_t{0x08}), 0x1p-6f);
  EXPECT_EQ(dequantize_one(DType::kF8E4M3, uint8_t{0x01}), 0x1p-9f);
  EXPECT_EQ(dequantize_one(DType::kF8E4M3, uint8_t{0xb8}), -1.0f);
  EXPECT_TRUE(std::isnan(dequantize_one(DType::kF8E4M3, uint8_t{0xff})));
  EXPECT_EQ(dequantize_one(DType::kF8E5M2, uint8_t{0x7b}), 57344.0f);
  EXPECT_EQ(dequantize_one(DType::kF8E5M2, uint8_t{0x01}), 0x1p-16f);
  EXPECT_EQ(dequantize_one(DType::kF8E5M2, uint8_t{0xfc}), -std::numeric_limits<float>::infinity());
}

TEST(Dequantize, ActivationBlocks) {
  uint8_t q8_1[36] = {0x00, 0x38, 0xaa, 0xaa};  // d = 0.5; the sum is not read
  q8_1[4] = 0x80;
  q8_1[35] = 0x7f;
  float out[256];
  dequantize_row(DType::kQ8_1, q8_1, out, 32);
  EXPECT_EQ(out[0], -64.0f);
  EXPECT_EQ(out[1], 0.0f);
  EXPECT_EQ(out[31], 63.5f);

  uint8_t q8_k[292] = {};
  const float d = 0.25f;
  std::memcpy(q8_k, &d, sizeof d);
  q8_k[4] = 0xff;
  q8_k[259] = 0x10;
  dequantize_row(DType::kQ8_K, q8_k, out, 256);
  EXPECT_EQ(out[0], -0.25f);
  EXPECT_EQ(out[255], 4.0f);
}

TEST(Dequantize, RefusesCodebookFormats) {
  for (const DType dtype : {DType::kIQ1_S, DType::kIQ1_M, DType::kIQ2_XXS, DType::kIQ2_XS,
                            DType::kIQ2_S, DType::kIQ3_XXS, DType::kIQ3_S}) {
    EXPECT_FALSE(can_dequantize(dtype)) << dtype_info(dtype).name;
    EXPECT_FALSE(can_quantize(dtype)) << dtype_info(dtype).name;
  }
}

// Hostile floats must not become undefined conversions (the sanitizer run proves it).
TEST(Dequantize, QuantizersTakeAnyFloat) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const float odd[] = {kNan, kInf, -kInf, 0x1p-149f, -0x1p127f, 0.0f, -0.0f, 1.0f};
  for (int d = 0; d < kNumDTypes; ++d) {
    const auto dtype = static_cast<DType>(d);
    if (!can_quantize(dtype)) continue;
    for (const float value : odd) {
      std::vector<float> values(256, value);
      values[7] = 1.0f;
      std::vector<uint8_t> out(2048);
      quantize_row(dtype, values.data(), out.data(), 256);
      dequantize_row(dtype, out.data(), values.data(), 256);
    }
  }
}

}  // namespace
}  // namespace ruvllm
