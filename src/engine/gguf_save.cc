#include "engine/gguf_save.h"

#include <algorithm>
#include <deque>
#include <map>
#include <span>
#include <utility>

#include "base/float_types.h"
#include "base/new_file.h"
#include "base/str.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "quantize/fold_scales.h"
#include "tensor/quant_layout.h"

namespace ruvllm {
namespace {

// llama.cpp's numbers for a file that is mostly of that type.
uint32_t file_type(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return 2;
    case DType::kQ4_1:
      return 3;
    default:
      return 7;
  }
}

Result<DType> block_format(int32_t bits, bool symmetric) {
  if (bits == 8 && symmetric) return DType::kQ8_0;
  if (bits == 4) return symmetric ? DType::kQ4_0 : DType::kQ4_1;
  return fail(ErrorCode::kUnsupported,
              concat("gguf: 8 or 4 bits become Q8_0, Q4_0 or Q4_1; found ", bits));
}

Status check_groups(int64_t cols, int64_t group_size) {
  if (cols % kQuantGroup == 0 && (group_size % kQuantGroup == 0 || group_size == cols)) return {};
  return fail(
      ErrorCode::kUnsupported,
      concat("gguf: blocks of 32 need groups of 32, 64, ... and rows of whole blocks; found ",
             "groups of ", group_size, " in rows of ", cols));
}

// Rows of blocks.
Result<std::vector<std::byte>> pack_blocks(const QuantizedMatrix& matrix, DType dtype) {
  if (!matrix.transform.empty() || matrix.int8_activations) {
    return fail(ErrorCode::kUnsupported, "gguf has no place for an input transform");
  }
  RUVLLM_TRY(check_groups(matrix.cols, matrix.group_size));
  const QuantLayout& layout = *quant_layout(dtype);
  uint64_t row = 0;
  if (!row_bytes(dtype, matrix.cols, row)) return fail(ErrorCode::kInternal, "size of a row");
  std::vector<std::byte> out(static_cast<size_t>(matrix.rows) * row);
  for (int64_t n = 0; n < matrix.rows; ++n) {
    for (int64_t block = 0; block < matrix.cols / kQuantGroup; ++block) {
      const int64_t begin = block * kQuantGroup;
      const int64_t group = begin / matrix.group_size;
      const float scale = matrix.scale_at(n, group);
      const int32_t zero = matrix.zero_at(n, group);
      QuantGroup values;
      std::copy_n(matrix.codes.begin() + n * matrix.cols + begin, kQuantGroup, values.codes);
      values.d = f32_to_f16(scale);
      if (layout.has_minimum) {
        values.m = f32_to_f16(-scale * static_cast<float>(zero));
      } else if (zero != layout.zero) {
        return fail(ErrorCode::kInternal, concat("zero point ", zero, " of symmetric codes"));
      }
      write_quant_group(layout, values, block, out.data() + static_cast<size_t>(n) * row);
    }
  }
  return out;
}

class GgufSaver {
 public:
  GgufSaver(const Checkpoint& quantized, StopFlag stop) : quantized_(quantized), stop_(stop) {}

  Status collect() {
    RUVLLM_ASSIGN(source_, open_gguf(quantized_.path, files_));
    RUVLLM_ASSIGN(folded_, fold_scales(quantized_));
    for (const auto& [key, value] : source_.metadata) {
      if (!key.starts_with("split.")) writer_.copy_entry(key, value);
    }
    for (const FileTensor& tensor : source_.tensors) {
      RUVLLM_TRY(stop_.status());
      const Status added = add(tensor);
      if (added) continue;
      return fail(added.error().code,
                  concat(tensor.file, ": tensor ", tensor.name, ": ", added.error().message));
    }
    const auto most =
        std::ranges::max_element(elements_, {}, [](const auto& e) { return e.second; });
    if (most != elements_.end()) writer_.set_u32("general.file_type", file_type(most->first));
    writer_.set_u32("general.quantization_version", 2);
    return {};
  }

