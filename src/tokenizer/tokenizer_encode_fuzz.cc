// Any bytes through encode and decode of small tokenizers of each kind: no crash, decoding token by
// token equals decoding at once, pieces hold whole characters.
#include <cstdlib>
#include <string>

#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace ruvllm {
namespace {

TokenizerData small_data(int kind) {
  TokenizerData data;
  const char* texts[] = {"<unk>",
                         "\xe2\x96\x81",
                         "a",
                         "b",
                         "ab",
                         "\xe2\x96\x81"
                         "ab",
                         "<0x41>",
                         "1",
                         "11"};
  for (const char* text : texts) {
    data.tokens.emplace_back(text);
    data.scores.push_back(-static_cast<double>(data.tokens.size()));
    data.kinds.push_back(PieceKind::kNormal);
  }
  data.kinds[0] = PieceKind::kUnknown;
  data.unknown_id = 0;
  data.added_tokens = {{9, "<m>", true, true, true, false, false},
                       {10, "ab1", false, false, false, true, true}};
  switch (kind) {
    case 0:
      data.merges = {{2, 3}, {1, 4}};
      data.pre_tokenizers = {PreMetaspace{}, PreDigits{true}};
      data.normalizers = {NormalizeUnicode{NormalizeUnicode::kNfkc}, NormalizeLowercase{}};
      data.decoders = {DecodeReplace{"\xe2\x96\x81", false, " "}, DecodeByteFallback{},
                       DecodeFuse{}, DecodeStrip{" ", 1, 1}};
      break;
    case 1:
      data.model = TokenizerModel::kUnigram;
      data.pre_tokenizers = {PreBert{}};
      data.decoders = {DecodeWordPiece{"a", true}};
      break;
    case 2:
      data.sentencepiece = data.merges_by_score = true;
      data.normalizers = {NormalizeSpmWhitespace{true, true, true, false, ""}};
      data.decoders = {DecodeSentencePiece{}};
      break;
    default:
      data.model = TokenizerModel::kRankBpe;
      data.pre_tokenizers = {PreSplitRegex{R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}|\s+)",
                                           SplitBehavior::kIsolated, false},
                             PreByteLevel{true, true}};
      data.decoders = {DecodeByteLevel{}};
      break;
  }
  return data;
}

void run(std::string_view text, int kind) {
  static std::unique_ptr<Tokenizer> tokenizers[4];
  if (tokenizers[kind] == nullptr) {
    auto made = make_tokenizer(small_data(kind));
    if (!made) return;  // a build without some part
    tokenizers[kind] = *std::move(made);
  }
  const auto ids = tokenizers[kind]->encode(text, true);
  if (!ids) return;  // a regex at its limit
  const auto decoder = make_incremental_decoder(*tokenizers[kind], false);
  std::string joined;
  for (const int32_t id : *ids) {
    const std::string piece = decoder->push(id);
    if (find_invalid_utf8(piece) != piece.size()) std::abort();
    joined += piece;
  }
  if (joined + decoder->flush() != tokenizers[kind]->decode(*ids, false)) std::abort();
}

}  // namespace
}  // namespace ruvllm

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (int kind = 0; kind < 4; ++kind) ruvllm::run(text, kind);
  return 0;
}
