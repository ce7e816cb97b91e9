#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/cpu_topology.h"
#include "base/yielding_thread.h"

namespace ruvllm {
namespace {

TEST(ThreadPool, EveryTaskRunsOnceAndIsSeenByTheCaller) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    std::vector<int> counts(301);  // plain memory: the pool must order it
    for (int job = 0; job < 300; ++job) {
      const int64_t tasks = job % 301;
      pool.parallel_for(tasks, [&](int64_t i, int worker) {
        ASSERT_GE(worker, 0);
        ASSERT_LT(worker, threads);
        ++counts[static_cast<size_t>(i)];
      });
      for (size_t i = 0; i < counts.size(); ++i) {
        ASSERT_EQ(counts[i], static_cast<int64_t>(i) < tasks ? 1 : 0) << "job " << job;
        counts[i] = 0;
      }
    }
  }
}

TEST(ThreadPool, SharesAreEveryTaskOnce) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    std::vector<int> counts(301);
    for (int job = 0; job < 600; ++job) {
      const int64_t tasks = job % 301;
      pool.parallel_shares(tasks, 1 + job % threads, [&](int64_t i, int worker) {
        ASSERT_LT(worker, threads);
        ++counts[static_cast<size_t>(i)];
      });
      for (size_t i = 0; i < counts.size(); ++i) {
        ASSERT_EQ(counts[i], static_cast<int64_t>(i) < tasks ? 1 : 0) << "job " << job;
        counts[i] = 0;
      }
    }
  }
}

// While all are busy with their own, none can help.
TEST(ThreadPool, AThreadBeginsWithItsOwnShare) {
  constexpr int kThreads = 4;
  ThreadPool pool(kThreads);
  for (const int shares : {1, 2, 4}) {
    for (int round = 0; round < 20; ++round) {
      std::atomic<int> begun{0};
      std::vector<int64_t> of_worker(kThreads, -1);
      pool.parallel_shares(3 * kThreads, shares, [&](int64_t i, int worker) {
        int64_t& first = of_worker[static_cast<size_t>(worker)];
        if (first >= 0) return;
        first = i;
        begun.fetch_add(1);
        while (begun.load() < kThreads) std::this_thread::yield();
      });
      for (int w = 0; w < kThreads; ++w) {
        const int64_t share = shares * w / kThreads;
        const int64_t first = of_worker[static_cast<size_t>(w)];
        EXPECT_GE(first, 3 * kThreads * share / shares) << w;
        EXPECT_LT(first, 3 * kThreads * (share + 1) / shares) << w;
      }
    }
  }
}

// Of memory that is there, and that is not.
TEST(ThreadPool, ReadingAheadChangesNothing) {
  ThreadPool pool(3);
  std::vector<std::byte> here(1 << 16, std::byte{7});
  std::atomic<int64_t> sum{0};
  for (const std::byte* address : {static_cast<const std::byte*>(here.data()),
                                   reinterpret_cast<const std::byte*>(uintptr_t{4096}),
                                   static_cast<const std::byte*>(nullptr)}) {
    for (const int64_t stride : {int64_t{0}, int64_t{1} << 14, int64_t{-1} << 40}) {
      pool.read_ahead(address, stride, 1 << 14);
      for (int job = 0; job < 50; ++job) {
        pool.parallel_for(5, [&](int64_t i, int) { sum.fetch_add(i); });
      }
    }
  }
  EXPECT_EQ(sum.load(), 3 * 3 * 50 * 10);
  EXPECT_EQ(here, std::vector<std::byte>(1 << 16, std::byte{7}));
}

TEST(ThreadPool, AWorkerIsOneThreadAtATime) {
  ThreadPool pool(4);
  std::vector<int64_t> sums(4);  // per worker, unsynchronized
  pool.parallel_for(10000, [&](int64_t i, int worker) { sums[static_cast<size_t>(worker)] += i; });
  int64_t total = 0;
  for (const int64_t sum : sums) total += sum;
  EXPECT_EQ(total, 10000 * 9999 / 2);
}

