// Mutex and MutexLock: std::mutex and its guard; nothing where there are no threads (WASM).
#pragma once

#if !defined(__wasm__)
#include <mutex>
#endif

namespace ruvllm {

#if defined(__wasm__)
struct Mutex {};
struct MutexLock {
  explicit MutexLock(Mutex&) {}
  ~MutexLock() {}
};
#else
using Mutex = std::mutex;
using MutexLock = std::scoped_lock<std::mutex>;
#endif

}  // namespace ruvllm
