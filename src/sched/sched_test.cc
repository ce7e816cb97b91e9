// The scheduler against a model that would notice any wrong page: random arrivals, cancels, forks,
// pauses, deadlines, two-phase sequences, pool sizes and budgets under a fake clock.
//
// The model's "keys and values" of a position are a number mixed from the one before it (read from
// its page) and the token, so a page that was shared, copied, evicted or overwritten wrongly
// changes every later token. The next token is taken from that number; what comes out at the end
// must be what the same text gives alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/rng.h"
#include "base/str.h"
#include "sched/scheduler.h"

namespace ruvllm {
namespace {

uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = (a ^ (b + 0x9E3779B97F4A7C15u + (a << 6))) * 0xBF58476D1CE4E5B9u;
  return x ^ (x >> 29);
}

int32_t token_of(uint64_t state, uint64_t fork) {
  return static_cast<int32_t>(mix(state, fork) % 3);
}

struct Client {
  SequenceId id = kNoSequence;
  std::vector<int32_t> text;  // prompt and answer
  int64_t prompt = 0;
  int64_t wanted = 0;  // length at which it ends
  uint64_t fork = 0;
  int32_t num_forks = 0;
  bool two_phase = false;
  bool embeds = false;
  bool paused = false;
  uint64_t adapter = 0;
  int64_t scored = 0;  // rows seen of an all_rows sequence
  int64_t deadline_us = kNever;
  int64_t added_at_step = 0;
  int64_t paused_steps = 0;
  std::map<int64_t, int64_t> gates;  // position -> step of phase 0, since the last admission
};

struct Totals {
  int64_t steps = 0;
  int64_t ended = 0;
  int64_t forks = 0;
  int64_t dropped_forks = 0;
  int64_t cancels = 0;
  int64_t overdue = 0;
  int64_t embedded = 0;
  int64_t two_phase = 0;
  int64_t longest_wait = 0;
  uint64_t preemptions = 0;
  uint64_t restarts = 0;
  uint64_t hits = 0;
  int64_t copies = 0;
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : seed_(seed), scheduler_(make_config()) {
    const auto slots = config_.kv.num_blocks * config_.kv.block_tokens;
    memory_.resize(static_cast<size_t>(slots));
  }

  void run(int64_t num_steps, Totals& totals) {
    for (int64_t i = 0; i < num_steps && !failed(); ++i) {
      arrivals();
      step();
    }
    for (Client* client : all()) set_paused(*client, false);
    // Nobody new: everything must end.
    const int64_t limit = step_ + 200 * (static_cast<int64_t>(clients_.size()) + 10);
    while (!scheduler_.idle() && !failed()) {
      ASSERT_LT(step_, limit) << "seed " << seed_ << " is stuck";
      step();
    }
    if (failed()) return;
    ASSERT_TRUE(clients_.empty());
    EXPECT_EQ(scheduler_.page_use().used, 0);
    totals_.steps = step_;
    totals_.preemptions = scheduler_.counters().preemptions;
    totals_.restarts = scheduler_.counters().restarts;
    totals_.hits = scheduler_.counters().hit_tokens;
    totals_.copies = scheduler_.kv_counters().copies;
    totals.steps += totals_.steps;
    totals.ended += totals_.ended;
    totals.forks += totals_.forks;
    totals.dropped_forks += totals_.dropped_forks;
    totals.cancels += totals_.cancels;
    totals.overdue += totals_.overdue;
    totals.embedded += totals_.embedded;
    totals.two_phase += totals_.two_phase;
    totals.longest_wait = std::max(totals.longest_wait, totals_.longest_wait);
    totals.preemptions += totals_.preemptions;
    totals.restarts += totals_.restarts;
    totals.hits += totals_.hits;
    totals.copies += totals_.copies;
  }

 private:
  static bool failed() { return ::testing::Test::HasFatalFailure(); }
  int64_t below(int64_t n) {
    return static_cast<int64_t>(random_bits(seed_, 1, draws_++) % static_cast<uint64_t>(n));
  }

