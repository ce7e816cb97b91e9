#ifdef RUVLLM_HAS_DOWNLOAD

#include "formats/file_hash.h"

#include <openssl/evp.h>

#include <algorithm>
#include <memory>

#include "base/mmap_file.h"
#include "base/str.h"

namespace ruvllm {
namespace {

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

}  // namespace

Result<std::string> hash_file(const std::string& path, bool git_blob) {
  RUVLLM_ASSIGN(const MmapFile file, MmapFile::open(path));
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  bool ok = context != nullptr &&
            EVP_DigestInit_ex(context.get(), git_blob ? EVP_sha1() : EVP_sha256(), nullptr) == 1;
  if (git_blob) {
    const std::string header = concat("blob ", file.bytes().size());
    ok = ok && EVP_DigestUpdate(context.get(), header.c_str(), header.size() + 1) == 1;
  }
  constexpr size_t kChunkBytes = size_t{8} << 20;
  for (size_t at = 0; at < file.bytes().size() && ok; at += kChunkBytes) {
    const auto chunk = file.bytes().subspan(at, std::min(kChunkBytes, file.bytes().size() - at));
    ok = EVP_DigestUpdate(context.get(), chunk.data(), chunk.size()) == 1;
    file.release(chunk);  // a large file must not fill the memory
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  ok = ok && EVP_DigestFinal_ex(context.get(), digest, &length) == 1;
  if (!ok) return fail(ErrorCode::kInternal, concat(path, ": OpenSSL cannot hash it"));
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < length; ++i) {
    out += kHex[digest[i] >> 4];
    out += kHex[digest[i] & 15];
  }
  return out;
}

}  // namespace ruvllm

#endif  // RUVLLM_HAS_DOWNLOAD
