// ApiKeys: who may call. Keys are kept only as SHA-256 hashes; a presented key is hashed and
// compared with all of them in constant time. Immutable; a reload makes a new one.
//
// A key file has one key per line: `KEY` or `KEY admin`, where KEY is the key itself or
// `sha256:HEX`. Empty lines and lines that begin with # are skipped.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ruvllm/result.h"

namespace ruvllm::server {

using Sha256 = std::array<uint8_t, 32>;
Sha256 sha256(std::string_view data);

struct ApiKey {
  Sha256 hash = {};
  std::string name;  // "key-1": for logs
  std::string salt;  // separates its cached prompts from those of other keys; says nothing of it
  bool is_admin = false;
};

class ApiKeys {
 public:
  static constexpr size_t kMaxKeys = 10000;

  // `file` "": none. An empty key or a malformed line is an error (which does not show the key).
  static Result<ApiKeys> load(const std::vector<std::string>& keys, const std::string& file);

  bool empty() const { return keys_.empty(); }
  size_t size() const { return keys_.size(); }
  bool any_admin() const { return any_admin_; }
  // Of a header "Authorization: Bearer KEY" (nullptr: no header); nullptr when it is none of ours.
  const ApiKey* find(const std::string* authorization) const;

 private:
  Status add(std::string_view key, bool is_admin);

  std::vector<ApiKey> keys_;
  bool any_admin_ = false;
};

}  // namespace ruvllm::server
