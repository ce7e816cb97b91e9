// y = residual + branch_scale * (x W^T + delta + bias), the rows of W split among the threads.
//
// One row of x streams the weights (rows_* kernels); more rows go through register tiles, for which
// a panel of weights is widened once per block of columns. Both add in the same order.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/kernel_lists.h"
#include "ops/cpu/cpu_weight.h"
#include "ops/cpu/matmul_epilogue.h"
#include "ops/cpu/matmul_state.h"
#include "ops/cpu/matmul_tasks.h"
#include "tensor/dequantize.h"

namespace ruvllm {
namespace {

using kernels::FloatDotKernel;
using kernels::kBf16DotX;
using kernels::kFloatBlock;
using kernels::QuantPanelKernel;

// What a thread without a task reads of its part of the next product: a part of its second-level
// cache.
constexpr int64_t kReadAheadBytes = 128 * 1024;
constexpr int64_t kLine = 64 / sizeof(float);
// Of x that are quantized at a time.
constexpr int64_t kMostTileRows = kernels::kTileSide;
// Between rows of a product of bf16_dot.h that take an epilogue: an odd number of cache lines.
int64_t bf16_row_floats(int64_t num_w) {
  return round_up(num_w, 32) + 16;
}

// The epilogue of a product of bf16_dot.h with rows of w from first_w on.
void take_bf16(const kernels::Bf16DotArgs& product, const kernels::Bf16DotKernel& kernel,
               const Epilogue& epilogue, int64_t first_w, ScratchBuffer& scratch) {
  const int64_t stride = bf16_row_floats(product.num_w);
  float* const rows = scratch.get<float>(std::min<int64_t>(product.num_x, kBf16DotX) * stride);
  for (int64_t t = 0; t < product.num_x; t += kBf16DotX) {
    const int64_t count = std::min<int64_t>(kBf16DotX, product.num_x - t);
    const int64_t first_x = epilogue.first_x + t;
    for (int64_t i = 0; i < count; ++i) {
      const float* const y = epilogue.args.y.row(first_x + i) + first_w;
      for (int64_t n = 0; n < product.num_w; n += kLine) __builtin_prefetch(y + n, 1, 2);
    }
    kernel.take_rows(&product, t, count, rows, stride);
    for (int64_t i = 0; i < count; ++i) {
      epilogue.finish(rows + i * stride, first_x + i, first_w, product.num_w);
    }
  }
}

void check_shapes(const MatmulArgs& args) {
  RUVLLM_CHECK(args.weight != nullptr);
  const Weight& w = *args.weight;
  RUVLLM_CHECK(args.x.cols == w.cols(), "x has ", args.x.cols, " columns, w ", w.cols());
  RUVLLM_CHECK(args.y.cols == w.rows() && args.y.rows == args.x.rows, "y [", args.y.rows, ", ",
               args.y.cols, "], expected [", args.x.rows, ", ", w.rows(), "]");
  for (const ConstMatrixF32* m : {&args.delta, &args.residual}) {
    RUVLLM_CHECK(m->empty() || (m->rows == args.y.rows && m->cols == args.y.cols));
  }
}

// Products of rows of one part with packed rows of x.
class FloatPart {
 public:
  FloatPart(const FloatDotKernel& kernel, const WeightPart& part, int64_t cols)
      : kernel_(kernel), part_(part), cols_(cols) {}

  // x: one row, padded. sums: num_w.
  void stream(const float* x, int64_t first_w, int64_t num_w, ScratchBuffer& decoded,
              float* sums) const {
    const void* rows[kRowsAtATime];
    if (part_.form == PartForm::kEncodedRows)
      return stream_encoded(x, first_w, num_w, decoded, sums);
    for (int64_t done = 0; done < num_w; done += kRowsAtATime) {
      const int64_t count = std::min(kRowsAtATime, num_w - done);
      for (int64_t i = 0; i < count; ++i) rows[i] = part_.row(first_w + done + i);
      const kernels::FloatRowsArgs args{rows, count, x, cols_, sums + done};
      (part_.dtype == DType::kF32    ? kernel_.rows_f32
       : part_.dtype == DType::kBF16 ? kernel_.rows_bf16
                                     : kernel_.rows_f16)(&args);
    }
  }

