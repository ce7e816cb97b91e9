#include "base/thread_pool.h"

#include "base/check.h"
#include "base/cpu_topology.h"

#if !defined(__wasm__)
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>
#endif

namespace ruvllm {

#if defined(__wasm__)

struct ThreadPool::State {};
ThreadPool::ThreadPool(int) : num_threads_(1) {}
ThreadPool::~ThreadPool() = default;
void ThreadPool::run(int64_t num_tasks, int, FunctionRef<void(int64_t, int)> task) {
  for (int64_t i = 0; i < num_tasks; ++i) task(i, 0);
}
void ThreadPool::read_ahead(const std::byte*, int64_t, int64_t) {}
int default_num_threads() {
  return 1;
}

#else

namespace {

constexpr auto kSpinTime = std::chrono::microseconds(100);

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// What read_ahead() said. Each field by itself: an address that never was is none that harms.
struct AheadRange {
  std::atomic<const std::byte*> address{nullptr};
  std::atomic<int64_t> stride{0};
  std::atomic<int64_t> bytes{0};
};

// One thread's way through such a range.
class Ahead {
 public:
  Ahead(const AheadRange& range, int worker) : range_(range), worker_(worker) {}

  // The next few lines; pauses when there are none.
  void step() {
    const std::byte* const address = range_.address.load(std::memory_order_relaxed);
    if (address != address_) {
      address_ = address;
      done_ = 0;
    }
    if (address == nullptr || done_ >= range_.bytes.load(std::memory_order_relaxed)) return pause();
    const auto first =
        reinterpret_cast<uintptr_t>(address) +
        static_cast<uintptr_t>(worker_ * range_.stride.load(std::memory_order_relaxed) + done_);
    for (int i = 0; i < kLines; ++i) {
      __builtin_prefetch(reinterpret_cast<const void*>(first + static_cast<uintptr_t>(64 * i)), 0,
                         2);
    }
    done_ += 64 * kLines;
  }

 private:
  static constexpr int kLines = 8;
  const AheadRange& range_;
  int64_t worker_;
  const std::byte* address_ = nullptr;
  int64_t done_ = 0;
};

// Whether `done` became true within kSpinTime.
template <typename Predicate>
bool spin_until(const Predicate& done, Ahead& ahead) {
  const auto end = std::chrono::steady_clock::now() + kSpinTime;
  while (true) {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      ahead.step();
    }
    if (std::chrono::steady_clock::now() >= end) return done();
  }
}

}  // namespace

// A job is `open`: its number in the upper half, the tasks not yet taken in the lower. Taking one
// is a compare-and-swap of the whole, so a thread that was late can never take from a job other
// than the one it looked at; and while a taken task is unfinished the caller does not return, so
// that the job's fields stand still. Which one it is say the shares: there are as many numbers in
// them as tasks may be taken, so that who may take one finds one. What is checked before sleeping
// is sequentially consistent with the counts of sleepers: either the sleeper sees the news or the
// bringer sees the sleeper.
struct ThreadPool::State {
  explicit State(int n)
      : num_threads(n), shares(std::make_unique<Share[]>(static_cast<size_t>(n))) {}

  // Numbers [next, end); alone in its cache line.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  const int num_threads;
  std::atomic<uint64_t> open{0};
  std::atomic<uint32_t> finished{0};
  std::atomic<int> sleeping_workers{0};
  std::atomic<bool> sleeping_caller{false};
  std::atomic<bool> stop{false};
  AheadRange range;
  Ahead ahead{range, 0};  // the caller's

  // Written by the caller between jobs.
  uint32_t num_tasks = 0;
  int num_shares = 1;
  std::unique_ptr<Share[]> shares;  // one for each thread
  const FunctionRef<void(int64_t, int)>* task = nullptr;

  std::mutex mutex;
  std::condition_variable work_came;
  std::condition_variable work_done;
  std::vector<std::thread> threads;

  static uint32_t left(uint64_t value) { return static_cast<uint32_t>(value); }