  SchedulerConfig make_config() {
    config_.kv.block_tokens = static_cast<int32_t>(1 + below(5));
    config_.max_tokens = 8 + below(32);
    const int64_t alone =
        2 * ((config_.max_tokens + config_.kv.block_tokens - 1) / config_.kv.block_tokens);
    config_.kv.num_blocks = static_cast<int32_t>(alone + below(4 * alone));
    config_.kv.prefix_caching = below(5) != 0;
    config_.kv.hash_seed = seed_;
    config_.max_running = static_cast<int32_t>(1 + below(10));
    config_.max_waiting = static_cast<int32_t>(1 + below(20));
    config_.max_step_rows = static_cast<int32_t>(below(3) == 0 ? 2 + below(4) : 8 + below(64));
    config_.priority_level_us = 50;
    if (below(3) == 0) config_.regime_boundary = 4 + below(16);
    return config_;
  }

  void arrivals() {
    now_us_ += below(20);
    if (below(3) == 0) add();
    for (Client* client : all()) {
      if (below(150) == 0) {
        scheduler_.finish(client->id);
        ++totals_.cancels;
        clients_.erase(client->id);
      } else if (below(100) == 0) {
        set_paused(*client, !client->paused);
      } else if (client->paused && below(30) == 0) {
        set_paused(*client, false);
      } else if (client->num_forks > 0 && below(50) == 0) {
        scheduler_.drop_fork(client->id);
        --client->num_forks;
        ++totals_.dropped_forks;
      }
    }
    if (below(500) == 0) scheduler_.drop_cached();
    scheduler_.set_prefill_limit(below(4) == 0 ? static_cast<int32_t>(1 + below(8)) : 1 << 20);
  }

  void set_paused(Client& client, bool paused) {
    client.paused = paused;
    scheduler_.set_paused(client.id, paused);
  }

  void add() {
    Client client;
    client.prompt = 1 + below(config_.max_tokens - 1);
    // Some prompts begin alike.
    const auto kind = static_cast<uint64_t>(below(3));
    for (int64_t i = 0; i < client.prompt; ++i) {
      const bool own = i > client.prompt - 3;
      client.text.push_back(own ? static_cast<int32_t>(below(3))
                                : static_cast<int32_t>(mix(kind, static_cast<uint64_t>(i)) % 3));
    }
    client.wanted = client.prompt + 1 + below(config_.max_tokens - client.prompt);
    client.two_phase = below(5) == 0;
    client.embeds = !client.two_phase && below(8) == 0;
    client.adapter = client.two_phase ? 7 : static_cast<uint64_t>(below(2));
    client.fork = static_cast<uint64_t>(below(2));
    if (client.embeds) client.wanted = client.prompt;
    if (!client.embeds && below(5) == 0 && config_.max_running > 1) {
      client.num_forks = static_cast<int32_t>(1 + below(std::min(3, config_.max_running - 1)));
    }
    client.added_at_step = step_;
    SequenceSpec spec;
    spec.prompt = client.text;
    spec.max_tokens = client.wanted;
    spec.num_forks = client.num_forks;
    spec.priority = below(3) - 1;
    spec.arrival_us = now_us_;
    if (below(20) == 0) spec.queue_deadline_us = now_us_ + below(200);
    if (below(20) == 0) spec.deadline_us = now_us_ + below(400);
    client.deadline_us = std::min(spec.deadline_us, spec.queue_deadline_us);
    spec.num_sets = client.two_phase ? 2 : 1;
    spec.keys[0].adapter_set = client.two_phase ? 0 : client.adapter;
    spec.keys[1].adapter_set = client.adapter;
    spec.keys[1].variant = 1;
    spec.adapter_slot = static_cast<int32_t>(client.adapter);
    spec.read_cache = !client.embeds;
    spec.all_rows = client.embeds;
    spec.ends_with_prompt = client.embeds;
    spec.max_chunk = client.embeds ? static_cast<int32_t>(1 + below(4)) : 0;
    const Result<SequenceId> id = scheduler_.add(spec);
    if (!id) {
      ASSERT_EQ(id.error().code, ErrorCode::kUnavailable) << id.error().message;
      ASSERT_GE(scheduler_.num_waiting(), config_.max_waiting);
      return;
    }
    client.id = *id;
    totals_.two_phase += client.two_phase ? 1 : 0;
    clients_[client.id] = client;
  }

