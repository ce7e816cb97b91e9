// PrefillPacer: what it allows, from steps of known cost.
#include "engine/prefill_pacer.h"

#include <gtest/gtest.h>

namespace ruvllm {
namespace {

// A step that decodes d rows takes 2 ms and 0.1 ms for each row after the first; so does one of a
// prompt.
double step_seconds(int64_t decode_rows, int64_t prefill_rows) {
  return 2e-3 + 1e-4 * static_cast<double>(decode_rows - 1 + prefill_rows);
}

TEST(PrefillPacer, KeepsStepsWithinTheStretch) {
  PrefillPacer pacer;
  const int32_t first = pacer.limit(1);  // knows nothing yet
  EXPECT_GT(first, 0);
  pacer.observe(1, 0, step_seconds(1, 0));
  EXPECT_EQ(pacer.limit(1), first);
  pacer.observe(1, 100, step_seconds(1, 100));
  // A step may take 2.4 times the 2 ms of one that only decodes: 28 rows of 0.1 ms more.
  EXPECT_NEAR(pacer.limit(1), 28, 1);
}

TEST(PrefillPacer, CarriesTheCostOfDecodingOverToMoreRows) {
  PrefillPacer pacer;
  pacer.observe(1, 0, step_seconds(1, 0));
  pacer.observe(1, 100, step_seconds(1, 100));
  // Prompts that wait leave no step that only decodes: of 41 rows it would take 6 ms.
  pacer.observe(41, 32, step_seconds(41, 32));
  EXPECT_NEAR(pacer.limit(1), 84, 1);
  // One row's cost is not mistaken for more by all who decode beside it.
  for (int i = 0; i < 20; ++i) pacer.observe(41, pacer.limit(1), step_seconds(41, pacer.limit(1)));
  EXPECT_NEAR(pacer.limit(1), 84, 2);
  // And back, when most have ended.
  pacer.observe(1, 32, step_seconds(1, 32));
  EXPECT_NEAR(pacer.limit(1), 28, 1);
  pacer.observe(41, 0, step_seconds(41, 0));
  pacer.observe(1, 32, step_seconds(1, 32));
  EXPECT_NEAR(pacer.limit(1), 28, 1);
}

TEST(PrefillPacer, SharesTheTimeByNumbersWhereMostWait) {
  PrefillPacer pacer;
  pacer.observe(10, 0, step_seconds(10, 0));  // 2.9 ms
  pacer.observe(10, 100, step_seconds(10, 100));
  const int32_t one = pacer.limit(1);
  EXPECT_EQ(pacer.limit(10), one);
  EXPECT_NEAR(pacer.limit(20), 2 * 29, 1);
  EXPECT_NEAR(pacer.limit(100), 10 * 29, 1);
}

TEST(PrefillPacer, NeverStopsPrompts) {
  PrefillPacer pacer;
  pacer.observe(64, 0, 1e-6);
  pacer.observe(64, 100, 10.0);
  EXPECT_GE(pacer.limit(1), 8);
  pacer.observe(1, 100, 1e-9);
  EXPECT_GE(pacer.limit(1), 8);
}

}  // namespace
}  // namespace ruvllm