  // The next number of the first share that has one, from share `of` on. For who may take one.
  int64_t next_number(int of) {
    for (int i = of;; i = i + 1 < num_shares ? i + 1 : 0) {
      Share& share = shares[static_cast<size_t>(i)];
      if (share.next.load(std::memory_order_relaxed) >= share.end) continue;
      const int64_t number = share.next.fetch_add(1, std::memory_order_relaxed);
      if (number < share.end) return number;
    }
  }

  // Runs tasks of the open job until none is left.
  void work(int worker) {
    uint64_t seen = open.load(std::memory_order_acquire);
    while (left(seen) != 0) {
      if (!open.compare_exchange_weak(seen, seen - 1, std::memory_order_acquire)) continue;
      const uint32_t total = num_tasks;
      (*task)(next_number(num_shares * worker / num_threads), worker);
      if (finished.fetch_add(1) + 1 == total && sleeping_caller.load()) {
        const std::lock_guard lock(mutex);
        work_done.notify_one();
      }
      seen = open.load(std::memory_order_acquire);
    }
  }

  void run(int worker) {
    const auto news = [this] { return left(open.load()) != 0 || stop.load(); };
    Ahead mine(range, worker);
    while (!stop.load()) {
      if (!spin_until(news, mine)) {
        std::unique_lock lock(mutex);
        sleeping_workers.fetch_add(1);
        work_came.wait(lock, news);
        sleeping_workers.fetch_sub(1);
      }
      work(worker);
    }
  }

  void wake_workers() {
    if (sleeping_workers.load() == 0) return;
    const std::lock_guard lock(mutex);
    work_came.notify_all();
  }

  void wait_until_finished() {
    const auto all = [this] { return finished.load() == num_tasks; };
    if (spin_until(all, ahead)) return;
    std::unique_lock lock(mutex);
    sleeping_caller.store(true);
    work_done.wait(lock, all);
    sleeping_caller.store(false);
  }
};

ThreadPool::ThreadPool(int num_threads) : num_threads_(num_threads) {
  RUVLLM_CHECK(num_threads >= 1, "num_threads = ", num_threads);
  state_ = std::make_unique<State>(num_threads);
  for (int worker = 1; worker < num_threads; ++worker) {
    state_->threads.emplace_back([state = state_.get(), worker] { state->run(worker); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop.store(true);
  }
  state_->work_came.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

void ThreadPool::run(int64_t num_tasks, int num_shares, FunctionRef<void(int64_t, int)> task) {
  if (num_threads_ == 1 || num_tasks <= 1) {
    for (int64_t i = 0; i < num_tasks; ++i) task(i, 0);
    return;
  }
  RUVLLM_CHECK(num_tasks <= UINT32_MAX, "num_tasks = ", num_tasks);
  RUVLLM_CHECK(num_shares >= 1 && num_shares <= num_threads_, "num_shares = ", num_shares);
  State& state = *state_;
  state.task = &task;
  state.num_tasks = static_cast<uint32_t>(num_tasks);
  state.num_shares = num_shares;
  for (int i = 0; i < num_shares; ++i) {
    State::Share& share = state.shares[static_cast<size_t>(i)];
    share.next.store(num_tasks * i / num_shares, std::memory_order_relaxed);
    share.end = num_tasks * (i + 1) / num_shares;
  }
  state.finished.store(0);
  const uint64_t job = (state.open.load(std::memory_order_relaxed) >> 32) + 1;
  state.open.store(job << 32 | state.num_tasks);
  state.wake_workers();
  state.work(0);
  state.wait_until_finished();
}

void ThreadPool::read_ahead(const std::byte* address, int64_t stride, int64_t bytes) {
  state_->range.address.store(address, std::memory_order_relaxed);
  state_->range.stride.store(stride, std::memory_order_relaxed);
  state_->range.bytes.store(bytes, std::memory_order_relaxed);
}

int default_num_threads() {
  return usable_physical_cores();
}

#endif

}  // namespace ruvllm
