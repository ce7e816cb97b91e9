// What an operator chooses when a model is loaded. Plain structs with in-class defaults; a field's
// comment says when to change it. Values are checked once, by load_model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ruvllm {

enum class BackendKind : uint8_t { kEdge, kServing };
enum class DeviceKind : uint8_t { kAuto, kCpu, kCuda, kMetal };

// Precision of a run. kF32 is the exact mode: weights dequantized exactly, f32 activations,
// accumulation and KV cache. kAuto is the fast mode: integer weights take int8 activations, others
// bf16 or f32 products, KV cache bf16.
enum class ComputeType : uint8_t { kAuto, kBf16, kF16, kF32 };
enum class KvType : uint8_t { kAuto, kF32, kBf16, kF16, kInt8 };

struct PagedAttentionConfig {
  int32_t block_size = 16;            // tokens per KV page
  int32_t max_blocks = 4096;          // upper bound of the page pool
  float gpu_memory_fraction = 0.9f;   // on CPU: of the memory free after the weights
  bool enable_prefix_caching = true;  // keep the pages of finished prompts for the next ones
};

enum class XLoraMixingMode : uint8_t { kAdditive, kConcatenate, kGated };

struct XLoraConfig {
  std::vector<std::string> adapters;  // kGated: empty, or the experts' names in order
  int32_t top_k = 2;                  // experts that are kept per token and module; 0: all
  float temperature = 1.0f;           // of the softmax over experts
  XLoraMixingMode mixing_mode = XLoraMixingMode::kGated;
};

enum class IsqMethod : uint8_t { kAwq, kGptq, kRtn, kSmoothQuant };

// Quantization of a model while it is loaded. Tensors named by `overrides` get other bits: a
// pattern is "embed", "head", or a part of a tensor's name; bits 0 leaves the tensor as it is
// stored; the last override that fits counts. Without one, embedding and output head are rounded to
// 8 bits.
struct IsqOverride {
  std::string pattern;
  int32_t bits = 8;
  int32_t group_size = 0;
};

struct IsqConfig {
  int32_t bits = 4;  // 2, 3, 4 or 8
  IsqMethod method = IsqMethod::kRtn;
  int32_t calibration_samples = 128;  // used by the methods that calibrate
  int32_t group_size = 0;  // weights under one scale; 0: the default (32; SmoothQuant: a row)
  bool symmetric = false;  // no zero points. 8 bits are always symmetric
  bool rotate = false;     // a random block rotation of the inputs first, for 2 and 3 bits
  uint64_t seed = 0;       // of that rotation
  // Not 0: the mix of widths that costs least at that many bits per weight (scales counted), each
  // matrix by `method` (GPTQ); `bits` and `group_size` are chosen then.
  double auto_bits = 0.0;
  // Not 0: codes and scales below 8 bits are tuned together so that predictions on the calibration
  // text, which goes by as many times, diverge least. With RTN, GPTQ and auto_bits.
  int32_t tuned_passes = 0;
  std::vector<IsqOverride> overrides;
};

// Options both backends share.
struct LoadOptions {
  DeviceKind device = DeviceKind::kAuto;
  ComputeType compute = ComputeType::kAuto;
  KvType kv = KvType::kAuto;
  int32_t threads = 0;      // 0: the physical cores this process may use
  int64_t max_seq_len = 0;  // tokens of prompt + answer; 0: what the model was trained for
  // In-situ quantization:
  // METHODBITS[:gGROUP][:sym][:rot][:tuned[N]][:seedN][,PATTERN=BITS[:gGROUP]...] with the methods
  // rtn, awq, gptq, smoothquant (sq); e.g. "rtn4:g32,down_proj=8". Empty: as stored.
  std::string isq;
  std::string calibration;            // text or JSONL of awq, gptq, sq, tuned; empty: built in
  int32_t calibration_samples = 128;  // pieces of it, of 512 tokens
  std::string isq_cache;  // folder where quantized matrices are kept for the next start; "": none
  bool offline = false;   // never download, even when MODEL is org/name
  // LoRA adapters: name and folder. "base" and "xlora" are no names.
  std::vector<std::pair<std::string, std::string>> adapters;
  std::string xlora;  // the folder of an X-LoRA; empty: none
  // Changes what its folder says (top_k, temperature); with kAdditive and kConcatenate there is no
  // folder, and `adapters` above are added up: XLoraConfig::adapters, each NAME or NAME:WEIGHT.
  std::optional<XLoraConfig> xlora_config;
  // Adapters that load_adapter() reads must lie inside this folder, links resolved; empty:
  // anywhere.
  std::string adapter_root;
  // Of adapters in memory; the least recently used beyond it are read again when needed.
  uint64_t adapter_memory_bytes = uint64_t{1} << 30;
  int32_t max_resident_adapters = 64;
  // What requests are computed with: a name, "base", "xlora", or a sum such as "a:0.5+b:0.5".
  // Empty: the X-LoRA or the one adapter there is, else the plain model.
  std::string use_adapter;
};

// Options of the serving backend; names and defaults follow the design record.
struct ServingConfig {
  PagedAttentionConfig paged_attention;
  int32_t max_concurrent_requests = 128;
  int32_t max_batched_tokens = 2048;
  int32_t max_waiting_requests = 1024;  // beyond the concurrent ones; more are refused
  uint64_t kv_cache_memory_bytes = 0;   // of the page pool; 0: by max_blocks and free memory
  std::vector<IsqConfig> isq;           // empty: as stored
  std::vector<XLoraConfig> xlora;       // at most one: LoadOptions::xlora_config; empty: none
  DeviceKind device = DeviceKind::kAuto;

  static ServingConfig for_cuda() {
    ServingConfig config;
    config.device = DeviceKind::kCuda;
    return config;
  }
  static ServingConfig for_metal() {
    ServingConfig config;
    config.device = DeviceKind::kMetal;
    return config;
  }
  ServingConfig with_paged_attention(PagedAttentionConfig value) const {
    ServingConfig config = *this;
    config.paged_attention = value;
    return config;
  }
  ServingConfig with_xlora(XLoraConfig value) const {
    ServingConfig config = *this;
    config.xlora = {std::move(value)};
    return config;
  }
  ServingConfig with_isq(IsqConfig value) const {
    ServingConfig config = *this;
    config.isq = {value};
    return config;
  }
};

}  // namespace ruvllm
