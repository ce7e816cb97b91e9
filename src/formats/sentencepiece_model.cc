#include "formats/sentencepiece_model.h"

#include <bit>
#include <unordered_set>

#include "base/str.h"
#include "formats/sentencepiece_protobuf.h"
#include "formats/tokenizer_config.h"

namespace ruvllm {
namespace {

constexpr size_t kMaxPieces = 1 << 24;

struct TrainerSpec {
  uint64_t model_type = 1;
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  std::string unk_surface = " \xe2\x81\x87 ";
  std::string bos_piece = "<s>";
  std::string eos_piece = "</s>";
};

bool read_piece(std::string_view bytes, TokenizerData& data) {
  std::string text;
  float score = 0;
  uint64_t type = 1;
  ProtobufReader reader(bytes);
  while (reader.next()) {
    if (reader.field() == 1) text = reader.text();
    if (reader.field() == 2) score = std::bit_cast<float>(reader.fixed32());
    if (reader.field() == 3) type = reader.varint();
  }
  if (!reader.ok() || type < 1 || type > 6) return false;
  data.tokens.push_back(std::move(text));
  data.scores.push_back(score);
  data.kinds.push_back(static_cast<PieceKind>(type));
  return true;
}

bool read_trainer_spec(std::string_view bytes, TrainerSpec& spec) {
  ProtobufReader reader(bytes);
  while (reader.next()) {
    switch (reader.field()) {
      case 3:
        spec.model_type = reader.varint();
        break;
      case 24:
        spec.whitespace_as_suffix = reader.varint() != 0;
        break;
      case 35:
        spec.byte_fallback = reader.varint() != 0;
        break;
      case 44:
        spec.unk_surface = reader.text();
        break;
      case 46:
        spec.bos_piece = reader.text();
        break;
      case 47:
        spec.eos_piece = reader.text();
        break;
      default:
        break;
    }
  }
  return reader.ok();
}

bool read_normalizer_spec(std::string_view bytes, NormalizeSpmWhitespace& spec) {
  spec.add_dummy_prefix = spec.remove_extra_whitespaces = spec.escape_whitespaces = true;
  ProtobufReader reader(bytes);
  while (reader.next()) {
    switch (reader.field()) {
      case 2:
        spec.charsmap = reader.text();
        break;
      case 3:
        spec.add_dummy_prefix = reader.varint() != 0;
        break;
      case 4:
        spec.remove_extra_whitespaces = reader.varint() != 0;
        break;
      case 5:
        spec.escape_whitespaces = reader.varint() != 0;
        break;
      default:
        break;
    }
  }
  return reader.ok();
}

Status set_model_type(uint64_t type, const std::string& name, TokenizerData& data) {
  constexpr uint64_t kUnigram = 1, kBpe = 2;
  if (type == kUnigram) {
    data.model = TokenizerModel::kUnigram;
    return {};
  }
  if (type == kBpe) {
    data.model = TokenizerModel::kBpe;
    data.merges_by_score = true;
    return {};
  }
  return fail(ErrorCode::kUnsupported, concat(name, ": trainer_spec.model_type is ", type,
                                              type == 3   ? " (WORD)"
                                              : type == 4 ? " (CHAR)"
                                                          : "",
                                              ", expected 1 (UNIGRAM) or 2 (BPE)"));
}

}  // namespace

Status finish_sentencepiece_data(const std::string& where, TokenizerData& data) {
  data.sentencepiece = true;
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    const PieceKind kind = data.kinds[i];
    if (kind == PieceKind::kUnknown && data.unknown_id < 0) {
      data.unknown_id = static_cast<int32_t>(i);
    }
    if (kind == PieceKind::kControl || kind == PieceKind::kAdded) {
      AddedToken token;
      token.id = static_cast<int32_t>(i);
      token.content = data.tokens[i];
      token.special = kind == PieceKind::kControl;
      data.added_tokens.push_back(std::move(token));
    }
  }
  if (data.unknown_id < 0) {
    return fail(ErrorCode::kBadFile, concat(where, ": no piece of type UNKNOWN"));
  }
  return {};
}

Result<TokenizerData> parse_sentencepiece_model(std::string_view bytes, const std::string& name) {
  TokenizerData data;
  TrainerSpec trainer;
  NormalizeSpmWhitespace normalizer;
  normalizer.add_dummy_prefix = normalizer.remove_extra_whitespaces = true;
  ProtobufReader reader(bytes);
  while (reader.next()) {
    bool good = true;
    if (reader.field() == 1) {
      good = data.tokens.size() < kMaxPieces && read_piece(reader.text(), data);
    } else if (reader.field() == 2) {
      good = read_trainer_spec(reader.text(), trainer);
    } else if (reader.field() == 3) {
      good = read_normalizer_spec(reader.text(), normalizer);
    } else if (reader.field() == 5) {
      NormalizeSpmWhitespace denormalizer;
      good = read_normalizer_spec(reader.text(), denormalizer);
      if (!denormalizer.charsmap.empty()) {
        return fail(ErrorCode::kUnsupported, concat(name, ": denormalizer_spec is not supported"));
      }
    }
    if (!good) {
      return fail(ErrorCode::kBadFile, concat(name, ": field ", reader.field(), " before byte ",
                                              reader.position(), " is not as in ModelProto"));
    }
  }
  if (!reader.ok() || data.tokens.empty()) {
    return fail(ErrorCode::kBadFile,
                concat(name, ": no sentencepiece model: ",
                       reader.ok() ? "no pieces" : "ill-formed protocol buffer", " at byte ",
                       reader.position(), " of ", bytes.size()));
  }
  std::unordered_set<std::string_view> seen;
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    const std::string& text = data.tokens[i];
    if (text.empty() || !seen.insert(text).second) {
      return fail(ErrorCode::kBadFile, concat(name, ": piece ", i, " '", printable(text),
                                              text.empty() ? "' is empty" : "' is there twice"));
    }
  }
  RUVLLM_TRY(set_model_type(trainer.model_type, name, data));
  data.byte_fallback = trainer.byte_fallback;
  normalizer.whitespace_as_suffix = trainer.whitespace_as_suffix;
  DecodeSentencePiece decoder;
  decoder.strip_first_space = normalizer.add_dummy_prefix;
  decoder.strip_all_spaces = normalizer.remove_extra_whitespaces;
  decoder.unknown_text = trainer.unk_surface;
  data.decoders.push_back(std::move(decoder));
  data.normalizers.push_back(std::move(normalizer));
  RUVLLM_TRY(finish_sentencepiece_data(name, data));
  data.bos_id = find_token_id(data, trainer.bos_piece);
  data.eos_id = find_token_id(data, trainer.eos_piece);
  if (data.bos_id >= 0) data.bos_token = trainer.bos_piece;
  if (data.eos_id >= 0) data.eos_token = trainer.eos_piece;
  // The library adds nothing of itself; the models that come as such a file begin with BOS.
  if (data.model == TokenizerModel::kBpe && data.bos_id >= 0) data.prefix_ids = {data.bos_id};
  return data;
}

}  // namespace ruvllm
