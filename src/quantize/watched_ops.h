// A device that hands every call to another and shows the products with a model's quantizable
// matrices to who derives from it: what one pass over a text needs, be it to collect statistics, to
// quantize, or to see what a rounded matrix does.
//
// Whatever goes wrong, or a raised StopFlag, ends the pass: nothing more is computed, status() says
// what was first.
//
// Experts are computed one after the other, their products as any other. All layers share the KV
// memory of the first, since a layer's keys are not read after it. One thread at a time.
//
// Twins: a pass may end in `num_twins` rows that repeat its first ones and are to stay what the
// unquantized model gives, while the others go on from quantized products. Every product that is
// shown then ends in such rows, an expert's too: of a token that either row sends to it, it gets
// both, and what the router did not ask for is dropped.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ops/ops.h"
#include "quantize/isq_matrices.h"
#include "quantize/stop_flag.h"

namespace ruvllm {

class WatchedOps : public Ops {
 public:
  WatchedOps(std::unique_ptr<Ops> inner, const std::vector<IsqMatrix>& matrices, StopFlag stop,
             int64_t num_twins = 0)
      : inner_(std::move(inner)), matrices_(matrices), stop_(stop), num_twins_(num_twins) {}

  // Of the passes so far; none of them means anything when it is an error.
  const Status& status() const { return status_; }

  std::string_view name() const override { return inner_->name(); }
  std::string_view kernels() const override { return inner_->kernels(); }
  void reserve(const StepLimits& limits) override { inner_->reserve(limits); }
  Result<std::unique_ptr<Weight>> make_weight(std::span<const WeightSource> sources,
                                              const WeightOptions& options) override;
  void matmul(const MatmulArgs& args) override;
  void moe(const MoeArgs& args) override;
  void kv_write(const KvWriteArgs& args) override;
  void attention(const AttentionArgs& args) override;
  void embed(const Weight& table, std::span<const int32_t> ids, float scale,
             MatrixF32 out) override {
    inner_->embed(table, ids, scale, out);
  }
  void rms_norm(const NormArgs& args) override { inner_->rms_norm(args); }
  void layer_norm(const NormArgs& args) override { inner_->layer_norm(args); }
  void rope(const RopeArgs& args) override { inner_->rope(args); }
  void activate_and_multiply(ConstMatrixF32 gate_up, Activation activation, MatrixF32 y) override {
    inner_->activate_and_multiply(gate_up, activation, y);
  }
  void activate(MatrixF32 x, Activation activation) override { inner_->activate(x, activation); }
  void add(MatrixF32 x, ConstMatrixF32 y, float scale) override { inner_->add(x, y, scale); }
  void finish_logits(MatrixF32 logits, float scale, float softcap) override {
    inner_->finish_logits(logits, scale, softcap);
  }

 protected:
  // Matrices that are one product: indices into the list, in the order of its rows.
  using Site = std::vector<size_t>;

  // Which matrices are shown.
  virtual bool watches(const IsqMatrix& matrix) const = 0;
  // Before a product with a site. True: args.y has been computed; an error ends the pass.
  virtual Result<bool> on_product(const Site& site, const MatmulArgs& args) = 0;

  // y = the product with these matrices instead, in f32.
  Status multiply(const MatmulArgs& args, const std::vector<QuantizedMatrix>& quantized);
  // The device itself, which shows nothing.
  Ops& inner() { return *inner_; }
  // Of the product at hand: so many of its last rows are the twins of its first.
  int64_t num_twins() const { return num_twins_; }

  const std::vector<IsqMatrix>& matrices() const { return matrices_; }
  StopFlag stop() const { return stop_; }

 private:
  bool stopped();
  void run_expert(const MoeArgs& args, size_t expert, MatrixF32 x, MatrixF32 y);

  std::unique_ptr<Ops> inner_;
  const std::vector<IsqMatrix>& matrices_;
  StopFlag stop_;
  int64_t num_twins_;
  Status status_;
  std::unordered_map<const std::byte*, size_t> by_data_;  // where a matrix's elements begin
  std::unordered_map<const Weight*, Site> sites_;
};

// Rows [first, first + count) of a product.
MatmulArgs rows_of(const MatmulArgs& args, int64_t first, int64_t count);
ConstMatrixF32 rows_of(ConstMatrixF32 x, int64_t first, int64_t count);

}  // namespace ruvllm
