// The tokens that may still be chosen, and the filters that narrow them.
//
// A CandidateSet holds tokens in increasing id with their log-weight x = (logit - max) /
// temperature and weight exp(x). Every filter finds its cut by partial selection (expected O(n),
// never a full sort) and then drops the rest in one pass that keeps the order. Filters see the
// softmax of what the one before left; weights are not renormalized, total() is their sum.
//
// Memory: all of it is taken at construction (48 bytes per token of the vocabulary, touched only as
// far as needed). One owner, one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

namespace ruvllm {

struct Candidate {
  double x = 0.0;       // log of weight
  double weight = 0.0;  // in (0, 1]; 1 for the best token
  int32_t id = 0;
};

class CandidateSet {
 public:
  explicit CandidateSet(int32_t vocab_size);

  // All tokens of `logits` [V] (NaN counts as -inf; tokens of weight 0 are left out), or with
  // top_k > 0 those whose logit is at least the k-th largest: tokens tied with it stay.
  void assign(std::span<const float> logits, float temperature, int32_t top_k);

  // Smallest set of the most likely tokens whose mass reaches top_p; ties go to smaller ids.
  void keep_top_p(double top_p);
  // p >= min_p * max(p).
  void keep_min_p(double min_p);
  // Smallest set of the tokens whose -log p is nearest the entropy, of mass typical_p; ties stay.
  void keep_typical_p(double typical_p);

  std::span<const Candidate> items() const { return {items_.get(), static_cast<size_t>(size_)}; }
  double total() const;
  // The token at `u` in [0, 1) of the cumulative mass, in order of id.
  int32_t pick(double u) const;

 private:
  struct Cut {
    double key;
    int32_t id;
  };
  // The last element of the shortest prefix of scratch_[0, count), ordered by (x, id), whose weight
  // reaches `mass`.
  Cut select_mass(int64_t count, double mass);
  float kth_largest(std::span<const float> logits, int32_t k);

  int64_t size_ = 0;
  std::unique_ptr<Candidate[]> items_;    // [V]
  std::unique_ptr<Candidate[]> scratch_;  // [V]
};

// The index of the largest value, the smallest index among equals; NaN counts as -inf.
int32_t argmax(std::span<const float> logits);

}  // namespace ruvllm
