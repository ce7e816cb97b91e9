#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/str.h"
#include "lora/xlora.h"

namespace ruvllm {
namespace {

// Softmax of n values, in double: exact enough that its rounding is the only one that counts.
void softmax(float* values, int32_t n, double inverse_temperature) {
  double largest = values[0];
  for (int32_t i = 1; i < n; ++i) largest = std::max<double>(largest, values[i]);
  double sum = 0.0;
  for (int32_t i = 0; i < n; ++i) sum += std::exp((values[i] - largest) * inverse_temperature);
  for (int32_t i = 0; i < n; ++i) {
    values[i] = static_cast<float>(std::exp((values[i] - largest) * inverse_temperature) / sum);
  }
}

// Zeroes all but the k largest.
void keep_largest(float* values, int32_t n, int32_t k) {
  for (int32_t i = n; i > k; --i) {
    // The smallest that is left goes, of equal ones the last.
    int32_t smallest = -1;
    for (int32_t j = 0; j < n; ++j) {
      if (std::isnan(values[j])) continue;
      if (smallest < 0 || values[j] <= values[smallest]) smallest = j;
    }
    if (smallest < 0) return;
    values[smallest] = std::nanf("");
  }
  for (int32_t j = 0; j < n; ++j) {
    if (std::isnan(values[j])) values[j] = 0.0f;
  }
}

// Softmax over the values that are not zero; the others stay zero.
void softmax_nonzero(float* values, int32_t n) {
  double largest = -HUGE_VAL;
  for (int32_t i = 0; i < n; ++i) {
    if (values[i] != 0.0f) largest = std::max<double>(largest, values[i]);
  }
  double sum = 0.0;
  for (int32_t i = 0; i < n; ++i) {
    if (values[i] != 0.0f) sum += std::exp(values[i] - largest);
  }
  for (int32_t i = 0; i < n; ++i) {
    if (values[i] != 0.0f) values[i] = static_cast<float>(std::exp(values[i] - largest) / sum);
  }
}

}  // namespace

void finish_gates(const XLoraPolicy& policy, float* gates, int32_t num_experts) {
  if (policy.top_k > 0) keep_largest(gates, num_experts, policy.top_k);
  if (policy.softmax_topk) softmax_nonzero(gates, num_experts);
}

Result<std::unique_ptr<XLoraGate>> XLoraGate::make(std::shared_ptr<const XLora> xlora, Ops& ops,
                                                   int64_t max_rows) {
  std::unique_ptr<XLoraGate> gate(new XLoraGate(std::move(xlora), ops));
  for (const XLora::Layer& layer : gate->xlora_->classifier) {
    const WeightSource source{
        make_view(layer.weight.data(), DType::kF32, {layer.rows, layer.cols})};
    WeightOptions options;
    options.compute = ComputeType::kF32;  // small, and it decides
    auto weight = ops.make_weight({&source, 1}, options);
    if (!weight) {
      return fail(weight.error().code,
                  concat(gate->xlora_->path, ": classifier: ", weight.error().message));
    }
    gate->weights_.push_back(*std::move(weight));
  }
  int64_t widest = 0;
  for (size_t i = 0; i + 1 < gate->weights_.size(); ++i) {
    widest = std::max(widest, gate->weights_[i]->rows());
  }
  for (std::vector<float>& buffer : gate->inner_) {
    buffer.resize(static_cast<size_t>(widest * max_rows));
  }
  return gate;
}

void XLoraGate::compute(ConstMatrixF32 hidden, MatrixF32 gates, MatrixF32 scalings) {
  RUVLLM_CHECK(gates.cols == xlora_->num_gates() && gates.rows == hidden.rows, gates.cols);
  ConstMatrixF32 input = hidden;
  for (size_t i = 0; i < weights_.size(); ++i) {
    const bool last = i + 1 == weights_.size();
    MatmulArgs args;
    args.x = input;
    args.weight = weights_[i].get();
    const std::vector<float>& bias = xlora_->classifier[i].bias;
    args.bias = bias.empty() ? nullptr : bias.data();
    args.y = last ? gates : make_matrix(inner_[i % 2].data(), hidden.rows, weights_[i]->rows());
    ops_.matmul(args);
    if (!last && xlora_->relu) ops_.activate(args.y, Activation::kRelu);
    input = args.y;
  }
  const int32_t n = xlora_->num_experts();
  const XLoraPolicy& policy = xlora_->policy;
  for (int64_t t = 0; t < gates.rows; ++t) {
    for (int64_t begin = 0; begin < gates.cols; begin += n) {
      float* values = gates.row(t) + begin;
      if (policy.softmax) softmax(values, n, 1.0 / policy.temperature);
      if (!scalings.empty()) std::copy_n(values, n, scalings.row(t) + begin);
      finish_gates(policy, values, n);
    }
  }
  if (gates.rows == 0) return;
  const float* last = gates.row(gates.rows - 1);
  const MutexLock lock(mutex_);
  last_gates_.assign(last, last + gates.cols);
}

std::vector<float> XLoraGate::last_gates() const {
  const MutexLock lock(mutex_);
  return last_gates_;
}

void XLoraGate::fill_pass1(MatrixF32 gates) const {
  const int32_t n = xlora_->num_experts();
  for (int64_t t = 0; t < gates.rows; ++t) {
    std::fill_n(gates.row(t), gates.cols, xlora_->policy.pass_value);
    for (int64_t begin = 0; begin < gates.cols; begin += n) {
      finish_gates(xlora_->policy, gates.row(t) + begin, n);
    }
  }
}

}  // namespace ruvllm
