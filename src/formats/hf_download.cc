#include "formats/hf_download.h"

#include "base/str.h"

#ifdef RUVLLM_HAS_DOWNLOAD

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "base/json.h"
#include "base/mmap_file.h"
#include "base/new_file.h"
#include "formats/file_hash.h"
#include "formats/http_client.h"
#include "formats/progress_bar.h"

namespace ruvllm {
namespace {

constexpr uint64_t kMaxListBytes = uint64_t{64} << 20;
constexpr size_t kMaxFiles = 10'000;
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 42;  // of one file: 4 TiB

// A file of the repository, and what is known of it before it is fetched.
struct RemoteFile {
  std::string name;
  std::string hash;  // 64 hex digits: SHA-256; 40: git's SHA-1 of the blob
  std::optional<uint64_t> size;
};

std::unexpected<Error> io_error(const std::string& path, const char* what) {
  return fail(ErrorCode::kIo, concat(path, ": cannot ", what, ": ", std::strerror(errno)));
}

Status make_dirs(const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    RUVLLM_TRY(make_folder(part));
    if (end == std::string::npos) return {};
  }
}

bool is_hash(std::string_view text) {
  return (text.size() == 40 || text.size() == 64) && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

// The names this program reads, in the top folder. Everything else stays on the hub.
bool is_wanted(std::string_view name) {
  if (name == "1_Pooling/config.json") return true;
  if (name.empty() || name.size() > 200 || name[0] == '.') return false;
  const bool plain = std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
  if (!plain) return false;
  // Some repositories hold the weights a second time as consolidated*.safetensors.
  if (name.ends_with(".safetensors")) return name.starts_with("model");
  for (const char* ending : {".json", ".model", ".txt", ".tiktoken", ".jinja"}) {
    if (name.ends_with(ending)) return true;
  }
  return false;
}

// Holds the repository's lock file while it lives.
class RepoLock {
 public:
  static Result<RepoLock> take(const std::string& path) {
    RepoLock lock;
    lock.fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock.fd_ < 0) return io_error(path, "open");
    if (::flock(lock.fd_, LOCK_EX | LOCK_NB) != 0) {
      return fail(ErrorCode::kUnavailable,
                  concat(path, ": another process is downloading this model"));
    }
    return lock;
  }
  RepoLock(RepoLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  RepoLock(const RepoLock&) = delete;
  RepoLock& operator=(const RepoLock&) = delete;
  ~RepoLock() {
    if (fd_ >= 0) ::close(fd_);  // which unlocks
  }

 private:
  RepoLock() = default;
  int fd_ = -1;
};

class Download {
 public:
  Download(const HubModel& model, const DownloadOptions& options, HttpClient client)
      : model_(model),
        options_(options),
        client_(std::move(client)),
        repo_dir_(hub_repo_dir(options.cache, model.repo)) {}

  Result<std::string> run() {
    RUVLLM_TRY(make_dirs(repo_dir_ + "/blobs"));
    RUVLLM_TRY(make_dirs(repo_dir_ + "/refs"));
    RUVLLM_ASSIGN(const RepoLock lock, RepoLock::take(repo_dir_ + "/.ruvllm.lock"));
    RUVLLM_ASSIGN(std::vector<RemoteFile> files, list_files());
    RUVLLM_TRY(check_selection(files));
    const std::string snapshot = concat(repo_dir_, "/snapshots/", commit_);
    RUVLLM_TRY(make_dirs(snapshot));
    for (RemoteFile& file : files) {
      RUVLLM_TRY(complete_facts(file));
      RUVLLM_TRY(fetch_blob(file));
      RUVLLM_TRY(link_blob(file, snapshot));
    }
    if (model_.revision != commit_) RUVLLM_TRY(write_ref());
    return snapshot;
  }

 private:
  std::string file_url(const std::string& name) const {
    return concat(options_.endpoint, "/", model_.repo, "/resolve/", commit_, "/", name);
  }

  // What an HTTP status other than 200 means to the user.
  std::unexpected<Error> http_error(const std::string& what, long status) const {
    if (status == 401 || status == 403) {
      return fail(ErrorCode::kIo,
                  concat(model_.repo, ": ", options_.endpoint, " answers ", status, ": ",
                         options_.token.empty()
                             ? "the model is private, gated or does not exist; set HF_TOKEN"
                             : "the token does not give access (accept the model's terms on its "
                               "page?)"));
    }
    if (status == 404) {
      return fail(ErrorCode::kNotFound,
                  concat(model_.repo, ": ", options_.endpoint, " has no such ", what, " (404)"));
    }
    return fail(ErrorCode::kIo,
                concat(model_.repo, ": ", what, ": ", options_.endpoint, " answers ", status));
  }

  // Sets commit_; gives the wanted files.
  Result<std::vector<RemoteFile>> list_files() {
    std::string url = concat(options_.endpoint, "/api/models/", model_.repo);
    if (model_.revision != "main") url += concat("/revision/", model_.revision);
    RUVLLM_ASSIGN(const HttpReply reply, client_.get(url + "?blobs=true", kMaxListBytes));
    if (reply.status != 200) return http_error("model", reply.status);
    const auto bad = [&](const std::string& what) {
      return fail(ErrorCode::kIo, concat(url, ": ", what));
    };
    auto root = Json::parse(reply.body);
    if (!root) return bad(root.error().message);
    const Json* sha = root->find("sha");
    if (sha == nullptr || !sha->is_string() || !is_hash(*sha->as_string())) {
      return bad("sha: expected a commit hash");
    }
    commit_ = *sha->as_string();
    const Json* siblings = root->find("siblings");
    if (siblings == nullptr || !siblings->is_array() || siblings->as_array()->size() > kMaxFiles) {
      return bad(concat("siblings: expected an array of at most ", kMaxFiles, " files"));
    }
    std::vector<RemoteFile> files;
    for (const Json& item : *siblings->as_array()) {
      const Json* name = item.find("rfilename");
      if (name == nullptr || !name->is_string()) return bad("siblings: expected file names");
      has_gguf_ = has_gguf_ || name->as_string()->ends_with(".gguf");
      if (!is_wanted(*name->as_string())) continue;
      files.push_back(facts_of(*name->as_string(), item));
    }
    // The small files first: a model this program cannot run shows before gigabytes are fetched.
    std::ranges::sort(files, [](const RemoteFile& a, const RemoteFile& b) {
      const bool a_large = a.name.ends_with(".safetensors");
      const bool b_large = b.name.ends_with(".safetensors");
      return a_large != b_large ? b_large : a.name < b.name;
    });
    return files;
  }

  // Size and hash as far as the list has them.
  static RemoteFile facts_of(const std::string& name, const Json& item) {
    RemoteFile file;
    file.name = name;
    const auto text = [](const Json* object, const char* key) -> std::string {
      const Json* value = object != nullptr ? object->find(key) : nullptr;
      return value != nullptr && value->is_string() ? *value->as_string() : "";
    };
    const Json* lfs = item.find("lfs");
    file.hash = text(lfs, "sha256");
    if (file.hash.empty() && (lfs == nullptr || lfs->is_null())) file.hash = text(&item, "blobId");
    if (const Json* size = item.find("size")) file.size = size->as_uint64();
    return file;
  }

  Status check_selection(const std::vector<RemoteFile>& files) const {
    const auto has = [&](std::string_view name) {
      return std::ranges::any_of(files, [&](const RemoteFile& f) { return f.name == name; });
    };
    const bool weights = std::ranges::any_of(
        files, [](const RemoteFile& f) { return f.name.ends_with(".safetensors"); });
    if (has("config.json") && weights) return {};
    return fail(
        ErrorCode::kUnsupported,
        concat(model_.repo, ": expected config.json and model*.safetensors, found ",
               has("config.json") ? "no weights" : "no config.json",
               has_gguf_ ? " (it has .gguf files: download one and name it as the model)" : ""));
  }

  // Asks the hub for what the list did not tell.
  Status complete_facts(RemoteFile& file) {
    if (!is_hash(file.hash) || !file.size) {
      RUVLLM_ASSIGN(const HttpReply reply, client_.head(file_url(file.name)));
      if (reply.status >= 400) return http_error("file " + file.name, reply.status);
      file.hash = !reply.linked_etag.empty() ? reply.linked_etag : reply.etag;
      file.size = reply.linked_size ? reply.linked_size : reply.content_length;
    }
    if (!is_hash(file.hash) || !file.size || *file.size > kMaxFileBytes) {
      return fail(ErrorCode::kIo,
                  concat(file_url(file.name), ": the hub tells no size and hash for this file"));
    }
    return {};
  }

  // The file's bytes in blobs/HASH, checked.
  Status fetch_blob(const RemoteFile& file) {
    const std::string blob = concat(repo_dir_, "/blobs/", file.hash);
    struct stat info = {};
    if (::stat(blob.c_str(), &info) == 0 && static_cast<uint64_t>(info.st_size) == *file.size) {
      return {};
    }
    const std::string partial = blob + ".incomplete";
    const int fd = ::open(partial.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) return io_error(partial, "create");
    Status status = fetch_into(file, partial, fd);
    if (::close(fd) != 0 && status) status = io_error(partial, "write");
    RUVLLM_TRY(status);
    RUVLLM_ASSIGN(const std::string hash, hash_file(partial, file.hash.size() == 40));
    if (hash != file.hash) {
      ::unlink(partial.c_str());
      return fail(ErrorCode::kIo, concat(file_url(file.name), ": hash: found ", hash, ", expected ",
                                         file.hash, "; the file was deleted"));
    }
    if (::rename(partial.c_str(), blob.c_str()) != 0) return io_error(blob, "rename");
    return {};
  }

  // Continues `fd` until it has file.size bytes.
  Status fetch_into(const RemoteFile& file, const std::string& path, int fd) {
    struct stat info = {};
    if (::fstat(fd, &info) != 0) return io_error(path, "read");
    uint64_t done = static_cast<uint64_t>(info.st_size);
    if (done > *file.size) done = 0;
    ProgressBar bar(options_.progress, file.name, *file.size);
    int attempt = 0;
    while (done < *file.size) {
      const uint64_t before = done;
      if (::ftruncate(fd, static_cast<off_t>(done)) != 0) return io_error(path, "write");
      RUVLLM_ASSIGN(const bool restarted, fetch_once(file, path, fd, done, bar));
      if (restarted) {
        if (before == 0) return size_error(file, done);
        done = 0;
        continue;
      }
      attempt = done > before ? 0 : attempt + 1;
      if (attempt >= options_.max_attempts) {
        return fail(ErrorCode::kIo, concat(file_url(file.name), ": the connection broke ", attempt,
                                           " times in a row at byte ", done, " of ", *file.size));
      }
      if (attempt > 0 && done < *file.size) wait_before_retry(attempt);
    }
    return ::ftruncate(fd, static_cast<off_t>(done)) == 0 ? Status() : io_error(path, "write");
  }

  std::unexpected<Error> size_error(const RemoteFile& file, uint64_t found) const {
    return fail(ErrorCode::kIo, concat(file_url(file.name), ": size: found ", found,
                                       " bytes, expected ", *file.size));
  }

  // One transfer from `done` on, which moves with the bytes written. True: the server does not
  // continue but starts over.
  Result<bool> fetch_once(const RemoteFile& file, const std::string& path, int fd, uint64_t& done,
                          ProgressBar& bar) {
    HttpReply reply;
    bool too_long = false;
    bool disk_failed = false;
    const auto write = [&](const char* data, size_t size) {
      too_long = size > *file.size - done;
      if (too_long) return false;
      for (size_t at = 0; at < size;) {
        const ssize_t n = ::pwrite(fd, data + at, size - at, static_cast<off_t>(done));
        if (n < 0 && errno == EINTR) continue;
        disk_failed = n <= 0;
        if (disk_failed) return false;
        at += static_cast<size_t>(n);
        done += static_cast<uint64_t>(n);
      }
      bar.update(done);
      return true;
    };
    const uint64_t before = done;
    RUVLLM_ASSIGN(const FetchEnd end, client_.fetch(file_url(file.name), before, reply, write));
    if (disk_failed) return io_error(path, "write");
    if (too_long) {
      if (::ftruncate(fd, 0) != 0) return io_error(path, "write");
      return fail(ErrorCode::kIo, concat(file_url(file.name), ": size: found more than the ",
                                         *file.size, " bytes expected"));
    }
    if (end == FetchEnd::kRestarted || reply.status == 416) return true;
    if (end == FetchEnd::kCut) return false;
    if (reply.status != 200 && reply.status != 206) {
      return http_error("file " + file.name, reply.status);
    }
    if (done != *file.size) return size_error(file, done);
    return false;
  }

  void wait_before_retry(int attempt) const {
    const int doublings = std::min(attempt - 1, 6);
    std::this_thread::sleep_for(
        std::chrono::milliseconds(int64_t{options_.retry_delay_ms} << doublings));
  }

  // snapshots/COMMIT/NAME -> ../../blobs/HASH, put in place by rename.
  Status link_blob(const RemoteFile& file, const std::string& snapshot) const {
    const std::string path = concat(snapshot, "/", file.name);
    std::string up = "../../";
    if (const size_t slash = file.name.find('/'); slash != std::string::npos) {
      RUVLLM_TRY(make_dirs(concat(snapshot, "/", file.name.substr(0, slash))));
      up += "../";
    }
    const std::string temporary = path + ".tmp";
    ::unlink(temporary.c_str());
    if (::symlink(concat(up, "blobs/", file.hash).c_str(), temporary.c_str()) != 0) {
      return io_error(temporary, "create");
    }
    if (::rename(temporary.c_str(), path.c_str()) != 0) return io_error(path, "rename");
    return {};
  }

  Status write_ref() const {
    const std::string path = concat(repo_dir_, "/refs/", model_.revision);
    const std::string temporary = path + ".tmp";
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return io_error(temporary, "create");
    const bool written =
        ::write(fd, commit_.data(), commit_.size()) == static_cast<ssize_t>(commit_.size());
    if (::close(fd) != 0 || !written) return io_error(temporary, "write");
    if (::rename(temporary.c_str(), path.c_str()) != 0) return io_error(path, "rename");
    return {};
  }

  const HubModel& model_;
  const DownloadOptions& options_;
  HttpClient client_;
  std::string repo_dir_;
  std::string commit_;
  bool has_gguf_ = false;
};

// Whether a secret may be sent there: over TLS, or to this machine.
bool is_private_channel(std::string_view endpoint) {
  if (endpoint.starts_with("https://")) return true;
  for (const char* local : {"http://localhost", "http://127.0.0.1", "http://[::1]"}) {
    if (!endpoint.starts_with(local)) continue;
    const std::string_view rest = endpoint.substr(std::strlen(local));
    if (rest.empty() || rest[0] == ':' || rest[0] == '/') return true;
  }
  return false;
}

}  // namespace

bool download_supported() {
  return true;
}

DownloadOptions default_download_options(const std::string& cache) {
  DownloadOptions options;
  options.cache = cache;
  if (const char* endpoint = std::getenv("HF_ENDPOINT"); endpoint != nullptr && *endpoint != 0) {
    options.endpoint = endpoint;
  }
  while (options.endpoint.ends_with('/')) options.endpoint.pop_back();
  if (is_private_channel(options.endpoint)) options.token = hub_token();
  return options;
}

Result<std::string> download_model(const HubModel& model, const DownloadOptions& options) {
  RUVLLM_ASSIGN(HttpClient client, HttpClient::create(options.token));
  return Download(model, options, std::move(client)).run();
}

}  // namespace ruvllm

#else  // RUVLLM_HAS_DOWNLOAD

namespace ruvllm {

bool download_supported() {
  return false;
}

DownloadOptions default_download_options(const std::string& cache) {
  DownloadOptions options;
  options.cache = cache;
  return options;
}

Result<std::string> download_model(const HubModel& model, const DownloadOptions&) {
  return fail(ErrorCode::kUnsupported,
              concat(model.repo, ": cannot download: built without RUVLLM_DOWNLOAD"));
}

}  // namespace ruvllm

#endif  // RUVLLM_HAS_DOWNLOAD
