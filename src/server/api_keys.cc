#include "server/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>

#include "base/str.h"
#include "server/http_message.h"

namespace ruvllm::server {
namespace {

constexpr size_t kMaxKeyBytes = 512;
constexpr size_t kMaxFileBytes = 8u << 20;

std::string hex(const Sha256& hash, size_t bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < bytes; ++i) {
    out += kDigits[hash[i] >> 4];
    out += kDigits[hash[i] & 15];
  }
  return out;
}

bool parse_hash(std::string_view text, Sha256& out) {
  if (text.size() != 2 * out.size()) return false;
  for (size_t i = 0; i < out.size(); ++i) {
    const char* begin = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(begin, begin + 2, out[i], 16);
    if (error != std::errc() || end != begin + 2) return false;
  }
  return true;
}

Result<std::string> read_file(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             &std::fclose);
  if (file == nullptr) return fail(ErrorCode::kNotFound, concat(path, ": cannot be read"));
  std::string text;
  char buffer[4096];
  while (const size_t size = std::fread(buffer, 1, sizeof buffer, file.get())) {
    text.append(buffer, size);
    if (text.size() > kMaxFileBytes) {
      return fail(ErrorCode::kBadFile, concat(path, ": larger than ", kMaxFileBytes, " bytes"));
    }
  }
  return text;
}

}  // namespace

Sha256 sha256(std::string_view data) {
  Sha256 out = {};
  unsigned size = 0;
  EVP_Digest(data.data(), data.size(), out.data(), &size, EVP_sha256(), nullptr);
  return out;
}

Status ApiKeys::add(std::string_view key, bool is_admin) {
  constexpr std::string_view kHashed = "sha256:";
  if (keys_.size() >= kMaxKeys) {
    return fail(ErrorCode::kInvalidArgument, concat("more than ", kMaxKeys, " API keys"));
  }
  const bool is_visible =
      std::all_of(key.begin(), key.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (key.empty() || key.size() > kMaxKeyBytes || !is_visible) {
    return fail(ErrorCode::kInvalidArgument,
                concat("an API key has 1 to ", kMaxKeyBytes, " visible ASCII characters"));
  }
  ApiKey entry;
  if (key.starts_with(kHashed)) {
    if (!parse_hash(key.substr(kHashed.size()), entry.hash)) {
      return fail(ErrorCode::kInvalidArgument, "after sha256: 64 hexadecimal digits are expected");
    }
  } else {
    entry.hash = sha256(key);
  }
  entry.name = concat("key-", keys_.size() + 1);
  // Not the hash itself: whoever sees a salt learns nothing that helps to find the key.
  entry.salt = hex(sha256(concat("cache salt of ", hex(entry.hash, entry.hash.size()))), 16);
  entry.is_admin = is_admin;
  any_admin_ = any_admin_ || is_admin;
  keys_.push_back(std::move(entry));
  return {};
}

Result<ApiKeys> ApiKeys::load(const std::vector<std::string>& keys, const std::string& file) {
  ApiKeys out;
  for (const std::string& key : keys) RUVLLM_TRY(out.add(key, /*is_admin=*/false));
  if (file.empty()) return out;
  RUVLLM_ASSIGN(const std::string text, read_file(file));
  std::string_view rest = text;
  for (int line_number = 1; !rest.empty(); ++line_number) {
    const size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    if (line.empty() || line[0] == '#') continue;
    constexpr std::string_view kAdmin = " admin";
    const bool is_admin = line.ends_with(kAdmin);
    if (is_admin) line.remove_suffix(kAdmin.size());
    if (const Status status = out.add(line, is_admin); !status) {
      return fail(status.error().code,
                  concat(file, ":", line_number, ": ", status.error().message));
    }
  }
  if (out.empty()) return fail(ErrorCode::kBadFile, concat(file, ": holds no key"));
  return out;
}

const ApiKey* ApiKeys::find(const std::string* authorization) const {
  if (authorization == nullptr) return nullptr;
  const std::string_view header = *authorization;
  const size_t space = header.find(' ');
  if (space == std::string_view::npos || !equals_ignoring_case(header.substr(0, space), "Bearer")) {
    return nullptr;
  }
  const Sha256 hash = sha256(header.substr(space + 1));
  const ApiKey* found = nullptr;
  for (const ApiKey& key : keys_) {  // always all of them
    if (CRYPTO_memcmp(key.hash.data(), hash.data(), hash.size()) == 0) found = &key;
  }
  return found;
}

}  // namespace ruvllm::server
