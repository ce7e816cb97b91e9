#include "sampling/candidates.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sampling/exp.h"

namespace ruvllm {
namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

bool before(const Candidate& a, const Candidate& b) {
  return a.x != b.x ? a.x < b.x : a.id < b.id;
}

double sum_of_weights(const Candidate* begin, const Candidate* end) {
  double sum = 0.0;
  for (; begin != end; ++begin) sum += begin->weight;
  return sum;
}

}  // namespace

// Piece by piece: first how large the largest is, in lanes that compilers make vectors of; then,
// within the first piece that has it, where. (x > a ? x : a leaves NaN out.)
int32_t argmax(std::span<const float> logits) {
  constexpr size_t kLanes = 32, kPiece = 32 * kLanes;
  float best = kMinusInf;
  size_t first = 0;  // of the piece that has it
  for (size_t begin = 0; begin < logits.size(); begin += kPiece) {
    const auto piece = logits.subspan(begin, std::min(kPiece, logits.size() - begin));
    float lanes[kLanes];
    std::fill_n(lanes, kLanes, kMinusInf);
    size_t i = 0;
    for (; i + kLanes <= piece.size(); i += kLanes) {
      const float* const at = piece.data() + i;
      for (size_t lane = 0; lane < kLanes; ++lane) {
        lanes[lane] = at[lane] > lanes[lane] ? at[lane] : lanes[lane];
      }
    }
    for (; i < piece.size(); ++i) lanes[0] = piece[i] > lanes[0] ? piece[i] : lanes[0];
    for (const float largest : lanes) {
      if (!(largest > best)) continue;
      best = largest;
      first = begin;
    }
  }
  size_t at = first;
  while (at < logits.size() && logits[at] != best) ++at;
  return best > kMinusInf ? static_cast<int32_t>(at) : 0;
}

CandidateSet::CandidateSet(int32_t vocab_size)
    : items_(std::make_unique_for_overwrite<Candidate[]>(static_cast<size_t>(vocab_size))),
      scratch_(std::make_unique_for_overwrite<Candidate[]>(static_cast<size_t>(vocab_size))) {}

float CandidateSet::kth_largest(std::span<const float> logits, int32_t k) {
  // A min-heap of the k best while k is small; its root is beaten rarely, so a step costs one
  // comparison per token. Candidate has room for the floats.
  constexpr int32_t kHeapLimit = 512;
  auto* values = reinterpret_cast<float*>(scratch_.get());
  static_assert(sizeof(Candidate) >= sizeof(float) && alignof(Candidate) >= alignof(float));
  const auto clean = [](float v) { return std::isnan(v) ? kMinusInf : v; };
  if (k > kHeapLimit) {
    for (size_t i = 0; i < logits.size(); ++i) values[i] = clean(logits[i]);
    float* nth = values + (k - 1);
    std::nth_element(values, nth, values + logits.size(), std::greater<>());
    return *nth;
  }
  for (int32_t i = 0; i < k; ++i) values[i] = clean(logits[static_cast<size_t>(i)]);
  std::make_heap(values, values + k, std::greater<>());
  for (size_t i = static_cast<size_t>(k); i < logits.size(); ++i) {
    if (!(logits[i] > values[0])) continue;
    std::pop_heap(values, values + k, std::greater<>());
    values[k - 1] = logits[i];
    std::push_heap(values, values + k, std::greater<>());
  }
  return values[0];
}

void CandidateSet::assign(std::span<const float> logits, float temperature, int32_t top_k) {
  const float max = logits[static_cast<size_t>(argmax(logits))];
  size_ = 0;
  if (!std::isfinite(max / temperature)) {  // too large for a softmax: the best alone
    for (size_t i = 0; i < logits.size(); ++i) {
      if (logits[i] == max && max > kMinusInf)
        items_[size_++] = {0.0, 1.0, static_cast<int32_t>(i)};
    }
    if (size_ == 0) items_[size_++] = {0.0, 1.0, 0};
    return;
  }
  const bool cut_by_k = top_k > 0 && top_k < static_cast<int32_t>(logits.size());
  const float least = cut_by_k ? kth_largest(logits, top_k) : kMinusInf;
  // The quotient is rounded to f32 before the largest is taken away, as transformers does: logits
  // of a million at temperature 0.7 lie on a grid of 1/8.
  const float scaled_max = max / temperature;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] >= least)) continue;  // NaN too
    const double x = static_cast<double>(logits[i] / temperature) - static_cast<double>(scaled_max);
    const double weight = exp_nonpositive(x);
    if (weight > 0.0) items_[size_++] = {x, weight, static_cast<int32_t>(i)};
  }
}

double CandidateSet::total() const {
  return sum_of_weights(items_.get(), items_.get() + size_);
}

CandidateSet::Cut CandidateSet::select_mass(int64_t count, double mass) {
  Candidate* low = scratch_.get();
  Candidate* high = low + count;
  while (high - low > 1) {
    Candidate* middle = low + (high - low) / 2;
    std::nth_element(low, middle, high, before);
    const double left = sum_of_weights(low, middle);
    if (left >= mass) {
      high = middle;
    } else {
      mass -= left;
      low = middle;
    }
  }
  return {low->x, low->id};
}

void CandidateSet::keep_top_p(double top_p) {
  if (size_ <= 1) return;
  const double wanted = top_p * total();
  // The most likely tokens hold nearly all the mass: try those within a factor e^-6, then e^-14 of
  // the best, before taking all.
  int64_t count = 0;
  for (const double depth : {6.0, 14.0, 1e300}) {
    count = 0;
    double mass = 0.0;
    for (const Candidate& item : items()) {
      if (item.x < -depth) continue;
      scratch_[count++] = {-item.x, item.weight, item.id};
      mass += item.weight;
    }
    if (mass >= wanted) break;
  }
  const Cut cut = select_mass(count, wanted);
  int64_t kept = 0;
  for (int64_t i = 0; i < size_; ++i) {
    const double key = -items_[i].x;
    if (key < cut.key || (key == cut.key && items_[i].id <= cut.id)) items_[kept++] = items_[i];
  }
  size_ = kept;
}

void CandidateSet::keep_min_p(double min_p) {
  double best = 0.0;
  for (const Candidate& item : items()) best = std::max(best, item.weight);
  int64_t kept = 0;
  for (int64_t i = 0; i < size_; ++i) {
    if (items_[i].weight >= min_p * best) items_[kept++] = items_[i];
  }
  size_ = kept;
}

void CandidateSet::keep_typical_p(double typical_p) {
  if (size_ <= 1) return;
  // -log p = log Z - x; entropy H = sum p (log Z - x), so |-log p - H| = |mean(x) - x|.
  const double z = total();
  double mean = 0.0;
  for (const Candidate& item : items()) mean += item.weight * item.x;
  mean /= z;
  for (int64_t i = 0; i < size_; ++i) {
    scratch_[i] = {std::fabs(mean - items_[i].x), items_[i].weight, items_[i].id};
  }
  const Cut cut = select_mass(size_, typical_p * z);
  int64_t kept = 0;
  for (int64_t i = 0; i < size_; ++i) {
    if (std::fabs(mean - items_[i].x) <= cut.key) items_[kept++] = items_[i];
  }
  size_ = kept;
}

int32_t CandidateSet::pick(double u) const {
  const double target = u * total();
  double sum = 0.0;
  for (const Candidate& item : items()) {
    sum += item.weight;
    if (sum > target) return item.id;
  }
  return items_[size_ - 1].id;
}

}  // namespace ruvllm
