#include "engine/selftest.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <iterator>
#include <utility>

#include "base/rng.h"
#include "base/str.h"
#include "device/device.h"
#include "engine/edge_model.h"
#include "engine/random_model.h"
#include "sampling/sampler.h"
#include "tensor/dequantize.h"
#include "tokenizer/chat_template.h"

namespace ruvllm {
namespace {

constexpr uint64_t kSeed = 20240229;
constexpr int64_t kNumTokens = 48;

using Outcome = Result<std::string>;  // what was measured, or why it failed

Outcome differs(std::string_view what, const std::string& found, const std::string& expected) {
  return fail(ErrorCode::kInternal, concat(what, " is ", found, ", expected ", expected));
}

std::string join(const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) text += concat(text.empty() ? "" : " ", id);
  return text;
}

Outcome check_generator() {
  const PhiloxBlock block =
      philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0});
  const PhiloxBlock expected = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
  if (block != expected) return differs("Philox of pi", concat(block[0]), concat(expected[0]));
  return "Philox4x32-10 known answer";
}

// One block of each of three formats: scale 0.5, codes that count up.
Outcome check_formats() {
  std::vector<uint8_t> q4_0 = {0x00, 0x38};
  for (uint8_t i = 0; i < 16; ++i) q4_0.push_back(static_cast<uint8_t>(i | ((15 - i) << 4)));
  std::vector<uint8_t> q8_0 = {0x00, 0x38};
  for (int i = 0; i < 32; ++i) q8_0.push_back(static_cast<uint8_t>(i * 4 - 64));
  float out[32];
  dequantize_row(DType::kQ4_0, q4_0.data(), out, 32);
  for (int i = 0; i < 32; ++i) {
    const float expected = 0.5f * static_cast<float>(i < 16 ? i - 8 : 7 - (i - 16));
    if (out[i] != expected) return differs(concat("q4_0 ", i), concat(out[i]), concat(expected));
  }
  dequantize_row(DType::kQ8_0, q8_0.data(), out, 32);
  for (int i = 0; i < 32; ++i) {
    const float expected = 0.5f * static_cast<float>(i * 4 - 64);
    if (out[i] != expected) return differs(concat("q8_0 ", i), concat(out[i]), concat(expected));
  }
  const uint16_t bf16[2] = {0x3fc0, 0xc2f7};
  dequantize_row(DType::kBF16, bf16, out, 2);
  if (out[0] != 1.5f || out[1] != -123.5f) return differs("bf16", concat(out[1]), "-123.5");
  return "q4_0, q8_0, bf16";
}

Outcome check_sampling() {
  std::vector<float> logits(100);
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = 4.0f * static_cast<float>(random_uniform(kSeed, 1, i));
  }
  GenerateParams params;  // the defaults
  Sampler sampler(params, 100, 42);
  std::vector<int32_t> ids;
  for (int i = 0; i < 12; ++i) ids.push_back(sampler.sample(logits));
  const std::string expected = "51 39 64 77 89 28 78 46 6 46 63 47";
  if (join(ids) != expected) return differs("the draw of seed 42", join(ids), expected);
  return "12 draws of seed 42";
}

// A byte-level BPE with three merges.
Outcome check_tokenizer() {
  TokenizerData data;
  data.model = TokenizerModel::kBpe;
  data.tokens = {"h", "e", "l", "o", "w", "r", "d", "\xc4\xa0", "ll", "he", "hell", "<end>"};
  data.merges = {{2, 2}, {0, 1}, {9, 8}};
  data.pre_tokenizers = {PreByteLevel{.add_prefix_space = false, .use_regex = true}};
  data.decoders = {DecodeByteLevel{}};
  AddedToken end;
  end.id = 11;
  end.content = "<end>";
  end.special = true;
  data.added_tokens = {end};
  RUVLLM_ASSIGN(const std::unique_ptr<Tokenizer> tokenizer, make_tokenizer(std::move(data)));
  RUVLLM_ASSIGN(const std::vector<int32_t> ids, tokenizer->encode("hello world<end>", true));
  const std::string expected = "10 3 7 4 3 5 2 6 11";
  if (join(ids) != expected) return differs("ids of \"hello world<end>\"", join(ids), expected);
  const std::string text = tokenizer->decode(ids, true);
  if (text != "hello world") return differs("the text", text, "hello world");
  return "byte-level BPE";
}

Outcome check_chat_template() {
  RUVLLM_ASSIGN(
      const std::unique_ptr<ChatTemplate> chat,
      make_chat_template("{% for m in messages %}[{{ m.role | upper }}] {{ m['content'] }}"
                         "{{ eos_token }}\n{% endfor %}"
                         "{% if add_generation_prompt %}[ASSISTANT] {% endif %}",
                         "<s>", "</s>"));
  RUVLLM_ASSIGN(const std::string text, chat->render({{"user", "hi"}}, true));
  const std::string expected = "[USER] hi</s>\n[ASSISTANT] ";
  if (text != expected) return differs("the prompt", printable(text), printable(expected));
  return "loop, filter, condition";
}

struct ModelOutput {
  std::vector<float> logits;  // [kNumTokens, V]
  std::string kernels;
};

