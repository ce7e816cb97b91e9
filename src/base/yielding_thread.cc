#include "base/yielding_thread.h"

#if !defined(__wasm__)
#include <pthread.h>

#include <chrono>
#include <thread>
#endif
#if defined(__linux__)
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace ruvllm {

#if defined(__wasm__)

void run_yielding(FunctionRef<void()> work) {
  work();
}
void yield_between() {}

#else

namespace {

using Clock = std::chrono::steady_clock;

thread_local bool t_yields = false;
thread_local Clock::time_point t_begun;

void* yield_and_run(void* work) {
  t_yields = true;
  t_begun = Clock::now();
#if defined(__linux__)
  // A thread's own niceness; it ends with the thread, so nothing has to be raised again.
  static_cast<void>(::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 10));
#endif
  (*static_cast<FunctionRef<void()>*>(work))();
  return nullptr;
}

}  // namespace

void run_yielding(FunctionRef<void()> work) {
  pthread_t thread;
  if (::pthread_create(&thread, nullptr, yield_and_run, &work) != 0) return work();
  ::pthread_join(thread, nullptr);
}

void yield_between() {
  if (!t_yields) return;
  std::this_thread::sleep_for(2 * (Clock::now() - t_begun));
  t_begun = Clock::now();
}

#endif

}  // namespace ruvllm
