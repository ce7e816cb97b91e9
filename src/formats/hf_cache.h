// The Hugging Face cache on disk, as huggingface_hub lays it out, and how a MODEL argument becomes
// a path (resolve_model of checkpoint.h is here):
//
//   $HF_HUB_CACHE, or $HF_HOME/hub, or $XDG_CACHE_HOME/huggingface/hub, or ~/.cache/huggingface/hub
//     models--ORG--NAME/refs/main              the commit that "main" was when it was fetched
//     models--ORG--NAME/snapshots/COMMIT/...   links to
//     models--ORG--NAME/blobs/HASH
//
// Reads the environment and the file system, changes nothing. Any thread (not while another one
// changes the environment).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "ruvllm/result.h"

namespace ruvllm {

// "org/name" or "org/name@revision", checked to be safe as parts of a path and a URL.
struct HubModel {
  std::string repo;  // "org/name"
  std::string revision = "main";
};
std::optional<HubModel> parse_hub_model(std::string_view text);

// The cache's folder; "" when no environment variable says where.
std::string hub_cache_dir();
// The access token: $HF_TOKEN, or the file $HF_TOKEN_PATH or $HF_HOME/token; "" for none. A secret.
std::string hub_token();

// "<cache>/models--org--name".
std::string hub_repo_dir(const std::string& cache, std::string_view repo);
// The snapshot folder of that revision, or of the only one there is; nullopt when there is none.
std::optional<std::string> find_snapshot(const std::string& cache, const HubModel& model);
// Whether config.json and all weight files are there.
bool snapshot_is_complete(const std::string& snapshot);

// Where the demo model is looked for, in order; `executable_dir` may be "".
std::optional<std::string> find_demo_model(const std::string& executable_dir);

}  // namespace ruvllm