  // packed_x: tiles of tile_x rows (the last may be smaller), each [padded cols / V][rows][V].
  // sums: num_w rounded up to tile_w rows of num_x.
  void tiles(const float* packed_x, int64_t num_x, int64_t first_w, int64_t num_w,
             CpuOps::MatmulState::Worker& worker, const Sums& sums) const;

 private:
  void stream_encoded(const float* x, int64_t first_w, int64_t num_w, ScratchBuffer& decoded,
                      float* sums) const {
    float* row = decoded.get<float>(cols_);
    for (int64_t i = 0; i < num_w; ++i) {
      dequantize_row(part_.dtype, part_.row(first_w + i), row, cols_);
      const void* rows[1] = {row};
      const kernels::FloatRowsArgs args{rows, 1, x, cols_, sums + i};
      kernel_.rows_f32(&args);
    }
  }

  // The columns [begin, begin + count) of up to tile_w rows as one panel.
  void pack_panel(int64_t first_w, int64_t num_w, int64_t begin, int64_t count,
                  ScratchBuffer& decoded, float* panel) const {
    const void* rows[kernels::kMaxTileW];
    uint64_t offset = 0;
    RUVLLM_CHECK(row_bytes(part_.dtype, begin, offset));
    if (part_.form == PartForm::kEncodedRows) {
      float* lines = decoded.get<float>(kernel_.tile_w * kFloatBlock);
      for (int64_t i = 0; i < num_w; ++i) {
        float* line = lines + i * kFloatBlock;
        dequantize_row(part_.dtype, part_.row(first_w + i) + offset, line, count);
        rows[i] = line;
      }
      return kernel_.pack_f32(rows, num_w, count, panel);
    }
    for (int64_t i = 0; i < num_w; ++i) rows[i] = part_.row(first_w + i) + offset;
    (part_.dtype == DType::kF32    ? kernel_.pack_f32
     : part_.dtype == DType::kBF16 ? kernel_.pack_bf16
                                   : kernel_.pack_f16)(rows, num_w, count, panel);
  }

