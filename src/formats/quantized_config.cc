#include "formats/quantized_config.h"

#include "base/str.h"
#include "formats/json_fields.h"

namespace ruvllm {
namespace {

constexpr int64_t kMaxGroup = 1 << 20;

int32_t read_bits(JsonFields& fields, std::string_view key, std::string_view allowed) {
  const auto bits = static_cast<int32_t>(fields.integer(key, 1, 64));
  if (fields.ok() && allowed.find(concat(" ", bits, " ")) == std::string_view::npos) {
    fields.unsupported(key, "found ", bits, ", expected one of", allowed);
  }
  return bits;
}

// -1 is how GPTQ and AWQ say "one per row".
int64_t read_group_size(JsonFields& fields) {
  const int64_t size = fields.integer_or("group_size", -1, -1, kMaxGroup);
  if (size == 0) fields.bad("group_size", "found 0, expected -1 or a size");
  return size < 0 ? 0 : size;
}

// The word must be one of `allowed` (each between blanks).
void check_word(JsonFields& fields, std::string_view key, std::string_view fallback,
                std::string_view allowed) {
  const std::string word = fields.text_or(key, fallback);
  if (fields.ok() && allowed.find(concat(" ", word, " ")) == std::string_view::npos) {
    fields.unsupported(key, "\"", printable(word, 32), "\" is not read; known:", allowed);
  }
}

void read_gptq(JsonFields& fields, QuantizationConfig& out) {
  const char* key = fields.has("checkpoint_format") ? "checkpoint_format" : "format";
  check_word(fields, key, "gptq", " gptq gptq_v2 ");
  out.gptq_v2 = fields.text_or(key, "gptq") == "gptq_v2";
  check_word(fields, "pack_dtype", "int32", " int32 ");
  QuantizationConfig::Scheme scheme;
  scheme.bits = read_bits(fields, "bits", " 2 3 4 8 ");
  scheme.group_size = read_group_size(fields);
  out.schemes.push_back(scheme);
}

void read_awq(JsonFields& fields, QuantizationConfig& out) {
  check_word(fields, "version", "gemm", " gemm GEMM ");
  QuantizationConfig::Scheme scheme;
  scheme.bits = read_bits(fields, fields.has("bits") ? "bits" : "w_bit", " 4 ");
  if (!fields.has("group_size") && fields.has("q_group_size")) {
    scheme.group_size = fields.integer("q_group_size", 1, kMaxGroup);
  } else {
    scheme.group_size = read_group_size(fields);
  }
  out.schemes.push_back(scheme);
}

// One config_groups entry: what its weights are.
void read_weights(JsonFields& group, const Json& weights, QuantizationConfig& out) {
  JsonFields fields(weights, concat(group.where(), ": weights"));
  QuantizationConfig::Scheme scheme;
  scheme.bits = read_bits(fields, "num_bits", " 2 3 4 8 ");
  const std::string type = fields.text_or("type", "int");
  scheme.is_float = type == "float";
  if (!scheme.is_float) check_word(fields, "type", "int", " int ");
  if (scheme.is_float && scheme.bits != 8) {
    fields.unsupported("num_bits", "found ", scheme.bits, "-bit floats, expected 8");
  }
  check_word(fields, "strategy", "tensor", " tensor channel group ");
  if (fields.text_or("strategy", "tensor") == "group") {
    scheme.group_size = fields.integer("group_size", 1, kMaxGroup);
  }
  group.adopt(fields.status());
  if (const Json* activations = group.find("input_activations")) {
    JsonFields act(*activations, concat(group.where(), ": input_activations"));
    scheme.int8_activations = !scheme.is_float && act.integer_or("num_bits", 8, 1, 64) == 8;
    group.adopt(act.status());
  }
  out.schemes.push_back(scheme);
}

bool has_members(const Json* value) {
  const Json::Object* object = value != nullptr ? value->as_object() : nullptr;
  return object != nullptr && !object->empty();
}

void read_compressed_tensors(JsonFields& fields, QuantizationConfig& out) {
  constexpr std::string_view kFormats = " pack-quantized int-quantized float-quantized ";
  check_word(
      fields, "format", "pack-quantized",
      " pack-quantized int-quantized float-quantized naive-quantized mixed-precision dense ");
  check_word(fields, "quantization_status", "compressed", " compressed ");
  if (has_members(fields.find("transform_config"))) {
    fields.unsupported("transform_config", "transforms of other tools are not read");
  }
  if (const Json* sparsity = fields.find("sparsity_config"); has_members(sparsity)) {
    const Json* format = sparsity->find("format");
    const std::string* word = format != nullptr ? format->as_string() : nullptr;
    if (word == nullptr || *word != "dense") {
      fields.unsupported("sparsity_config", "sparse matrices are not read");
    }
  }
  const Json* groups = fields.find("config_groups");
  const Json::Object* members = groups != nullptr ? groups->as_object() : nullptr;
  if (members == nullptr || members->empty() || members->size() > 64) {
    fields.bad("config_groups", "expected an object of 1 to 64 groups");
    return;
  }
  for (const JsonMember& member : *members) {
    JsonFields group(member.value, concat(fields.where(), ": ", printable(member.key, 40)));
    check_word(group, "format", "pack-quantized", kFormats);
    const Json* weights = group.find("weights");
    if (weights == nullptr) {
      group.unsupported("weights", "found nothing: only activations are quantized");
    } else {
      read_weights(group, *weights, out);
    }
    fields.adopt(group.status());
  }
}

}  // namespace

Result<QuantizationConfig> parse_quantization_config(const Json& config, const std::string& file) {
  JsonFields fields(config, concat(file, ": quantization_config"));
  QuantizationConfig out;
  const std::string method = fields.text_or("quant_method", "");
  if (method == "gptq") {
    out.method = QuantMethod::kGptq;
    read_gptq(fields, out);
  } else if (method == "awq") {
    out.method = QuantMethod::kAwq;
    read_awq(fields, out);
  } else if (method == "compressed-tensors") {
    out.method = QuantMethod::kCompressedTensors;
    read_compressed_tensors(fields, out);
  } else if (method == "ruvllm") {
    out.method = QuantMethod::kRuvllm;
    if (fields.integer("version", 1, INT32_MAX) != 1 && fields.ok()) {
      fields.unsupported("version", "expected 1: written by a newer ruvllm");
    }
  } else if (fields.ok()) {
    const Json* value = config.find("quant_method");
    fields.unsupported("quant_method", value != nullptr ? printable(value->dump(), 40) : "(none)",
                       " is not supported; known: awq, gptq, compressed-tensors, ruvllm");
  }
  RUVLLM_TRY(fields.status());
  return out;
}

}  // namespace ruvllm