  std::vector<Client*> all() {
    std::vector<Client*> list;
    for (auto& [id, client] : clients_) list.push_back(&client);
    return list;
  }

  uint64_t& cell(const PlanSpan& span, int64_t position) {
    const auto block = span.block_table[static_cast<size_t>(position / config_.kv.block_tokens)];
    return memory_[static_cast<size_t>(block * config_.kv.block_tokens +
                                       position % config_.kv.block_tokens)];
  }

  // What a position's number must be, from the text alone.
  uint64_t expected(const Client& client, int64_t position, int set) const {
    uint64_t state = 0;
    uint64_t second = 0;
    for (int64_t p = 0; p <= position; ++p) {
      const auto token = static_cast<uint64_t>(client.text[static_cast<size_t>(p)]);
      state = next_state(state, token, client.two_phase ? 0 : client.adapter, regime(client));
      second = mix(mix(second, state), client.adapter);
    }
    return set == 0 ? state : second;
  }
  static uint64_t next_state(uint64_t before, uint64_t token, uint64_t adapter, uint64_t regime) {
    return mix(mix(before, token), adapter * 2 + regime);
  }
  uint64_t regime(const Client& client) const {
    return static_cast<int64_t>(client.text.size()) > config_.regime_boundary ? 1 : 0;
  }

  void compute(const PlanSpan& span) {
    Client& client = clients_.at(span.sequence);
    ASSERT_FALSE(client.paused);
    ASSERT_EQ(span.regime, regime(client));
    ASSERT_EQ(span.adapter_slot, static_cast<int32_t>(client.adapter));
    if (span.first_position == 0 && span.kv_set == 0) client.gates.clear();
    for (int64_t i = 0; i < span.num_rows; ++i) {
      const int64_t p = span.first_position + i;
      const int32_t token = plan_.ids[static_cast<size_t>(span.first_row + i)];
      ASSERT_EQ(token, client.text[static_cast<size_t>(p)]);
      const uint64_t before = p == 0 ? 0 : cell(span, p - 1);
      if (span.phase == 0) {
        cell(span, p) = next_state(before, static_cast<uint64_t>(token),
                                   client.two_phase ? 0 : client.adapter, span.regime);
        client.gates[p] = step_;
        gate_values_[{client.id, p}] = cell(span, p);
      } else {
        ASSERT_TRUE(client.two_phase && client.gates.contains(p)) << p;
        ASSERT_LT(client.gates[p], step_);
        cell(span, p) = mix(mix(before, gate_values_[{client.id, p}]), client.adapter);
      }
      if (span.all_rows && p >= client.scored) {
        ASSERT_EQ(p, client.scored);
        ++client.scored;
      }
    }
  }

  void next_token(Client& client, uint64_t state) {
    const int32_t token = token_of(state, client.fork);
    if (static_cast<int64_t>(client.text.size()) + 1 >= client.wanted) {
      client.text.push_back(token);
      end(client);
      return;
    }
    client.text.push_back(token);
    scheduler_.append(client.id, token);
  }

  void end(const Client& client) {
    // The whole answer again, from the text alone.
    Client alone = client;
    alone.text.resize(static_cast<size_t>(client.prompt));
    while (!client.embeds && static_cast<int64_t>(alone.text.size()) < client.wanted) {
      alone.text.push_back(token_of(
          expected(alone, static_cast<int64_t>(alone.text.size()) - 1, client.two_phase ? 1 : 0),
          client.fork));
    }
    ASSERT_EQ(alone.text, client.text) << "seed " << seed_;
    if (client.embeds) {
      ASSERT_EQ(client.scored, client.prompt);
      ++totals_.embedded;
    }
    totals_.longest_wait =
        std::max(totals_.longest_wait, step_ - client.added_at_step - client.paused_steps);
    ++totals_.ended;
    const SequenceId id = client.id;
    scheduler_.finish(id);
    clients_.erase(id);
  }

