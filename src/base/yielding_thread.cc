#include "base/yielding_thread.h"

#if !defined(__wasm__)
#include <pthread.h>
#include <time.h>

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

// A quarter of a core that others want, about what the sleeps leave it: with 10 it gets a tenth.
[[maybe_unused]] constexpr int kNicer = 5;

thread_local bool t_yields = false;
thread_local std::chrono::nanoseconds t_worked;  // processor time at the last call

std::chrono::nanoseconds processor_time() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

void* yield_and_run(void* work) {
  t_yields = true;
  t_worked = processor_time();
#if defined(__linux__)
  // A thread's own niceness; it ends with the thread, so nothing has to be raised again.
  const int niceness = ::getpriority(PRIO_PROCESS, 0) + kNicer;  // of the caller's
  static_cast<void>(
      ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), niceness));
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
  const auto now = processor_time();
  std::this_thread::sleep_for(2 * (now - t_worked));
  t_worked = now;
}

#endif

}  // namespace ruvllm