  Status write(const std::string& path) const { return writer_.write(path); }
  uint64_t num_matrices() const { return blocks_.size(); }

 private:
  Status add(const FileTensor& tensor) {
    const auto& extents = tensor.view.shape;
    const std::vector<int64_t> shape(extents.begin(), extents.begin() + tensor.view.rank);
    if (const auto norm = folded_.norms.find(tensor.name); norm != folded_.norms.end()) {
      return writer_.add_tensor(tensor.name, DType::kF32, shape,
                                std::as_bytes(std::span(norm->second)));
    }
    const FileTensor* made = quantized_.find(tensor.name);
    if (made == nullptr) {
      return fail(ErrorCode::kUnsupported,
                  "gguf: a stack of experts; keep it (exps=keep in --isq)");
    }
    if (made->quantized == nullptr) {
      uint64_t bytes = 0;
      if (!row_bytes(tensor.view.dtype, tensor.view.num_elements(), bytes)) {
        return fail(ErrorCode::kInternal, "its size");
      }
      return writer_.add_tensor(tensor.name, tensor.view.dtype, shape,
                                {tensor.view.data, static_cast<size_t>(bytes)});
    }
    RUVLLM_ASSIGN(QuantizedMatrix matrix, made->quantized->read());
    if (folded_.matrices.contains(tensor.name)) matrix.transform.input_scale.clear();
    RUVLLM_ASSIGN(const DType dtype, block_format(matrix.bits, matrix.zeros.empty()));
    RUVLLM_ASSIGN(blocks_.emplace_back(), pack_blocks(matrix, dtype));
    elements_[dtype] += tensor.view.num_elements();
    return writer_.add_tensor(tensor.name, dtype, shape, blocks_.back());
  }

  const Checkpoint& quantized_;
  StopFlag stop_;
  std::vector<MmapFile> files_;
  GgufFile source_;
  FoldedScales folded_;
  GgufWriter writer_;
  std::deque<std::vector<std::byte>> blocks_;
  std::map<DType, int64_t> elements_;  // of each type
};

}  // namespace

Status check_gguf_target(const Checkpoint& source, const std::vector<IsqMatrix>& matrices,
                         const std::string& path) {
  if (source.format != "gguf") {
    return fail(ErrorCode::kUnsupported,
                concat(source.path, ": --format gguf starts from a GGUF file (llama.cpp's ",
                       "convert_hf_to_gguf.py makes an f16 one of a folder)"));
  }
  if (file_exists(path) || directory_exists(path)) {
    return fail(ErrorCode::kInvalidArgument, concat(path, ": exists; choose another file"));
  }
  for (const IsqMatrix& matrix : matrices) {
    if (matrix.scheme.keep) continue;
    const Grid& grid = matrix.scheme.grid;
    Status fits = check_groups(matrix.cols(), grid.group_of(matrix.cols()));
    if (const auto format = block_format(grid.bits, grid.symmetric); !format) {
      fits = std::unexpected(format.error());
    } else if (matrix.scheme.rotate || matrix.scheme.method == IsqMethod::kSmoothQuant) {
      fits = fail(ErrorCode::kUnsupported, "gguf has no place for an input transform");
    } else if (matrix.tensor->view.rank != 2) {
      fits = fail(ErrorCode::kUnsupported, "gguf: stacks of experts are kept (exps=keep in --isq)");
    }
    if (!fits) return fail(fits.error().code, concat(matrix.name, ": ", fits.error().message));
  }
  return NewFile::try_create(path);
}

Result<SavedModel> save_gguf(const Checkpoint& quantized, const std::string& path, StopFlag stop) {
  GgufSaver saver(quantized, stop);
  RUVLLM_TRY(saver.collect());
  RUVLLM_TRY(stop.status());
  RUVLLM_TRY(saver.write(path));
  RUVLLM_ASSIGN(const MmapFile file, MmapFile::open(path));
  return SavedModel{file.bytes().size(), saver.num_matrices()};
}

}  // namespace ruvllm