  void step() {
    ++step_;
    now_us_ += 3;
    std::vector<SequenceId> overdue;
    scheduler_.collect_overdue(now_us_, overdue);
    for (const SequenceId id : overdue) {
      ASSERT_LE(clients_.at(id).deadline_us, now_us_);
      scheduler_.finish(id);
      clients_.erase(id);
      ++totals_.overdue;
    }
    scheduler_.plan(plan_);
    check_plan();
    for (const BlockCopy& copy : plan_.copies) {
      const auto width = static_cast<size_t>(config_.kv.block_tokens);
      std::copy_n(memory_.begin() + static_cast<int64_t>(copy.from * width), width,
                  memory_.begin() + static_cast<int64_t>(copy.to * width));
    }
    for (const PlanSpan& span : plan_.spans) {
      compute(span);
      if (failed()) return;
    }
    // The states of the sampling rows, before pages change hands.
    std::vector<std::pair<SequenceId, uint64_t>> sampled;
    for (const PlanSpan& span : plan_.spans) {
      if (span.samples) {
        sampled.emplace_back(span.sequence, cell(span, span.first_position + span.num_rows - 1));
      }
    }
    if (step_ % 16 == 0) check_memory();
    scheduler_.commit(plan_);
    for (Client* client : all()) {
      if (client->paused) ++client->paused_steps;
      if (client->embeds && client->scored == client->prompt) end(*client);
    }
    for (const auto& [id, state] : sampled) {
      Client& client = clients_.at(id);
      std::vector<SequenceId> forked;
      for (; client.num_forks > 0; --client.num_forks) {
        Client other = client;
        other.num_forks = 0;
        other.fork = static_cast<uint64_t>(2 + client.num_forks);
        other.id = scheduler_.fork(id);
        for (const auto& [p, at] : client.gates) {
          gate_values_[{other.id, p}] = gate_values_[{id, p}];
        }
        forked.push_back(other.id);
        clients_[other.id] = other;
        ++totals_.forks;
      }
      for (const SequenceId fork : forked) next_token(clients_.at(fork), state);
      next_token(clients_.at(id), state);
    }
    const Status status = scheduler_.check_integrity();
    ASSERT_TRUE(status) << "seed " << seed_ << ": " << status.error().message;
    if (gate_values_.size() > 20000)
      std::erase_if(gate_values_,
                    [&](const auto& item) { return !clients_.contains(item.first.first); });
  }

  void check_plan() {
    ASSERT_LE(plan_.num_rows(), config_.max_step_rows);
    int32_t row = 0;
    for (const PlanSpan& span : plan_.spans) {
      ASSERT_EQ(span.first_row, row);
      ASSERT_GT(span.num_rows, 0);
      row += span.num_rows;
    }
    ASSERT_EQ(row, plan_.num_rows());
    // Somebody who may advance does.
    bool any = false;
    for (const auto& [id, client] : clients_) any = any || !client.paused;
    ASSERT_TRUE(!any || !plan_.empty()) << "seed " << seed_ << ": an idle step";
  }

  // Every page of a planned sequence still holds its text.
  void check_memory() {
    for (const PlanSpan& span : plan_.spans) {
      const Client& client = clients_.at(span.sequence);
      for (int64_t p = 0; p < span.first_position + span.num_rows; ++p) {
        ASSERT_EQ(cell(span, p), expected(client, p, span.kv_set)) << "seed " << seed_;
      }
    }
  }

