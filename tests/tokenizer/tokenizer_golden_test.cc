// The golden tokenizers, case by case: every id and every text identical.
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/test_util.h"
#include "formats/checkpoint.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode_forms.h"
#include "tokenizer/utf8.h"

namespace ruvllm {
namespace {

std::vector<Json> read_lines(const std::string& path) {
  std::vector<Json> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (line.empty()) continue;
    auto json = Json::parse(line);
    EXPECT_TRUE(json) << path << ": " << json.error().message;
    if (json) lines.push_back(*std::move(json));
  }
  return lines;
}

std::vector<int32_t> ids_of(const Json* json) {
  std::vector<int32_t> ids;
  if (json == nullptr || !json->is_array()) return ids;
  for (const Json& id : *json->as_array()) ids.push_back(static_cast<int32_t>(*id.as_int64()));
  return ids;
}

Result<std::unique_ptr<Tokenizer>> load(const std::string& path) {
  RUVLLM_ASSIGN(TokenizerData data, load_tokenizer_data(path));
  return make_tokenizer(std::move(data));
}

// Pieces joined and flushed equal `expected`; no piece ends within a character.
void check_stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special,
                  const std::string& expected, const std::string& name) {
  const auto decoder = make_incremental_decoder(tokenizer, skip_special);
  std::string joined;
  for (const int32_t id : ids) {
    const std::string piece = decoder->push(id);
    EXPECT_EQ(find_invalid_utf8(piece), piece.size()) << name;
    joined += piece;
  }
  EXPECT_EQ(joined + decoder->flush(), expected) << name;
}

struct Counts {
  int checked = 0, wrong = 0;
};

void check_case(const Tokenizer& tokenizer, const Json& c, const std::string& name,
                Counts& counts) {
  const std::string& text = *c.find("text")->as_string();
  const std::vector<int32_t> expected = ids_of(c.find("ids"));
  const auto ids = tokenizer.encode(text, false);
  ASSERT_TRUE(ids) << ids.error().message;
  ++counts.checked;
  if (*ids != expected && ++counts.wrong <= 8) {
    EXPECT_EQ(*ids, expected) << name << " text " << c.find("text")->dump();
  }
  const Json* with_special = c.find("ids_with_special");
  const std::vector<int32_t> expected_special =
      with_special != nullptr && with_special->is_array() ? ids_of(with_special) : expected;
  if (with_special != nullptr) {
    EXPECT_EQ(*tokenizer.encode(text, true), expected_special) << name << " with special";
  }
  const Json* decoded = c.find("decoded");
  if (decoded == nullptr) return;
  EXPECT_EQ(tokenizer.decode(expected, false), *decoded->as_string()) << name;
  check_stream(tokenizer, expected, false, *decoded->as_string(), name);
  if (const Json* skipped = c.find("decoded_with_special_skipped")) {
    const std::string& t =
        *skipped->as_string() == "same" ? *decoded->as_string() : *skipped->as_string();
    EXPECT_EQ(tokenizer.decode(expected_special, true), t) << name << " special skipped";
  }
}

void check_cases(const Tokenizer& tokenizer, const std::string& path, Counts& counts) {
  int index = 0;
  for (const Json& c : read_lines(path)) {
    check_case(tokenizer, c, path + " case " + std::to_string(index++), counts);
  }
}

void check_decode_cases(const Tokenizer& tokenizer, const std::string& path, Counts& counts) {
  for (const Json& c : read_lines(path)) {
    const std::vector<int32_t> ids = ids_of(c.find("ids"));
    const std::string name = path + " case " + c.find("case")->dump();
    const std::string& decoded = *c.find("decoded")->as_string();
    ++counts.checked;
    if (tokenizer.decode(ids, false) != decoded && ++counts.wrong <= 8) {
      EXPECT_EQ(tokenizer.decode(ids, false), decoded) << name;
    }
    check_stream(tokenizer, ids, false, decoded, name);
    if (const Json* skipped = c.find("decoded_skip_special")) {
      EXPECT_EQ(tokenizer.decode(ids, true), *skipped->as_string()) << name;
      check_stream(tokenizer, ids, true, *skipped->as_string(), name);
    }
  }
}

class GoldenTokenizer : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto shared = test::shared_dir();
    if (!shared) GTEST_SKIP() << "no reference data on this machine";
    folder_ = *shared + "/golden/tokenizers/" + GetParam();
  }
  void check(const std::string& tokenizer_path, const char* cases) {
    const auto loaded = load(tokenizer_path);
    if (!loaded && !UnicodeForm::available() &&
        loaded.error().message.find("RUVLLM_UTF8PROC") != std::string::npos) {
      GTEST_SKIP() << loaded.error().message;
    }
    ASSERT_TRUE(loaded) << loaded.error().message;
    const std::unique_ptr<Tokenizer>& tokenizer = *loaded;
    Counts encode, decode;
    check_cases(*tokenizer, folder_ + "/" + cases, encode);
    if (std::string(cases) == "cases.jsonl") {
      check_decode_cases(*tokenizer, folder_ + "/decode_cases.jsonl", decode);
      check_cases(*tokenizer, folder_ + "/vectors.jsonl", encode);
    }
    EXPECT_GT(encode.checked, 0);
    EXPECT_EQ(encode.wrong, 0) << "of " << encode.checked;
    EXPECT_EQ(decode.wrong, 0) << "of " << decode.checked;
  }
  std::string folder_;
};

class TokenizerJson : public GoldenTokenizer {};
TEST_P(TokenizerJson, Cases) {
  check(folder_ + "/tokenizer.json", "cases.jsonl");
}
TEST_P(TokenizerJson, Folder) {
  check(folder_, "cases.jsonl");
}
INSTANTIATE_TEST_SUITE_P(Golden, TokenizerJson,
                         testing::Values("bbpe_digits", "bbpe_gpt2", "bbpe_llama3",
                                         "bbpe_lower_added", "bbpe_nfkc_added", "bbpe_prefix_space",
                                         "bbpe_qwen2", "spm_gemma", "spm_llama2", "spm_metaspace",
                                         "unigram_t5"));

class TokenizerModelFile : public GoldenTokenizer {};
TEST_P(TokenizerModelFile, ModelCases) {
  check(folder_ + "/tokenizer.model", "model_cases.jsonl");
}
INSTANTIATE_TEST_SUITE_P(Golden, TokenizerModelFile,
                         testing::Values("spm_gemma", "spm_llama2", "unigram_t5"));

class RealModelFile : public GoldenTokenizer {};
TEST_P(RealModelFile, Cases) {
  check(folder_ + "/tokenizer.model", "cases.jsonl");
}
INSTANTIATE_TEST_SUITE_P(Golden, RealModelFile, testing::Values("real_mistral_v3"));

class VocabGguf : public GoldenTokenizer {};
TEST_P(VocabGguf, Cases) {
  check(folder_ + "/vocab.gguf", "cases.jsonl");
}
INSTANTIATE_TEST_SUITE_P(Golden, VocabGguf,
                         testing::Values("real_falcon", "real_gpt2", "real_phi3"));

}  // namespace
}  // namespace ruvllm
