// Downloads a model from a Hugging Face hub into the cache (layout: hf_cache.h).
//
// What is fetched: config and tokenizer files and the model*.safetensors of the top folder. Every
// file goes to blobs/HASH.incomplete, continues where an earlier attempt stopped, and becomes
// blobs/HASH only when its size and its hash (SHA-256 for large files, git's for small ones) are
// what the hub said; refs/ is written last. So a snapshot that refs/ names is whole, whatever was
// interrupted. One process at a time per model (a lock file); others get kUnavailable.
//
// The token goes to the hub's own host only, over https or to this machine, and into no message.
// Blocks; one thread per call. Failure: kNotFound, kUnavailable (lock), kIo (network, disk, wrong
// size or hash), kUnsupported (no safetensors; built without RUVLLM_DOWNLOAD).
#pragma once

#include <cstdint>
#include <string>

#include "formats/hf_cache.h"
#include "ruvllm/result.h"

namespace ruvllm {

struct DownloadOptions {
  std::string endpoint = "https://huggingface.co";
  std::string token;
  std::string cache;
  bool progress = true;      // a bar on stderr, when that is a terminal
  int max_attempts = 6;      // per file, in a row without a byte of progress
  int retry_delay_ms = 500;  // before the second attempt; doubles with each
};

// Whether this build can download.
bool download_supported();

// From the environment: HF_ENDPOINT, the token.
DownloadOptions default_download_options(const std::string& cache);

// -> the snapshot's folder.
Result<std::string> download_model(const HubModel& model, const DownloadOptions& options);

}  // namespace ruvllm