  uint64_t seed_;
  uint64_t draws_ = 0;
  SchedulerConfig config_;
  Scheduler scheduler_;
  StepPlan plan_;
  std::vector<uint64_t> memory_;
  std::map<SequenceId, Client> clients_;
  std::map<std::pair<SequenceId, int64_t>, uint64_t> gate_values_;
  int64_t now_us_ = 0;
  int64_t step_ = 0;
  Totals totals_;
};

// RUVLLM_SCHED_STEPS=1000000 is the long run.
int64_t num_steps() {
  const char* text = std::getenv("RUVLLM_SCHED_STEPS");
  int64_t steps = 40000;
  if (text != nullptr) static_cast<void>(parse_number(std::string_view(text), steps));
  return steps;
}

TEST(Scheduler, EveryTextComesOutAsAlone) {
  Totals totals;
  constexpr int64_t kStepsEach = 400;
  const int64_t runs = (num_steps() + kStepsEach - 1) / kStepsEach;
  for (int64_t seed = 0; seed < runs; ++seed) {
    Simulation simulation(static_cast<uint64_t>(seed));
    simulation.run(kStepsEach, totals);
    if (::testing::Test::HasFatalFailure()) return;
  }
  RecordProperty("steps", concat(totals.steps));
  std::printf(
      "%lld steps, %lld ended, %lld forks, %lld cancels, %lld overdue, %lld embedded, "
      "%lld two-phase, %llu preemptions, %llu restarts, %llu tokens hit, %lld copies, "
      "longest wait %lld steps\n",
      static_cast<long long>(totals.steps), static_cast<long long>(totals.ended),
      static_cast<long long>(totals.forks), static_cast<long long>(totals.cancels),
      static_cast<long long>(totals.overdue), static_cast<long long>(totals.embedded),
      static_cast<long long>(totals.two_phase), static_cast<unsigned long long>(totals.preemptions),
      static_cast<unsigned long long>(totals.restarts),
      static_cast<unsigned long long>(totals.hits), static_cast<long long>(totals.copies),
      static_cast<long long>(totals.longest_wait));
  // Everything that can happen did.
  EXPECT_GT(totals.ended, totals.steps / 40);
  EXPECT_GT(totals.forks, 50);
  EXPECT_GT(totals.dropped_forks, 20);
  EXPECT_GT(totals.cancels, 50);
  EXPECT_GT(totals.overdue, 20);
  EXPECT_GT(totals.embedded, 50);
  EXPECT_GT(totals.two_phase, 50);
  EXPECT_GT(totals.preemptions, 50u);
  EXPECT_GT(totals.restarts, 20u);
  EXPECT_GT(totals.hits, 1000u);
  EXPECT_GT(totals.copies, 20);
  EXPECT_LT(totals.longest_wait, 20000);
}

SchedulerConfig plain(int32_t blocks, int32_t block_tokens) {
  SchedulerConfig config;
  config.kv.num_blocks = blocks;
  config.kv.block_tokens = block_tokens;
  config.max_tokens = int64_t{blocks} * block_tokens;
  return config;
}

SequenceSpec spec_of(const std::vector<int32_t>& prompt, int64_t answer, int64_t arrival_us) {
  SequenceSpec spec;
  spec.prompt = prompt;
  spec.max_tokens = static_cast<int64_t>(prompt.size()) + answer;
  spec.arrival_us = arrival_us;
  return spec;
}

TEST(Scheduler, DecodesStandBeforePromptsInOneStep) {
  SchedulerConfig config = plain(64, 4);
  config.max_step_rows = 10;
  Scheduler scheduler(config);
  StepPlan plan;
  const SequenceId first = *scheduler.add(spec_of(std::vector<int32_t>(8, 1), 20, 0));
  scheduler.plan(plan);
  ASSERT_EQ(plan.num_rows(), 8);
  EXPECT_TRUE(plan.spans[0].samples);
  scheduler.commit(plan);
  scheduler.append(first, 5);
  const SequenceId second = *scheduler.add(spec_of(std::vector<int32_t>(30, 2), 4, 1));
  scheduler.plan(plan);
  ASSERT_EQ(plan.spans.size(), 2u);
  EXPECT_EQ(plan.spans[0].sequence, first);
  EXPECT_EQ(plan.spans[0].num_rows, 1);
  EXPECT_EQ(plan.spans[1].sequence, second);
  EXPECT_EQ(plan.spans[1].num_rows, 9);
  EXPECT_FALSE(plan.spans[1].samples);
  EXPECT_EQ(plan.num_decode_rows, 1);
  EXPECT_EQ(plan.num_prefill_rows, 9);
  scheduler.commit(plan);
  scheduler.append(first, 5);
  scheduler.set_prefill_limit(3);
  scheduler.plan(plan);
  EXPECT_EQ(plan.num_prefill_rows, 3);
  scheduler.commit(plan);
}

TEST(Scheduler, APrefixBeingComputedIsWaitedForAndThenShared) {
  Scheduler scheduler(plain(64, 4));
  std::vector<int32_t> prompt(40, 3);
  StepPlan plan;
  for (int32_t i = 0; i < 8; ++i) {
    prompt.back() = i;
    ASSERT_TRUE(scheduler.add(spec_of(prompt, 4, i)));
  }
  scheduler.plan(plan);
  EXPECT_EQ(plan.spans.size(), 1u);  // the others wait for its pages
  scheduler.commit(plan);
  scheduler.plan(plan);
  EXPECT_EQ(plan.spans.size(), 7u);
  EXPECT_EQ(plan.num_rows(), 7 * 4);  // the last page of each
  scheduler.commit(plan);
  EXPECT_EQ(scheduler.page_use().used, 9 + 8);
  EXPECT_EQ(scheduler.counters().hit_tokens, 7u * 36);
}

TEST(Scheduler, AgeingBoundsTheWaitOfLowPriority) {
  SchedulerConfig config = plain(64, 4);
  config.max_running = 1;
  config.priority_level_us = 100;
  Scheduler scheduler(config);
  StepPlan plan;
  const std::vector<int32_t> prompt = {1};  // outlives `low`, which only points to it
  SequenceSpec low = spec_of(prompt, 1, 0);
  low.priority = 5;
  const SequenceId id = *scheduler.add(low);
  int64_t now = 0;
  // An endless stream of more urgent ones: those that arrive 500 us later come after it.
  while (scheduler.knows(id)) {
    now += 10;
    ASSERT_LE(now, 520);
    ASSERT_TRUE(scheduler.add(spec_of({2}, 1, now)));
    scheduler.plan(plan);
    ASSERT_EQ(plan.spans.size(), 1u);
    scheduler.commit(plan);
    scheduler.finish(plan.spans[0].sequence);
  }
  EXPECT_GT(now, 480);
}

TEST(Scheduler, RefusesWhatCanNeverRun) {
  SchedulerConfig config = plain(4, 4);
  config.max_tokens = 100;
  config.max_waiting = 1;
  Scheduler scheduler(config);
  EXPECT_EQ(scheduler.add(spec_of({1}, 16, 0)).error().code, ErrorCode::kOutOfMemory);
  EXPECT_EQ(scheduler.add(spec_of({1}, 100, 0)).error().code, ErrorCode::kInvalidArgument);
  const std::vector<int32_t> prompt = {1};
  SequenceSpec two = spec_of(prompt, 8, 0);
  two.num_sets = 2;
  EXPECT_EQ(scheduler.add(two).error().code, ErrorCode::kOutOfMemory);
  EXPECT_TRUE(scheduler.add(spec_of({1}, 15, 0)));
  EXPECT_EQ(scheduler.add(spec_of({1}, 15, 0)).error().code, ErrorCode::kUnavailable);
}

TEST(Scheduler, APausedSequenceGivesWay) {
  SchedulerConfig config = plain(8, 4);
  config.watermark_blocks = 0;
  Scheduler scheduler(config);
  StepPlan plan;
  const SequenceId slow = *scheduler.add(spec_of(std::vector<int32_t>(20, 1), 4, 0));
  scheduler.plan(plan);
  scheduler.commit(plan);
  scheduler.append(slow, 1);
  scheduler.set_paused(slow, true);
  scheduler.plan(plan);
  EXPECT_TRUE(plan.empty());
  const SequenceId other = *scheduler.add(spec_of(std::vector<int32_t>(24, 2), 4, 1));
  scheduler.plan(plan);
  ASSERT_EQ(plan.preempted.size(), 1u);
  EXPECT_EQ(plan.preempted[0], slow);
  ASSERT_EQ(plan.spans.size(), 1u);
  EXPECT_EQ(plan.spans[0].sequence, other);
  scheduler.commit(plan);
  scheduler.finish(other);
  scheduler.plan(plan);
  EXPECT_TRUE(plan.empty());
  scheduler.set_paused(slow, false);
  scheduler.plan(plan);
  ASSERT_EQ(plan.spans.size(), 1u);
  EXPECT_EQ(plan.spans[0].sequence, slow);
}

}  // namespace
}  // namespace ruvllm
