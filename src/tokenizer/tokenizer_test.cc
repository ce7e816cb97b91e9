// Small tokenizers made by hand: each part of the pipeline, damaged data, worst cases.
#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "tokenizer/unicode_forms.h"
#include "tokenizer/utf8.h"

namespace ruvllm {
namespace {

// Byte-level BPE over a few words.
TokenizerData byte_level_data() {
  TokenizerData data;
  for (int i = 0; i < 256; ++i) {
    // GPT-2's letters, in the order of the bytes.
    static const auto letter = [](int byte) {
      const bool own = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
      int next = 0x100;
      for (int b = 0; !own && b < byte; ++b) {
        next += !((b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad));
      }
      std::string out;
      append_utf8(out, static_cast<char32_t>(own ? byte : next));
      return out;
    };
    data.tokens.push_back(letter(i));
  }
  const auto add = [&](int left, int right) {
    data.merges.emplace_back(left, right);
    data.tokens.push_back(data.tokens[static_cast<size_t>(left)] +
                          data.tokens[static_cast<size_t>(right)]);
  };
  add('a', 'b');  // 256 "ab"
  add(256, 'c');  // 257 "abc"
  add('a', 'a');  // 258 "aa"
  add(258, 258);  // 259 "aaaa"
  data.pre_tokenizers = {PreByteLevel{false, true}};
  data.decoders = {DecodeByteLevel{}};
  return data;
}

std::unique_ptr<Tokenizer> make(TokenizerData data) {
  auto tokenizer = make_tokenizer(std::move(data));
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return tokenizer ? *std::move(tokenizer) : nullptr;
}

using Ids = std::vector<int32_t>;

TEST(Tokenizer, MergesAndDecodes) {
  const auto tokenizer = make(byte_level_data());
  EXPECT_EQ(*tokenizer->encode("abcab abc", false), (Ids{257, 256, ' ', 257}));
  EXPECT_EQ(tokenizer->decode({257, 256, ' ', 257}, false), "abcab abc");
  EXPECT_EQ(*tokenizer->encode("", true), Ids{});
  EXPECT_EQ(tokenizer->decode({-1, 1'000'000, 'a'}, false), "a");
}

TEST(Tokenizer, IllFormedTextIsReplacementCharacters) {
  const auto tokenizer = make(byte_level_data());
  for (const std::string text :
       {"\xff", "a\xe2\x96", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xc0\xaf"}) {
    const auto ids = tokenizer->encode(text, false);
    ASSERT_TRUE(ids);
    EXPECT_EQ(tokenizer->decode(*ids, false), to_valid_utf8(text));
  }
}

TEST(Tokenizer, AddedTokens) {
  TokenizerData data = byte_level_data();
  data.added_tokens = {{260, "<s>", true, false, false, false, false},
                       {261, "<m>", true, true, true, false, false},
                       {262, "word", false, false, false, true, false}};
  data.prefix_ids = {260};
  const auto tokenizer = make(std::move(data));
  EXPECT_EQ(*tokenizer->encode("ab<s>ab", true), (Ids{260, 256, 260, 256}));
  EXPECT_EQ(*tokenizer->encode("ab  <m> \n ab", false), (Ids{256, 261, 256}));
  EXPECT_EQ(*tokenizer->encode("word!word", false), (Ids{262, '!', 262}));
  EXPECT_EQ(tokenizer->encode("swords", false)->size(), 6u);
  EXPECT_EQ(tokenizer->decode({260, 256, 262}, true), "abword");
  EXPECT_EQ(tokenizer->decode({260, 256, 262}, false), "<s>abword");
  EXPECT_EQ(tokenizer->vocab_size(), 263);
}

TEST(Tokenizer, StreamsAnyIds) {
  const auto tokenizer = make(byte_level_data());
  std::mt19937 rng(1);
  for (int round = 0; round < 200; ++round) {
    Ids ids(1 + rng() % 40);
    for (int32_t& id : ids) id = static_cast<int32_t>(rng() % 260);
    const auto decoder = make_incremental_decoder(*tokenizer, false);
    std::string joined;
    for (const int32_t id : ids) {
      const std::string piece = decoder->push(id);
      EXPECT_EQ(find_invalid_utf8(piece), piece.size());
      joined += piece;
    }
    EXPECT_EQ(joined + decoder->flush(), tokenizer->decode(ids, false));
  }
}

TEST(Tokenizer, OneLetterTenMillionTimes) {
  const auto tokenizer = make(byte_level_data());
  const auto ids = tokenizer->encode(std::string(10'000'000, 'a'), false);
  ASSERT_TRUE(ids);
  EXPECT_EQ(ids->size(), 2'500'000u);
  EXPECT_EQ(ids->front(), 259);
}

TEST(Tokenizer, HostileTextIsLinear) {
  TokenizerData data = byte_level_data();
  data.added_tokens = {{260, " ", true, false, true, false, false},
                       {261, "<m>", true, true, false, false, false}};
  const auto tokenizer = make(std::move(data));
  for (const char* unit :
       {" ", "<", "<m> ", "\n ", "'", "\xcc\x81", " \xcc\x81", "aA", "a\xe2\x96\x81"}) {
    std::string text;
    while (text.size() < 2'000'000) text += unit;
    EXPECT_TRUE(tokenizer->encode(text, false)) << unit;
  }
}

TEST(Tokenizer, SentencePieceRules) {
  TokenizerData data;
  data.sentencepiece = data.merges_by_score = true;
  const auto add = [&](const char* text, double score, PieceKind kind) {
    data.tokens.emplace_back(text);
    data.scores.push_back(score);
    data.kinds.push_back(kind);
  };
  add("<unk>", 0, PieceKind::kUnknown);
  add("<s>", 0, PieceKind::kControl);
  add("\xe2\x96\x81", -1, PieceKind::kNormal);
  add("a", -2, PieceKind::kNormal);
  add("b", -3, PieceKind::kNormal);
  add("ab", -4, PieceKind::kNormal);
  add("\xe2\x96\x81"
      "ab",
      -5, PieceKind::kNormal);
  add("bb", -6, PieceKind::kUnused);
  add("XY", 0, PieceKind::kUserDefined);
  data.unknown_id = 0;
  data.added_tokens = {{1, "<s>", true, false, false, false, false}};
  data.normalizers = {NormalizeSpmWhitespace{true, true, true, false, ""}};
  data.decoders = {DecodeSentencePiece{}};
  const auto tokenizer = make(std::move(data));
  EXPECT_EQ(*tokenizer->encode("  ab  ab ", false), (Ids{6, 6}));
  EXPECT_EQ(*tokenizer->encode("abXYb", false), (Ids{6, 8, 4}));
  EXPECT_EQ(*tokenizer->encode("abzzb", false), (Ids{6, 0, 4}));  // one unknown for a run
  EXPECT_EQ(*tokenizer->encode("bb", false), (Ids{2, 4, 4}));     // the unused piece comes apart
  EXPECT_EQ(*tokenizer->encode("<s>", false), (Ids{2, 0}));       // not parsed here
  EXPECT_EQ(tokenizer->encode_rendered("<s>ab")->front(), 1);     // but here
  EXPECT_EQ(tokenizer->decode({1, 6, 6, 8}, false), "ab abXY");
}

TEST(Tokenizer, RefusesDataThatContradictsItself) {
  TokenizerData data = byte_level_data();
  data.merges.emplace_back('z', 'q');  // "zq" is no token
  EXPECT_EQ(make_tokenizer(data).error().code, ErrorCode::kBadFile);
  data = byte_level_data();
  data.merges.emplace_back(-1, 5);
  EXPECT_EQ(make_tokenizer(data).error().code, ErrorCode::kBadFile);
  data = byte_level_data();
  data.added_tokens = {{2'000'000'000, "x", false, false, false, false, false}};
  EXPECT_EQ(make_tokenizer(data).error().code, ErrorCode::kBadFile);
  data = byte_level_data();
  data.sentencepiece = true;  // without kinds
  EXPECT_EQ(make_tokenizer(data).error().code, ErrorCode::kBadFile);
  data = byte_level_data();
  data.normalizers = {NormalizePrecompiled{"\x08"}};
  EXPECT_EQ(make_tokenizer(data).error().code,
            UnicodeForm::available() ? ErrorCode::kBadFile : ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace ruvllm