Result<ModelOutput> run_model(DType dtype, ComputeType compute, bool reference, int32_t threads) {
  const ModelShape& shape = *find_shape("llama-tiny");
  RUVLLM_ASSIGN(const auto checkpoint, make_random_checkpoint(shape, dtype, kSeed));
  RunnerOptions options;
  options.compute = compute;
  options.threads = threads;
  options.reference_ops = reference;
  options.max_step_rows = 20;  // so that the sequence goes in several steps
  RUVLLM_ASSIGN(const std::unique_ptr<ModelRunner> runner, ModelRunner::load(checkpoint, options));
  std::vector<int32_t> ids;
  for (uint64_t i = 0; i < kNumTokens; ++i) {
    ids.push_back(static_cast<int32_t>(random_bits(kSeed, 2, i) % 320));
  }
  ModelOutput output;
  output.kernels = std::string(runner->kernels());
  KvSession session(*runner);
  RUVLLM_TRY(session.score(ids, {}, [&](const ScoredRow& row) {
    output.logits.insert(output.logits.end(), row.logits, row.logits + shape.vocab_size);
  }));
  return output;
}

// Largest difference, in standard deviations of the expected logits.
double difference(const std::vector<float>& found, const std::vector<float>& expected) {
  double sum = 0.0, squares = 0.0, worst = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    sum += expected[i];
    squares += static_cast<double>(expected[i]) * expected[i];
    worst = std::max(worst, std::fabs(static_cast<double>(found[i]) - expected[i]));
  }
  const auto n = static_cast<double>(expected.size());
  return worst / std::sqrt(squares / n - sum / n * (sum / n));
}

// FNV-1a over the most likely token of every position: the logits' last bits differ between math
// libraries, their order does not.
uint64_t hash_of(std::span<const float> logits, size_t vocab) {
  uint64_t hash = 14695981039346656037u;
  for (size_t i = 0; i < logits.size(); i += vocab) {
    hash = (hash ^ static_cast<uint64_t>(argmax(logits.subspan(i, vocab)))) * 1099511628211u;
  }
  return hash;
}

// The exact mode against the reference operations, and these against logits recorded when they
// agreed with transformers on every model of the golden tests.
Outcome check_exact(DType dtype, int32_t threads, SelftestReport& report) {
  RUVLLM_ASSIGN(const ModelOutput expected, run_model(dtype, ComputeType::kF32, true, 1));
  RUVLLM_ASSIGN(const ModelOutput found, run_model(dtype, ComputeType::kF32, false, threads));
  const double worst = difference(found.logits, expected.logits);
  if (!(worst < 5e-5)) {
    return differs("the largest difference from the reference", concat(worst), "below 5e-5 sd");
  }
  report.kernels = found.kernels;
  if (dtype == DType::kF32) {
    // Positions 0, 17 and 47; tokens 0, 100 and 319.
    constexpr float kExpected[] = {0.235051334f,   -1.64423811f,  -0.298616886f,
                                   -0.0138245523f, 0.779758096f,  0.470839322f,
                                   -1.63638961f,   -0.577372491f, -0.941825509f};
    size_t i = 0;
    for (const size_t position : {0, 17, 47}) {
      for (const size_t token : {0, 100, 319}) {
        const float logit = expected.logits[position * 320 + token];
        if (std::fabs(logit - kExpected[i]) > 2e-5f) {
          return differs(concat("logit ", position, ",", token), concat(logit),
                         concat(kExpected[i]));
        }
        ++i;
      }
    }
  }
  return concat("largest difference ", worst, " sd");
}

// The fast mode: rounding may move logits, but not the model.
Outcome check_fast(DType dtype, int32_t threads) {
  RUVLLM_ASSIGN(const ModelOutput expected, run_model(dtype, ComputeType::kF32, true, 1));
  RUVLLM_ASSIGN(const ModelOutput found, run_model(dtype, ComputeType::kAuto, false, threads));
  const double worst = difference(found.logits, expected.logits);
  if (!(worst < 0.25)) {
    return differs("the largest difference from the exact mode", concat(worst), "below 0.25 sd");
  }
  return concat("largest difference ", worst, " sd");
}

void run_check(SelftestReport& report, std::string name, const std::function<Outcome()>& check) {
  const auto start = std::chrono::steady_clock::now();
  const Outcome outcome = check();
  SelftestCheck entry;
  entry.name = std::move(name);
  entry.passed = outcome.has_value();
  entry.detail = outcome ? *outcome : outcome.error().message;
  entry.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report.checks.push_back(std::move(entry));
}

}  // namespace

bool SelftestReport::passed() const {
  return std::all_of(checks.begin(), checks.end(), [](const auto& check) { return check.passed; });
}

Result<SelftestReport> run_selftest(DeviceKind device, int32_t threads) {
  RUVLLM_ASSIGN(const DeviceKind chosen, choose_device(device));
  if (chosen != DeviceKind::kCpu) {
    return fail(ErrorCode::kUnsupported,
                concat("the self test has no goldens for ", device_name(chosen)));
  }
  SelftestReport report;
  report.device = device_name(chosen);
  run_check(report, "random generator", check_generator);
  run_check(report, "element formats", check_formats);
  run_check(report, "sampling", check_sampling);
  run_check(report, "tokenizer", check_tokenizer);
  run_check(report, "chat template", check_chat_template);
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kQ8_0, DType::kQ4_0}) {
    const std::string name(dtype_info(dtype).name);
    run_check(report, concat("model ", name, ", exact"),
              [&] { return check_exact(dtype, threads, report); });
    run_check(report, concat("model ", name, ", fast"), [&] { return check_fast(dtype, threads); });
  }
  if (const auto output = run_model(DType::kF32, ComputeType::kF32, true, 1)) {
    constexpr char kDigits[] = "0123456789abcdef";
    const uint64_t hash = hash_of(output->logits, 320);
    for (int shift = 60; shift >= 0; shift -= 4) report.logits_hash += kDigits[hash >> shift & 15];
  }
  return report;
}

}  // namespace ruvllm