// Jobs after pauses longer than the spin time, and callers that wait longer than it.
TEST(ThreadPool, WakesSleepersAndSleepsForLongTasks) {
  ThreadPool pool(3);
  std::atomic<int> done{0};
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    pool.parallel_for(6, [&](int64_t i, int) {
      if (i == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      done.fetch_add(1);
    });
    ASSERT_EQ(done.load(), 6 * (round + 1));
  }
}

TEST(ThreadPool, DifferentCallersOneAfterTheOther) {
  ThreadPool pool(2);
  int64_t sum = 0;
  std::thread([&] {
    pool.parallel_for(50, [&](int64_t i, int) { std::atomic_ref<int64_t>(sum).fetch_add(i); });
  }).join();
  pool.parallel_for(50, [&](int64_t i, int) { std::atomic_ref<int64_t>(sum).fetch_add(i); });
  EXPECT_EQ(sum, 2 * 50 * 49 / 2);
}

TEST(ThreadPool, AnIdlePoolTakesNoProcessorTime) {
  ThreadPool pool(4);
  pool.parallel_for(8, [](int64_t, int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // past the spinning
  const auto processor_seconds = [] {
    timespec t = {};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
  };
  // On a busy machine a thread may get to its last spins only later: one quiet window is enough.
  double used = 1.0;
  for (int window = 0; window < 10 && used >= 0.02; ++window) {
    const double before = processor_seconds();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    used = processor_seconds() - before;
  }
  EXPECT_LT(used, 0.02);
}

TEST(CpuTopology, CountsAtLeastOneCoreAndNoMoreThanTheMachineHas) {
  EXPECT_GE(default_num_threads(), 1);
  const unsigned all = std::thread::hardware_concurrency();
  if (all > 0) {
    EXPECT_LE(default_num_threads(), static_cast<int>(all));
  }
}

TEST(CpuTopology, ReadsWhatTheSystemWrites) {
  EXPECT_EQ(parse_cpu_max("max 100000\n"), -1);
  EXPECT_EQ(parse_cpu_max("200000 100000\n"), 2);
  EXPECT_EQ(parse_cpu_max("150000 100000"), 1);
  EXPECT_EQ(parse_cpu_max("50000 100000"), 1);
  EXPECT_EQ(parse_cpu_max("-1 100000\n"), -1);  // version 1: no quota
  EXPECT_EQ(parse_cpu_max("100000 0"), -1);
  EXPECT_EQ(parse_cpu_max(""), -1);
  EXPECT_EQ(first_cpu_of_list("3,35\n"), 3);
  EXPECT_EQ(first_cpu_of_list("0-1\n"), 0);
  EXPECT_EQ(first_cpu_of_list("17\n"), 17);
  EXPECT_EQ(first_cpu_of_list("\n"), -1);
}

TEST(YieldingThread, RunsTheWorkBeforeItReturnsAndLeavesTheCallersPriority) {
  const std::thread::id caller = std::this_thread::get_id();
  std::thread::id worker;
  int niceness = 0;
  run_yielding([&] {
    worker = std::this_thread::get_id();
    niceness = ::getpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)));
  });
  yield_between();  // not in this thread
  std::chrono::nanoseconds worked{};
  std::chrono::nanoseconds slept{};
  run_yielding([&] {
    const auto clock = [] { return std::chrono::steady_clock::now(); };
    const auto used = [] {  // may advance in ticks of 10 ms
      timespec t{};
      ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
      return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
    };
    const auto first = used();
    while (worked < std::chrono::milliseconds(5)) worked = used() - first;
    const auto begin = clock();
    yield_between();
    slept = clock() - begin;
  });
  EXPECT_GE(slept, 2 * worked);
  EXPECT_NE(worker, std::thread::id());
  EXPECT_NE(worker, caller);
  const int own = ::getpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)));
  EXPECT_EQ(niceness, std::min(own + 5, 19));
}

}  // namespace
}  // namespace ruvllm