  const FloatDotKernel& kernel_;
  const WeightPart& part_;
  int64_t cols_;
};

void FloatPart::tiles(const float* packed_x, int64_t num_x, int64_t first_w, int64_t num_w,
                      CpuOps::MatmulState::Worker& worker, const Sums& sums) const {
  const int64_t lanes = kernel_.lanes;
  const int64_t padded_cols = round_up(cols_, lanes);
  const int64_t num_panels = (num_w + kernel_.tile_w - 1) / kernel_.tile_w;
  const int64_t panel_floats = kernel_.tile_w * kFloatBlock;
  float* panels = worker.panel.get<float>(num_panels * panel_floats);
  for (int64_t begin = 0; begin < cols_; begin += kFloatBlock) {
    const int64_t count = std::min<int64_t>(kFloatBlock, cols_ - begin);
    for (int64_t p = 0; p < num_panels; ++p) {
      const int64_t w = p * kernel_.tile_w;
      pack_panel(first_w + w, std::min<int64_t>(kernel_.tile_w, num_w - w), begin, count,
                 worker.decoded, panels + p * panel_floats);
    }
    // Two tiles of x stay in L1 while the panels pass by in pairs, so that each panel is read from
    // L2 once for both. Meanwhile the next two come from the last-level cache, a part with each
    // panel (1,020 rows on Zen 4: 4 % faster with AVX2, 1 % with AVX-512).
    const auto fetch_part = [&](int64_t t, int64_t p) {
      for (const int64_t end = std::min<int64_t>(t + 2 * kernel_.tile_x, num_x); t < end;) {
        const int64_t rows = std::min<int64_t>(kernel_.tile_x, num_x - t);
        const float* const x = packed_x + t * padded_cols + begin * rows;
        const int64_t lines = (count * rows + kLine - 1) / kLine;
        for (int64_t i = lines * p / num_panels; i < lines * (p + 1) / num_panels; ++i) {
          __builtin_prefetch(x + i * kLine, 0, 2);
        }
        t += rows;
      }
    };
    const auto tile = [&](int64_t t, int64_t p) {
      const int64_t rows = std::min<int64_t>(kernel_.tile_x, num_x - t);
      kernels::FloatTileArgs args;
      args.x = packed_x + t * padded_cols + begin * rows;
      args.w = panels + p * panel_floats;
      args.num_steps = round_up(count, lanes) / lanes;
      args.num_x = rows;
      args.sums = sums.data + p * kernel_.tile_w * sums.w_stride + t;
      args.sums_stride = sums.w_stride;
      args.accumulate = begin != 0;
      kernel_.tile(&args);
    };
    for (int64_t t = 0; t < num_x; t += 2 * kernel_.tile_x) {
      for (int64_t p = 0; p < num_panels; ++p) {
        fetch_part(t + 2 * kernel_.tile_x, p);
        tile(t, p);
        if (t + kernel_.tile_x < num_x) tile(t + kernel_.tile_x, p);
      }
    }
  }
}

}  // namespace

void CpuOps::matmul(const MatmulArgs& args) {
  check_shapes(args);
  const int64_t most = matmul_->most_rows();
  for (int64_t first = 0; first < args.x.rows; first += most) {
    matmul_rows(args, first, std::min(most, args.x.rows - first));
  }
}

// Packs rows [first, first + count) of x for the float kernels.
const float* CpuOps::pack_x(ConstMatrixF32 x, int64_t first, int64_t count) {
  const FloatDotKernel& kernel = matmul_->float_dot;
  if (count == 1 && x.cols % kernel.lanes == 0) return x.row(first);
  const int64_t padded_cols = round_up(x.cols, kernel.lanes);
  float* packed = matmul_->packed_x.get<float>(count * padded_cols);
  const int64_t tiles = (count + kernel.tile_x - 1) / kernel.tile_x;
  pool_.parallel_shares(tiles, pool_.num_threads(), [&](int64_t tile, int) {
    const int64_t t = tile * kernel.tile_x;
    const int64_t rows = std::min<int64_t>(kernel.tile_x, count - t);
    const float* pointers[kernels::kMaxTileX];
    for (int64_t i = 0; i < rows; ++i) pointers[i] = x.row(first + t + i);
    kernel.pack_x(pointers, rows, x.cols, packed + t * padded_cols);
  });
  return packed;
}

// Packs rows [first, first + count) of x for the kernel of bf16_dot.h.
const uint32_t* CpuOps::pack_bf16_x(ConstMatrixF32 x, int64_t first, int64_t count) {
  uint32_t* const words = matmul_->bf16_x.get<uint32_t>(kernels::bf16_packed_words(count, x.cols));
  const int64_t tiles = (count + kernels::kBf16DotX - 1) / kernels::kBf16DotX;
  pool_.parallel_shares(tiles, pool_.num_threads(), [&](int64_t tile, int) {
    const int64_t t = tile * kernels::kBf16DotX;
    const int64_t rows = std::min<int64_t>(kernels::kBf16DotX, count - t);
    const float* pointers[kernels::kBf16DotX];
    for (int64_t i = 0; i < rows; ++i) pointers[i] = x.row(first + t + i);
    matmul_->bf16_dot->pack_x(pointers, rows, x.cols,
                              words + kernels::bf16_packed_words(t, x.cols));
  });
  return words;
}

// Quantizes rows [first, first + count) of x for the integer kernels, in their tiles; before that,
// where the part has a transform, applies it.
const uint32_t* CpuOps::quantize_x(const CpuWeight& weight, const WeightPart& part,
                                   ConstMatrixF32 x, int64_t first, int64_t count) {
  const int32_t transform = part.transform;
  const int64_t groups = x.cols / kQuantGroup;
  const int64_t block = part.one_x_scale ? groups : int64_t{kernels::kXBlock};
  const int64_t row_words = groups * kernels::kRecordWords;
  const QuantPanelKernel& kernel = matmul_->quant_panel;
  const bool tiled = kernel.takes_tiles(count, part.one_x_scale);
  const int64_t largest = tiled ? int64_t{kernels::kTileSide} : kernel.tile_rows;
  const int64_t tile_words = tiled ? kernels::x_tile_words(groups) : largest * row_words;
  MatmulState::QuantizedX& buffers = matmul_->quantized_x[static_cast<size_t>(transform + 1)];
  const int64_t num_tiles = (count + largest - 1) / largest;
  uint32_t* const words = buffers.words[part.one_x_scale].get<uint32_t>(num_tiles * tile_words);
  pool_.parallel_shares(num_tiles, pool_.num_threads(), [&](int64_t tile, int worker) {
    const int64_t t = tile * largest;
    const int64_t given = std::min(largest, count - t);
    uint32_t* const begin = words + tile * tile_words;
    const float* rows[kMostTileRows];
    for (int64_t i = 0; i < given; ++i) rows[i] = x.row(first + t + i);
    if (transform >= 0) {
      const auto& of_x = weight.transforms()[static_cast<size_t>(transform)];
      auto& scratch = matmul_->workers[static_cast<size_t>(worker)].transformed;
      float* to = scratch.get<float>(given * x.cols);
      for (int64_t i = 0; i < given; ++i, to += x.cols) {
        apply_transform(of_x, rows[i], to, x.cols);
        rows[i] = to;
      }
    }
    if (tiled) return kernel.quantize_tile(rows, given, groups, block, begin);
    const int64_t tile_rows = kernels::next_tile_rows(count - t, largest);
    if (given < tile_rows) std::memset(begin, 0, static_cast<size_t>(tile_rows * row_words) * 4);
    matmul_->quantize.rows_to_int8(rows, given, groups, block, tile_rows, begin);
  });
  return words;
}

// Makes the forms of x that the parts of the weight want, each once. Quantized ones are left in
// MatmulState::quantized_x, bf16 in made_bf16_x; returns x packed for float parts, null without
// any.
const float* CpuOps::prepare_x(const CpuWeight& weight, ConstMatrixF32 x, int64_t first,
                               int64_t count) {
  const float* packed = nullptr;
  matmul_->made_bf16_x = nullptr;
  for (MatmulState::QuantizedX& buffers : matmul_->quantized_x) {
    std::ranges::fill(buffers.made, nullptr);
  }
  for (const WeightPart& part : weight.parts()) {
    if (part.form == PartForm::kBf16Rows) {
      const uint32_t*& made = matmul_->made_bf16_x;
      if (made == nullptr) made = pack_bf16_x(x, first, count);
      continue;
    }
    if (part.form != PartForm::kQuantPanels) {
      if (packed == nullptr) packed = pack_x(x, first, count);
      continue;
    }
    MatmulState::QuantizedX& buffers =
        matmul_->quantized_x[static_cast<size_t>(part.transform + 1)];
    const uint32_t*& made = buffers.made[part.one_x_scale];
    if (made == nullptr) made = quantize_x(weight, part, x, first, count);
  }
  return packed;
}

void CpuOps::matmul_rows(const MatmulArgs& args, int64_t first, int64_t count) {
  const CpuWeight& weight = as_cpu_weight(*args.weight);
  const FloatDotKernel& kernel = matmul_->float_dot;
  const float* const packed_x = prepare_x(weight, args.x, first, count);
  const RowBlocks blocks = row_blocks(weight, count);
  const TileTasks tiles(weight.parts(), kernel.tile_w, matmul_->quant_panel.task_panels,
                        pool_.num_threads() / static_cast<int>(blocks.count));
  std::vector<MatmulTask>& streams = matmul_->stream_tasks;
  const bool passes_once =
      count == 1 || (count <= matmul_->quant_panel.tile_rows &&
                     std::ranges::all_of(weight.parts(), [](const WeightPart& part) {
                       return part.form == PartForm::kQuantPanels;
                     }));
  if (passes_once) {
    list_stream_tasks(weight.parts(), pool_.num_threads(), streams);
    const WeightOrder::Streams next = matmul_->order.next_of(&weight, streams_of(streams));
    pool_.read_ahead(next.begin, next.stride, kReadAheadBytes);
  }
  const auto num_tasks = passes_once ? static_cast<int64_t>(streams.size()) : tiles.num_tasks();
  const auto multiply = [&](int64_t index, int worker_index) {
    const int64_t block = index / num_tasks;
    const int64_t begin = block * blocks.rows;
    const int64_t task = index % num_tasks;
    const auto [part, first_w, num_w] =
        passes_once ? streams[static_cast<size_t>(task)] : tiles.task(task);
    const Epilogue epilogue{args, first + begin, kernels::elementwise_kernels(isa_)};
    MatmulState::Worker& worker = matmul_->workers[static_cast<size_t>(worker_index)];
    // Odd numbers of cache lines between the columns: powers of two would share few sets.
    Sums sums{nullptr, 1, count == 1 ? 1 : round_up(count, 32) + 16};
    if (part->form == PartForm::kQuantPanels) {
      const int64_t panels = (num_w + part->panel_rows - 1) / part->panel_rows;
      const bool at_once = epilogue.adds_nothing() && num_w == panels * part->panel_rows;
      sums.w_stride = 1;
      sums.x_stride = at_once ? args.y.row_stride : panels * part->panel_rows;
      const int64_t rows = std::min(blocks.rows, count - begin);
      sums.data = at_once ? args.y.row(first + begin) + part->first_row + first_w
                          : worker.sums.get<float>(rows * sums.x_stride);
      multiply_panels(weight, {part, first_w, num_w}, begin, rows,
                      passes_once ? nullptr : tiles.next_panels(task), sums);
      if (!at_once) epilogue.apply(sums, rows, part->first_row + first_w, num_w);
      return;
    } else if (part->form == PartForm::kBf16Rows) {
      sums.data = worker.sums.get<float>(kernels::bf16_sum_floats(num_w, count));
      const kernels::Bf16DotArgs product{part->row(first_w),
                                         static_cast<int64_t>(part->row_bytes),
                                         num_w,
                                         weight.cols(),
                                         matmul_->made_bf16_x,
                                         count,
                                         sums.data,
                                         matmul_->stream_ahead_bytes};
      matmul_->bf16_dot->product(&product);
      return take_bf16(product, *matmul_->bf16_dot, epilogue, part->first_row + first_w,
                       worker.rows);
    } else {
      sums.data = worker.sums.get<float>(round_up(num_w, kernel.tile_w) * sums.w_stride);
      const FloatPart product(kernel, *part, weight.cols());
      if (count == 1) {
        product.stream(packed_x, first_w, num_w, worker.decoded, sums.data);
      } else {
        product.tiles(packed_x, count, first_w, num_w, worker, sums);
      }
    }
    epilogue.apply(sums, count, part->first_row + first_w, num_w);
  };
  pool_.parallel_shares(blocks.count * num_tasks, static_cast<int>(blocks.count), multiply);
}

// How `count` rows go to the threads. Only products of panels are cut: other kernels make weights
// ready for as many rows as there are.
RowBlocks CpuOps::row_blocks(const CpuWeight& weight, int64_t count) const {
  const QuantPanelKernel& kernel = matmul_->quant_panel;
  for (const WeightPart& part : weight.parts()) {
    if (part.form != PartForm::kQuantPanels || kernel.takes_tiles(count, part.one_x_scale)) {
      return {1, count};
    }
  }
  return cut_rows(count, kernel.tile_rows, pool_.num_threads());
}

// Products of the task's panels with `count` rows of quantized x from row `first` on, where a tile
// begins.
void CpuOps::multiply_panels(const CpuWeight& weight, const MatmulTask& task, int64_t first,
                             int64_t count, const uint8_t* next_panels, const Sums& sums) {
  const WeightPart& part = *task.part;
  const auto& inputs = matmul_->quantized_x[static_cast<size_t>(part.transform + 1)];
  const int64_t groups = weight.cols() / kQuantGroup;
  const uint32_t* const x = inputs.made[part.one_x_scale] + first * groups * kernels::kRecordWords;
  const kernels::QuantPanelArgs product{part.panel(task.first_w / part.panel_rows),
                                        (task.num_w + part.panel_rows - 1) / part.panel_rows,
                                        part.panel_bytes,
                                        groups,
                                        x,
                                        count,
                                        sums.data,
                                        sums.x_stride,
                                        part.scale_groups,
                                        part.compact_scales,
                                        part.one_x_scale,
                                        matmul_->stream_ahead_bytes,
                                        next_panels};
  matmul_->quant_panel.products[static_cast<size_t>(part.format)](&product);
}

void CpuOps::reserve_matmul(const StepLimits& limits) {
  const FloatDotKernel& kernel = matmul_->float_dot;
  const int64_t rows = std::min(matmul_->most_rows(), limits.max_rows);
  const int64_t groups = (limits.max_columns + kQuantGroup - 1) / kQuantGroup;
  matmul_->packed_x.get<float>(rows * round_up(limits.max_columns, kernel.lanes));
  const bool tiled = matmul_->quant_panel.takes_tiles(rows, true);
  for (MatmulState::QuantizedX& buffers : matmul_->quantized_x) {
    for (const bool one_x_scale : {false, true}) {
      if (!matmul_->wants_x[one_x_scale]) continue;
      const int64_t row_words = groups * kernels::kRecordWords;
      int64_t words = (rows + matmul_->quant_panel.tile_rows) * row_words;
      if (tiled) {
        words = std::max(words, (rows + kernels::kTileSide - 1) / kernels::kTileSide *
                                    kernels::x_tile_words(groups));
      }
      buffers.words[one_x_scale].get<uint32_t>(words);
    }
  }
  const int64_t panel_rows = matmul_->quant_panel.panel_rows;
  int64_t task_rows = std::max(kernel.tile_w * kFloatPanelsPerTask.most,
                               panel_rows * matmul_->quant_panel.task_panels);
  const int64_t streamed_x = std::min<int64_t>(rows, matmul_->quant_panel.tile_rows);
  int64_t stream_rows = kMostUnitsPerTask * panel_rows * streamed_x;
  int64_t bf16_rows = 0;
  if (matmul_->bf16_dot != nullptr) {
    matmul_->bf16_x.get<uint32_t>(kernels::bf16_packed_words(rows, limits.max_columns));
    task_rows = std::max(task_rows, kBf16TaskUnit * kBf16PanelsPerTask.most);
    stream_rows = std::max(stream_rows, kMostUnitsPerTask * kBf16TaskUnit);
    bf16_rows = std::max(kBf16DotX * bf16_row_floats(kBf16TaskUnit * kBf16PanelsPerTask.most),
                         bf16_row_floats(kMostUnitsPerTask * kBf16TaskUnit));
  }
  matmul_->stream_tasks.reserve(1024);
  const int64_t sums = std::max((round_up(rows, 32) + 16) * task_rows, stream_rows) + 16;
  for (MatmulState::Worker& worker : matmul_->workers) {
    worker.sums.get<float>(sums);
    worker.rows.get<float>(bf16_rows);
    worker.transformed.get<float>(kMostTileRows * limits.max_columns);
    worker.panel.get<float>(kFloatPanelsPerTask.most * kernel.tile_w * kFloatBlock);
    worker.decoded.get<float>(std::max<int64_t>(limits.max_columns, kernel.tile_w * kFloatBlock));
  }
}

}  // namespace ruvllm
