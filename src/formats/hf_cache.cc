#include "formats/hf_cache.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/mmap_file.h"
#include "base/str.h"
#include "formats/checkpoint.h"
#include "formats/hf_download.h"
#include "formats/safetensors.h"

namespace ruvllm {
namespace {

constexpr uint64_t kMaxRefBytes = 4096;
constexpr uint64_t kMaxIndexBytes = uint64_t{256} << 20;

std::string env(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string trim(std::string_view text) {
  const auto space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return std::string(text);
}

// $HF_HOME or its default; "" when no variable says where.
std::string hub_home() {
  if (const std::string home = env("HF_HOME"); !home.empty()) return home;
  if (const std::string cache = env("XDG_CACHE_HOME"); !cache.empty()) {
    return cache + "/huggingface";
  }
  const std::string home = env("HOME");
  return home.empty() ? "" : home + "/.cache/huggingface";
}

// A name that is one safe path component and needs no escaping in a URL.
bool is_plain_name(std::string_view name) {
  if (name.empty() || name.size() > 96 || name[0] == '.' || name[0] == '-') return false;
  if (name.find("..") != std::string_view::npos || name.find("--") != std::string_view::npos) {
    return false;
  }
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

// The names in a folder that can be commits.
std::vector<std::string> list_snapshots(const std::string& folder) {
  std::vector<std::string> names;
  DIR* dir = ::opendir(folder.c_str());
  if (dir == nullptr) return names;
  while (const dirent* entry = ::readdir(dir)) {
    const std::string_view name = entry->d_name;
    if (is_plain_name(name) && directory_exists(concat(folder, "/", name))) {
      names.emplace_back(name);
    }
  }
  ::closedir(dir);
  return names;
}

std::string executable_dir() {
  char path[4096];
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path);
  if (length <= 0 || length == static_cast<ssize_t>(sizeof path)) return "";
  const std::string_view text(path, static_cast<size_t>(length));
  return std::string(text.substr(0, text.rfind('/')));
}

// Whether the argument can only have been meant as a path.
bool looks_like_path(std::string_view model) {
  return model.starts_with('/') || model.starts_with("./") || model.starts_with("../") ||
         model.starts_with('~') || model.ends_with('/') || model.ends_with(".gguf");
}

Result<std::string> resolve_hub_model(const HubModel& model, bool offline) {
  const std::string cache = hub_cache_dir();
  const auto cached = cache.empty() ? std::nullopt : find_snapshot(cache, model);
  if (cached && (offline || snapshot_is_complete(*cached))) return *cached;
  if (offline || !download_supported()) {
    return fail(
        ErrorCode::kNotFound,
        concat(model.repo, ": not in the cache ", cache.empty() ? "(HOME is not set)" : cache,
               offline ? ", and downloading is off"
                       : ", and this program was built without RUVLLM_DOWNLOAD"));
  }
  if (cache.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                concat(model.repo, ": no folder to download to: set HF_HOME or HOME"));
  }
  return download_model(model, default_download_options(cache));
}

}  // namespace

std::optional<HubModel> parse_hub_model(std::string_view text) {
  HubModel model;
  if (const size_t at = text.find('@'); at != std::string_view::npos) {
    model.revision = text.substr(at + 1);
    text = text.substr(0, at);
    if (!is_plain_name(model.revision)) return std::nullopt;
  }
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos || !is_plain_name(text.substr(0, slash)) ||
      !is_plain_name(text.substr(slash + 1))) {
    return std::nullopt;
  }
  model.repo = text;
  return model;
}

std::string hub_cache_dir() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string path = env(name); !path.empty()) return path;
  }
  const std::string home = hub_home();
  return home.empty() ? "" : home + "/hub";
}

std::string hub_token() {
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    if (const std::string token = trim(env(name)); !token.empty()) return token;
  }
  std::string path = env("HF_TOKEN_PATH");
  if (path.empty() && !hub_home().empty()) path = hub_home() + "/token";
  if (path.empty() || !file_exists(path)) return "";
  const auto text = read_text_file(path, kMaxRefBytes);
  return text ? trim(*text) : "";
}

std::string hub_repo_dir(const std::string& cache, std::string_view repo) {
  std::string name(repo);
  if (const size_t slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  return concat(cache, "/models--", name);
}

std::optional<std::string> find_snapshot(const std::string& cache, const HubModel& model) {
  const std::string repo = hub_repo_dir(cache, model.repo);
  const std::string snapshots = repo + "/snapshots/";
  // A revision may be a commit itself.
  if (directory_exists(snapshots + model.revision)) return snapshots + model.revision;
  const auto ref = read_text_file(repo + "/refs/" + model.revision, kMaxRefBytes);
  if (ref) {
    const std::string commit = trim(*ref);
    if (is_plain_name(commit) && directory_exists(snapshots + commit)) return snapshots + commit;
  }
  if (model.revision != "main") return std::nullopt;
  const std::vector<std::string> names = list_snapshots(repo + "/snapshots");
  if (names.size() != 1) return std::nullopt;
  return snapshots + names[0];
}

bool snapshot_is_complete(const std::string& snapshot) {
  if (!file_exists(snapshot + "/config.json")) return false;
  const std::string index_path = snapshot + "/model.safetensors.index.json";
  if (!file_exists(index_path)) return file_exists(snapshot + "/model.safetensors");
  const auto text = read_text_file(index_path, kMaxIndexBytes);
  if (!text) return false;
  const auto index = parse_safetensors_index(*text, index_path);
  return index && std::ranges::all_of(index->shards, [&](const std::string& shard) {
           return file_exists(concat(snapshot, "/", shard));
         });
}

std::optional<std::string> find_demo_model(const std::string& executable) {
  std::vector<std::string> folders;
  if (const std::string models = env("RUVLLM_MODELS"); !models.empty()) folders.push_back(models);
  if (!executable.empty()) {
    folders.push_back(executable + "/models");
    folders.push_back(executable + "/../share/ruvllm/models");  // an install prefix
    // A build tree within the source tree: build/PRESET/apps/ruvllm/ruvllm.
    std::string up = executable;
    for (int i = 0; i < 5 && up.rfind('/') != std::string::npos; ++i) {
      up.resize(up.rfind('/'));
      folders.push_back(up + "/models");
    }
  }
#ifdef RUVLLM_SOURCE_MODELS_DIR
  folders.push_back(RUVLLM_SOURCE_MODELS_DIR);  // a build tree elsewhere
#endif
  for (const std::string& folder : folders) {
    if (file_exists(folder + "/demo/config.json")) return folder + "/demo";
  }
  return std::nullopt;
}

Result<std::string> resolve_model(const std::string& model, bool offline) {
  if (model.empty()) return fail(ErrorCode::kInvalidArgument, "model: found an empty name");
  if (model == "demo") {
    if (auto path = find_demo_model(executable_dir())) return *path;
    return fail(ErrorCode::kNotFound,
                "demo: the demo model is not beside this program; set RUVLLM_MODELS to the folder "
                "that holds demo/");
  }
  if (directory_exists(model) || file_exists(model)) return model;
  if (looks_like_path(model)) {
    return fail(ErrorCode::kNotFound, concat(printable(model, 200), ": no such file or folder"));
  }
  const auto hub = parse_hub_model(model);
  if (!hub) {
    return fail(ErrorCode::kNotFound, concat("\"", printable(model, 200),
                                             "\": no such file or folder, and not a model name of "
                                             "the form org/name"));
  }
  return resolve_hub_model(*hub, offline);
}

}  // namespace ruvllm
