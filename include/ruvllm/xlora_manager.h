// XLoraManager: X-LoRAs of a running model: load and unload them, see what there is, choose the one
// that requests are computed with, choose another for a single request, look at the gates.
//
//   XLoraManager xloras(*backend);
//   xloras.load("science", "./xlora-folder");
//   xloras.set_active("science");
//   backend->generate_stream(prompt, params, xloras.request("science"));
//   xloras.last_gates("science");
//
// It keeps nothing itself: every call goes to the backend, which must outlive it. Any thread. A
// request keeps the X-LoRA it began with, whatever is loaded, unloaded or set active meanwhile.
// Failure: one line naming the X-LoRA or its files; kUnsupported when the backend has none.
// Which expert spoke in one answer: GenerateParams::gates.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ruvllm/backend.h"

namespace ruvllm {

class XLoraManager {
 public:
  explicit XLoraManager(LlmBackend& backend) : backend_(backend) {}

  // Reads an X-LoRA's folder (docs/adapters.md) and makes its name known. With a configuration its
  // top_k (0: all experts) and temperature count instead of the folder's, and its adapters, if it
  // names any, must be the experts in their order.
  Status load(const std::string& name, const std::string& path,
              const std::optional<XLoraConfig>& config = std::nullopt, bool replace = false) {
    return backend_.load_xlora(name, path, config, replace);
  }
  // A name for a sum of adapters that are loaded (modes kAdditive and kConcatenate, which give the
  // same numbers): config.adapters, each NAME or NAME:WEIGHT.
  Status compose(const std::string& name, const XLoraConfig& config, bool replace = false) {
    if (config.mixing_mode == XLoraMixingMode::kGated) {
      return fail(ErrorCode::kInvalidArgument,
                  "X-LoRA " + name + ": kGated has a router; load() reads its folder");
    }
    return backend_.load_xlora(name, "", config, replace);
  }
  Status unload(const std::string& name) { return backend_.unload_adapter(name); }
  std::vector<XLoraInfo> list() const { return backend_.xloras(); }

  // What requests are computed with that name nothing: an X-LoRA, an adapter, a sum, or "base".
  Status set_active(const std::string& name) { return backend_.set_default_adapter(name); }
  std::string active() const { return backend_.default_adapter(); }

  // Options of a request that is computed with `name` instead.
  static RequestOptions request(const std::string& name, RequestOptions options = {}) {
    options.adapter = name;
    return options;
  }

  // One row, [L, n]: of the token that this X-LoRA ("": the active one) routed last. No row before
  // the first.
  Result<GateTrace> last_gates(const std::string& name = {}) const {
    return backend_.last_gates(name);
  }

 private:
  LlmBackend& backend_;
};

}  // namespace ruvllm
