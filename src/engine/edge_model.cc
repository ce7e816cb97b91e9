#include "engine/edge_model.h"

namespace ruvllm {

void EdgeModel::remember(const std::shared_ptr<CancelFlag>& flag) {
#if !defined(__wasm__)
  const std::scoped_lock lock(mutex_);
#endif
  std::erase_if(flags_, [](const std::weak_ptr<CancelFlag>& f) { return f.expired(); });
  flags_.push_back(flag);
}

void EdgeModel::cancel_all() {
  std::vector<std::weak_ptr<CancelFlag>> flags;
  {
#if !defined(__wasm__)
    const std::scoped_lock lock(mutex_);
#endif
    flags.swap(flags_);
  }
  for (const auto& weak : flags) {
    if (const auto flag = weak.lock()) flag->cancel();
  }
}

}  // namespace ruvllm
