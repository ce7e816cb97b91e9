// Downloads from a small hub that the test runs on a loopback socket and that misbehaves on
// request: cut connections, wrong bytes, refused ranges, missing rights.
#include "formats/hf_download.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>

#include "base/mmap_file.h"
#include "base/str.h"
#include "base/test_util.h"

namespace ruvllm {
namespace {

namespace fs = std::filesystem;

constexpr char kCommit[] = "0123456789012345678901234567890123456789";
// printf 'blob 2\0{}' | sha1sum
constexpr char kEmptyObjectSha1[] = "9e26dfeeb6e641a33dae4961196235bdb965b21b";

struct RemoteContent {
  std::string body;
  std::string hash;  // 40 digits: git's, 64: LFS
};

// One connection per request, requests answered one after the other on one thread.
class FakeHub {
 public:
  FakeHub() {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(::listen(listener_, 16), 0);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    endpoint = concat("http://127.0.0.1:", ntohs(address.sin_port));
    thread_ = std::thread([this] { serve(); });
  }
  ~FakeHub() {
    stop_ = true;
    thread_.join();
    ::close(listener_);
  }

  std::string endpoint;
  std::map<std::string, RemoteContent> files;  // set before the first request
  // Behaviour.
  bool facts_in_list = true;  // sizes and hashes in /api/models, otherwise by HEAD
  int status = 200;           // of everything
  int cuts = 0;               // that many file replies end after `cut_after` bytes
  size_t cut_after = 0;
  bool honours_range = true;
  bool redirects = false;  // large files lie elsewhere
  std::string list_override;

  std::vector<std::string> requests() {
    const std::lock_guard guard(mutex_);
    return log_;
  }
  size_t count(std::string_view part) {
    size_t n = 0;
    for (const std::string& request : requests()) n += request.find(part) != std::string::npos;
    return n;
  }

 private:
  void serve() {
    while (!stop_) {
      pollfd waiting = {listener_, POLLIN, 0};
      if (::poll(&waiting, 1, 20) <= 0) continue;
      const int fd = ::accept(listener_, nullptr, nullptr);
      if (fd < 0) continue;
      std::string request;
      char buffer[4096];
      while (request.find("\r\n\r\n") == std::string::npos && request.size() < 65536) {
        const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
        if (n <= 0) break;
        request.append(buffer, static_cast<size_t>(n));
      }
      {
        const std::lock_guard guard(mutex_);
        log_.push_back(request);
      }
      send_all(fd, answer(request));
      ::shutdown(fd, SHUT_WR);
      while (::recv(fd, buffer, sizeof buffer, 0) > 0) {
      }
      ::close(fd);
    }
  }

  static void send_all(int fd, const std::string& text) {
    for (size_t at = 0; at < text.size();) {
      const ssize_t n = ::send(fd, text.data() + at, text.size() - at, MSG_NOSIGNAL);
      if (n <= 0) return;
      at += static_cast<size_t>(n);
    }
  }

  static std::string reply(int code, const std::string& headers, const std::string& body) {
    return concat("HTTP/1.1 ", code, " X\r\nConnection: close\r\n", headers,
                  "Content-Length: ", body.size(), "\r\n\r\n", body);
  }

  std::string answer(const std::string& request) {
    const size_t space = request.find(' ');
    const std::string method = request.substr(0, space);
    const std::string path = request.substr(space + 1, request.find(' ', space + 1) - space - 1);
    if (status != 200) return reply(status, "", "no");
    if (path.starts_with("/api/models/org/name")) return reply(200, "", list());
    const std::string prefix = concat("/org/name/resolve/", kCommit, "/");
    const bool elsewhere = path.starts_with("/elsewhere/");
    const std::string name = elsewhere                  ? path.substr(11)
                             : path.starts_with(prefix) ? path.substr(prefix.size())
                                                        : std::string();
    const auto file = files.find(name);
    if (file == files.end()) return reply(404, "", "not here");
    return file_reply(method, file->second, name, elsewhere, request);
  }

  std::string file_reply(const std::string& method, const RemoteContent& file,
                         const std::string& name, bool elsewhere, const std::string& request) {
    const bool large = file.hash.size() == 64;
    const std::string& body = file.body;
    if (redirects && large && !elsewhere) {
      return reply(
          302,
          concat("Location: /elsewhere/", name, "\r\nETag: \"pointer\"\r\nX-Linked-Etag: \"",
                 file.hash, "\"\r\nX-Linked-Size: ", body.size(), "\r\n"),
          "");
    }
    if (method == "HEAD") {
      return concat("HTTP/1.1 200 X\r\nConnection: close\r\nETag: \"", file.hash,
                    "\"\r\nContent-Length: ", body.size(), "\r\n\r\n");
    }
    size_t begin = 0;
    int code = 200;
    std::string headers;
    const size_t range = request.find("Range: bytes=");
    if (range != std::string::npos && honours_range) {
      const size_t at = range + 13;
      EXPECT_TRUE(parse_number(request.substr(at, request.find('-', at) - at), begin));
      if (begin >= body.size()) return reply(416, "", "");
      code = 206;
      headers =
          concat("Content-Range: bytes ", begin, "-", body.size() - 1, "/", body.size(), "\r\n");
    }
    std::string whole = reply(code, headers, body.substr(begin));
    if (cuts > 0 && large) {
      --cuts;
      whole.resize(whole.size() - (body.size() - begin) + std::min(cut_after, body.size() - begin));
    }
    return whole;
  }

