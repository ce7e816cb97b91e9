#include "engine/serving_step.h"

#include <algorithm>

namespace ruvllm {
namespace {

const LoraTable* table_of(const SequenceUse& use) {
  return use.adapter != nullptr ? use.adapter->table() : nullptr;
}

}  // namespace

// Sequences that begin at a later layer stand behind the others, by rising layer.
void ServingStep::order_parts(const StepPlan& plan, FunctionRef<SequenceUse(SequenceId)> use_of) {
  parts_.clear();
  num_gates_ = 0;
  for (const PlanSpan& span : plan.spans) {
    Part part;
    part.span = &span;
    part.use = use_of(span.sequence);
    if (part.gate() != nullptr) {
      const XLora& xlora = part.gate()->xlora();
      num_gates_ = std::max(num_gates_, xlora.num_gates());
      if (part.is_pass2()) part.first_layer = xlora.first_layer;
    }
    parts_.push_back(part);
  }
  if (num_gates_ > 0) std::ranges::stable_sort(parts_, {}, &Part::first_layer);
  int32_t row = 0;
  for (Part& part : parts_) {
    part.first_row = row;
    row += part.span->num_rows;
  }
}

void ServingStep::add_part(const StepPlan& plan, const Part& part) {
  const PlanSpan& span = *part.span;
  sequences_.push_back(
      {int64_t{part.first_row}, int64_t{span.num_rows}, span.first_position, span.block_table});
  regimes_.push_back(span.regime);
  const auto first = plan.ids.begin() + span.first_row;
  ids_.insert(ids_.end(), first, first + span.num_rows);
  const bool is_base = part.is_pass1() && part.gate()->xlora().pass1_is_base();
  tables_.push_back(is_base ? nullptr : table_of(part.use));
  if (part.gate() != nullptr) fill_gates(part);
  if (part.is_pass1()) {
    pass1_.push_back(&part);
    if (const int32_t layer = part.gate()->xlora().first_layer; layer > 0) {
      taps_.push_back({layer, part.first_row, stream_rows(part)});
    }
  } else {
    add_outputs(part);
  }
}

void ServingStep::add_outputs(const Part& part) {
  const PlanSpan& span = *part.span;
  const RowUse use = span.all_rows ? part.use.rows : RowUse::kNone;
  for (int32_t i = 0; i < span.num_rows; ++i) {
    const bool samples = span.samples && i == span.num_rows - 1;
    if (!samples && use == RowUse::kNone) continue;
    const bool is_hidden = use == RowUse::kHidden;
    (is_hidden ? hidden_rows_ : rows_).push_back(part.first_row + i);
    StepOutput output;
    output.sequence = span.sequence;
    output.position = span.first_position + i;
    output.samples = samples;
    (is_hidden ? hidden_outputs_ : outputs_).push_back(output);
  }
}

// Room for the gates and streams of all rows of the step.
void ServingStep::prepare_gates() {
  pass1_.clear();
  resumed_.clear();
  taps_.clear();
  if (num_gates_ == 0) return;
  const auto rows = static_cast<size_t>(parts_.back().first_row + parts_.back().span->num_rows);
  const auto grow = [&](std::vector<float>& buffer, int64_t width) {
    buffer.resize(std::max(buffer.size(), rows * static_cast<size_t>(width)));
  };
  grow(gates_, num_gates_);
  grow(routed_, num_gates_);
  const auto shares = [](const Part& part) {
    return part.gate() != nullptr && part.gate()->xlora().first_layer > 0;
  };
  if (std::ranges::any_of(parts_, shares)) grow(stream_, runner_.config().hidden_size);
}

MatrixF32 ServingStep::stream_rows(const Part& part) {
  const int64_t width = runner_.config().hidden_size;
  return make_matrix(stream_.data() + part.first_row * width, part.span->num_rows, width);
}

// The gates that the rows of one span are computed with, and for pass 2 where they go on.
void ServingStep::fill_gates(const Part& part) {
  const PlanSpan& span = *part.span;
  const XLora& xlora = part.gate()->xlora();
  const MatrixF32 rows = make_matrix(gates_.data(), part.first_row + span.num_rows, num_gates_);
  if (part.is_pass1()) {
    if (xlora.pass1_is_base()) return;
    for (int32_t i = 0; i < span.num_rows; ++i) {
      part.gate()->fill_pass1(make_matrix(rows.row(part.first_row + i), 1, xlora.num_gates()));
    }
    return;
  }
  const XLoraRows& left = *part.use.xlora_rows;
  for (int32_t i = 0; i < span.num_rows; ++i) {
    std::copy_n(left.gates(span.first_position + i), xlora.num_gates(),
                rows.row(part.first_row + i));
  }
  if (part.first_layer == 0) return;
  const MatrixF32 stream = stream_rows(part);
  for (int32_t i = 0; i < span.num_rows; ++i) {
    std::copy_n(left.stream(span.first_position + i), stream.cols, stream.row(i));
  }
  resumed_.push_back({part.first_layer, part.first_row, stream});
}

void ServingStep::add_pass1_rows() {
  std::ranges::stable_sort(pass1_, {}, [](const Part* part) { return part->gate(); });
  for (const Part* part : pass1_) {
    for (int32_t i = 0; i < part->span->num_rows; ++i) rows_.push_back(part->first_row + i);
  }
}

// The classifier over what pass 1 gave, each X-LoRA's rows at once.
void ServingStep::route(ForwardOutput output, int64_t first_output) {
  for (size_t begin = 0; begin < pass1_.size();) {
    XLoraGate& gate = *pass1_[begin]->gate();
    size_t end = begin;
    int64_t count = 0;
    for (; end < pass1_.size() && pass1_[end]->gate() == &gate; ++end) {
      count += pass1_[end]->span->num_rows;
    }
    const MatrixF32 hidden =
        make_matrix(output.hidden.row(first_output), count, output.hidden.cols);
    const MatrixF32 gates = make_matrix(routed_.data(), count, gate.xlora().num_gates());
    gate.compute(hidden, gates);
    const float* next = gates.data;
    for (; begin < end; ++begin) {
      const Part& part = *pass1_[begin];
      for (int32_t i = 0; i < part.span->num_rows; ++i, next += gates.cols) {
        const int64_t position = part.span->first_position + i;
        const float* stream = gate.xlora().first_layer > 0 ? stream_rows(part).row(i) : nullptr;
        part.use.xlora_rows->put(position, next, stream);
        if (part.use.recorder != nullptr) part.use.recorder->add(position, next);
      }
    }
    first_output += count;
  }
  for (const Part& part : parts_) {
    if (!part.is_pass2()) continue;
    part.use.xlora_rows->drop_before(part.span->first_position + part.span->num_rows);
  }
}

void ServingStep::run(const StepPlan& plan, FunctionRef<SequenceUse(SequenceId)> use_of) {
  for (const BlockCopy& copy : plan.copies) runner_.copy_kv_block(copy.from, copy.to);
  ids_.clear();
  sequences_.clear();
  regimes_.clear();
  tables_.clear();
  rows_.clear();
  hidden_rows_.clear();
  outputs_.clear();
  hidden_outputs_.clear();
  order_parts(plan, use_of);
  prepare_gates();
  for (const Part& part : parts_) add_part(plan, part);
  const auto num_logits = static_cast<int64_t>(rows_.size());
  rows_.insert(rows_.end(), hidden_rows_.begin(), hidden_rows_.end());
  const auto num_asked = static_cast<int64_t>(rows_.size());
  add_pass1_rows();

  ForwardBatch batch;
  batch.ids = ids_;
  batch.sequences = sequences_;
  batch.rope_regimes = regimes_;
  const auto is_adapter = [](const LoraTable* table) { return table != nullptr; };
  if (std::ranges::any_of(tables_, is_adapter)) batch.adapters = tables_;
  if (num_gates_ > 0) {
    batch.gates = make_matrix(gates_.data(), static_cast<int64_t>(ids_.size()), num_gates_);
  }
  batch.resumed = resumed_;
  batch.taps = taps_;
  batch.output_rows = rows_;
  batch.num_logit_rows = num_logits;
  batch.want_hidden = static_cast<int64_t>(rows_.size()) > num_logits;
  batch.share_prefixes = share_prefixes_;
  const ForwardOutput output = runner_.forward(batch);
  for (int64_t i = 0; i < num_logits; ++i) {
    outputs_[static_cast<size_t>(i)].logits = output.logits.row(i);
  }
  for (size_t i = 0; i < hidden_outputs_.size(); ++i) {
    hidden_outputs_[i].hidden = output.hidden.row(num_logits + static_cast<int64_t>(i));
  }
  outputs_.insert(outputs_.end(), hidden_outputs_.begin(), hidden_outputs_.end());
  if (num_gates_ > 0) route(output, num_asked);
}

}  // namespace ruvllm