  std::string list() const {
    if (!list_override.empty()) return list_override;
    std::string out = concat("{\"sha\":\"", kCommit, "\",\"siblings\":[");
    bool first = true;
    for (const auto& [name, file] : files) {
      out += concat(first ? "" : ",", "{\"rfilename\":\"", name, "\"");
      first = false;
      if (facts_in_list) {
        out += concat(",\"size\":", file.body.size(), ",\"blobId\":\"",
                      file.hash.size() == 40 ? file.hash : std::string(40, '0'), "\"");
        if (file.hash.size() == 64) out += concat(",\"lfs\":{\"sha256\":\"", file.hash, "\"}");
      }
      out += "}";
    }
    return out + "]}";
  }

  int listener_ = -1;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
  std::mutex mutex_;
  std::vector<std::string> log_;
};

class HfDownload : public testing::Test {
 protected:
  void SetUp() override {
    if (!download_supported()) GTEST_SKIP() << "built without RUVLLM_DOWNLOAD";
    hub_.files["config.json"] = {"{}", kEmptyObjectSha1};
    // 1,000,000 letters a: a published SHA-256 test vector.
    hub_.files["model.safetensors"] = {
        std::string(1'000'000, 'a'),
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"};
    hub_.files["README.md"] = {"text", std::string(40, '1')};
    options_.endpoint = hub_.endpoint;
    options_.cache = test::make_temp_dir();
    options_.progress = false;
    options_.retry_delay_ms = 1;
    options_.max_attempts = 3;
  }
  Result<std::string> download() { return download_model({"org/name", "main"}, options_); }
  std::string repo() const { return options_.cache + "/models--org--name"; }
  std::string blob(const std::string& name) { return repo() + "/blobs/" + hub_.files[name].hash; }
  void expect_whole(const Result<std::string>& snapshot) {
    ASSERT_TRUE(snapshot) << snapshot.error().message;
    EXPECT_EQ(*snapshot, repo() + "/snapshots/" + kCommit);
    for (const char* name : {"config.json", "model.safetensors"}) {
      const auto text = read_text_file(*snapshot + "/" + name, 1 << 22);
      ASSERT_TRUE(text) << text.error().message;
      EXPECT_EQ(*text, hub_.files[name].body);
      EXPECT_TRUE(fs::is_symlink(*snapshot + "/" + name));
      EXPECT_TRUE(file_exists(blob(name)));
      EXPECT_FALSE(file_exists(blob(name) + ".incomplete"));
    }
    EXPECT_EQ(*read_text_file(repo() + "/refs/main", 100), kCommit);
  }

  FakeHub hub_;
  DownloadOptions options_;
};

TEST_F(HfDownload, FetchesWhatIsNeededOnce) {
  expect_whole(download());
  EXPECT_FALSE(fs::exists(repo() + "/snapshots/" + kCommit + "/README.md"));
  EXPECT_EQ(hub_.count("README"), 0u);
  expect_whole(download());  // a second run fetches only the list
  EXPECT_EQ(hub_.requests().size(), 4u);
  EXPECT_EQ(find_snapshot(options_.cache, {"org/name", "main"}), repo() + "/snapshots/" + kCommit);
}

TEST_F(HfDownload, FactsFromHeadersAndRedirects) {
  hub_.facts_in_list = false;
  hub_.redirects = true;
  expect_whole(download());
  EXPECT_EQ(hub_.count("HEAD "), 2u);
  EXPECT_EQ(hub_.count("GET /elsewhere/model.safetensors"), 1u);
}

TEST_F(HfDownload, ContinuesAfterCuts) {
  hub_.cuts = 4;
  hub_.cut_after = 100'000;
  expect_whole(download());
  EXPECT_EQ(hub_.count("GET /org/name/resolve/0123456789012345678901234567890123456789/model"), 5u);
  EXPECT_EQ(hub_.count("Range: bytes=400000-"), 1u);
}

TEST_F(HfDownload, ContinuesWhatAnEarlierRunLeft) {
  fs::create_directories(repo() + "/blobs");
  std::ofstream(blob("model.safetensors") + ".incomplete") << std::string(999'990, 'a');
  expect_whole(download());
  EXPECT_EQ(hub_.count("Range: bytes=999990-"), 1u);
}

TEST_F(HfDownload, StartsOverWhenTheServerIgnoresRanges) {
  fs::create_directories(repo() + "/blobs");
  std::ofstream(blob("model.safetensors") + ".incomplete") << std::string(500, 'a');
  hub_.honours_range = false;
  expect_whole(download());
}

TEST_F(HfDownload, StartsOverWhenTheLeftoverIsTooLong) {
  fs::create_directories(repo() + "/blobs");
  std::ofstream(blob("model.safetensors") + ".incomplete") << std::string(1'000'500, 'b');
  expect_whole(download());
}

TEST_F(HfDownload, GivesUpAfterCutsWithoutProgress) {
  hub_.cuts = 100;
  hub_.cut_after = 0;
  const auto result = download();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kIo);
  EXPECT_NE(result.error().message.find("broke 3 times in a row at byte 0 of 1000000"),
            std::string::npos)
      << result.error().message;
  EXPECT_FALSE(file_exists(repo() + "/refs/main"));
  hub_.cuts = 0;
  expect_whole(download());
}

TEST_F(HfDownload, WrongBytesAreNotKept) {
  hub_.files["model.safetensors"].body[500'000] = 'b';
  const auto result = download();
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("hash: found "), std::string::npos);
  EXPECT_FALSE(file_exists(blob("model.safetensors")));
  EXPECT_FALSE(file_exists(blob("model.safetensors") + ".incomplete"));
  EXPECT_FALSE(file_exists(repo() + "/refs/main"));
  hub_.files["config.json"].body = "[]";  // the same for git's hashes
  fs::remove(blob("config.json"));
  EXPECT_NE(download().error().message.find("config.json: hash: found "), std::string::npos);
}

TEST_F(HfDownload, WrongSizesAreRefused) {
  const std::string hash = hub_.files["model.safetensors"].hash;
  for (const int size : {10, 2'000'000}) {
    hub_.list_override =
        concat("{\"sha\":\"", kCommit,
               "\",\"siblings\":[{\"rfilename\":\"config.json\",\"size\":2,", "\"blobId\":\"",
               kEmptyObjectSha1, "\"},{\"rfilename\":\"model.safetensors\",\"size\":", size,
               ",\"lfs\":{\"sha256\":\"", hash, "\"}}]}");
    const auto result = download();
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().message.find("size: found "), std::string::npos)
        << result.error().message;
  }
}

TEST_F(HfDownload, StatusesAreExplained) {
  hub_.status = 401;
  EXPECT_NE(download().error().message.find("set HF_TOKEN"), std::string::npos);
  options_.token = "hf_secret";
  hub_.status = 403;
  const auto denied = download();
  EXPECT_NE(denied.error().message.find("does not give access"), std::string::npos);
  EXPECT_EQ(denied.error().message.find("hf_secret"), std::string::npos);
  EXPECT_EQ(hub_.count("Authorization: Bearer hf_secret"), 1u);
  hub_.status = 404;
  EXPECT_EQ(download().error().code, ErrorCode::kNotFound);
  hub_.status = 500;
  EXPECT_EQ(download().error().code, ErrorCode::kIo);
  options_.token = "bad\ntoken";
  EXPECT_EQ(download().error().code, ErrorCode::kInvalidArgument);
}

TEST_F(HfDownload, HostileListsStayInTheFolder) {
  const auto list = [&](const std::string& names) {
    hub_.list_override = concat("{\"sha\":\"", kCommit, "\",\"siblings\":[", names, "]}");
  };
  list(R"({"rfilename":"../../config.json"},{"rfilename":"/etc/model.json"},)"
       R"({"rfilename":"a/model.safetensors"},{"rfilename":".hidden.json"},)"
       R"({"rfilename":"consolidated.safetensors"},{"rfilename":"x.gguf"},)"
       R"({"rfilename":"model.safetensors"})");
  const auto result = download();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(result.error().message.find("no config.json (it has .gguf files"), std::string::npos)
      << result.error().message;
  hub_.list_override = R"({"sha":"../../x","siblings":[]})";
  EXPECT_NE(download().error().message.find("sha: expected a commit hash"), std::string::npos);
  hub_.list_override = "<html>";
  EXPECT_NE(download().error().message.find("not valid JSON"), std::string::npos);
  list(R"({"rfilename":"config.json","size":2,"lfs":{"sha256":"../../../../x"}},)"
       R"({"rfilename":"model.safetensors"})");
  EXPECT_TRUE(download());  // the bad hash is not used: headers tell the right one
  EXPECT_TRUE(file_exists(blob("config.json")));
}

TEST_F(HfDownload, OneProcessAtATime) {
  fs::create_directories(repo());
  const int fd = ::open((repo() + "/.ruvllm.lock").c_str(), O_RDWR | O_CREAT, 0666);
  ASSERT_EQ(::flock(fd, LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(download().error().code, ErrorCode::kUnavailable);
  ::close(fd);
  expect_whole(download());
}

TEST_F(HfDownload, NobodyListens) {
  options_.endpoint = "http://127.0.0.1:1";
  const auto result = download();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace ruvllm
