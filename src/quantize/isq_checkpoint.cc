#include "quantize/isq_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/str.h"
#include "formats/quantized_pack.h"
#include "quantize/rotation.h"
#include "quantize/vector_math.h"

namespace ruvllm {
namespace {

constexpr int32_t kRotationBlock = 256;

std::string_view layout_name(int32_t bits) {
  switch (bits) {
    case 2:
      return "rtn2";
    case 3:
      return "rtn3";
    case 4:
      return "rtn4";
    default:
      return "rtn8";
  }
}

// Rounds a matrix of the base checkpoint when it is read.
class RoundedSource final : public QuantizedSource {
 public:
  RoundedSource(IsqMatrix matrix, std::shared_ptr<ThreadPool> pool, uint64_t seed)
      : matrix_(std::move(matrix)), pool_(std::move(pool)) {
    if (matrix_.scheme.rotate) transform_ = make_rotation(matrix_.cols(), kRotationBlock, seed);
  }

  Result<QuantizedMatrix> read() const override {
    QuantizedMatrix out = make_quantized(matrix_.scheme.grid, matrix_.rows(), matrix_.cols());
    out.transform = transform_;
    struct Worker {
      std::vector<float> line;
      Status status;
    };
    std::vector<Worker> workers(static_cast<size_t>(pool_->num_threads()));
    pool_->parallel_for(out.rows, [&](int64_t n, int index) {
      Worker& worker = workers[static_cast<size_t>(index)];
      if (worker.status) worker.status = round_row(n, worker.line, n, out);
    });
    for (const Worker& worker : workers) RUVLLM_TRY(worker.status);
    return out;
  }

  std::optional<QuantizedMatrix> form() const override {
    QuantizedMatrix out = make_quantized(matrix_.scheme.grid, 0, matrix_.cols());
    out.rows = matrix_.rows();
    out.transform = transform_;
    return out;
  }

  Status read_rows(int64_t first, int64_t count, QuantizedMatrix& out) const override {
    if (out.rows != count || out.cols != matrix_.cols()) {
      out = make_quantized(matrix_.scheme.grid, count, matrix_.cols());
    }
    std::vector<float> line;
    for (int64_t r = 0; r < count; ++r) RUVLLM_TRY(round_row(first + r, line, r, out));
    return {};
  }

  std::string_view layout() const override { return layout_name(matrix_.scheme.grid.bits); }
  uint64_t stored_bytes() const override {
    return ruvllm::stored_bytes(matrix_.scheme.grid, matrix_.rows(), matrix_.cols());
  }

 private:
  // Row n of the matrix becomes row `to` of `out`; `line` is scratch.
  Status round_row(int64_t n, std::vector<float>& line, int64_t to, QuantizedMatrix& out) const {
    line.resize(static_cast<size_t>(out.cols));
    read_matrix_row(matrix_, n, line.data());
    if (!all_finite(line.data(), out.cols)) {
      return fail(ErrorCode::kBadFile,
                  concat(matrix_.name, ": row ", n, " has an element that is not a finite number"));
    }
    if (!transform_.empty()) line = rotate_rows({line.data(), 1, out.cols, out.cols}, transform_);
    quantize_rtn_row(line.data(), matrix_.scheme.grid, to, out);
    return {};
  }

  IsqMatrix matrix_;
  std::shared_ptr<ThreadPool> pool_;
  InputTransform transform_;
};

}  // namespace

Result<FileTensor> quantized_tensor(const IsqMatrix& matrix, const QuantizedMatrix& quantized) {
  RUVLLM_ASSIGN(std::vector<PackedTensor> parts,
                pack_matrix(quantized, matrix_prefix(matrix.name)));
  RUVLLM_ASSIGN(FileTensor tensor, tensor_of_parts(std::move(parts), matrix.tensor->file));
  tensor.name = matrix.name;
  return tensor;
}

Result<std::shared_ptr<const Checkpoint>> make_isq_checkpoint(
    std::shared_ptr<const Checkpoint> base, const std::vector<IsqMatrix>& matrices,
    std::vector<FileTensor> ready, std::shared_ptr<ThreadPool> pool, uint64_t seed,
    std::vector<MmapFile> files) {
  auto out = std::make_shared<Checkpoint>();
  out->path = base->path;
  out->format = base->format;
  out->names = base->names;
  out->config = base->config;
  out->generation = base->generation;
  out->pooling = base->pooling;
  std::unordered_map<std::string_view, size_t> by_name;
  for (size_t i = 0; i < ready.size(); ++i) by_name.emplace(ready[i].name, i);
  // Stored tensors that matrices replace; a stack of experts goes as a whole.
  std::set<const FileTensor*> replaced;
  for (const IsqMatrix& matrix : matrices) {
    if (!matrix.scheme.keep) replaced.insert(matrix.tensor);
  }
  for (const FileTensor& tensor : base->tensors) {
    if (!replaced.contains(&tensor)) out->tensors.push_back(tensor);
  }
  for (const IsqMatrix& matrix : matrices) {
    if (!replaced.contains(matrix.tensor)) continue;
    if (const auto found = by_name.find(matrix.name); found != by_name.end()) {
      out->tensors.push_back(std::move(ready[found->second]));
      continue;
    }
    FileTensor tensor;
    tensor.name = matrix.name;
    tensor.file = matrix.tensor->file;
    if (matrix.scheme.keep) {
      tensor.view = matrix.view;
    } else {
      tensor.view = make_view(nullptr, DType::kF32, {matrix.rows(), matrix.cols()});
      tensor.quantized = std::make_shared<RoundedSource>(matrix, pool, seed);
    }
    out->tensors.push_back(std::move(tensor));
  }
  for (size_t i = 0; i < out->tensors.size(); ++i) out->index.emplace(out->tensors[i].name, i);
  out->base = std::move(base);
  out->files = std::move(files);
  return std::shared_ptr<const Checkpoint>(std::move(out));
}

IsqSize isq_size(const Checkpoint& checkpoint, const std::vector<IsqMatrix>& matrices) {
  IsqSize size;
  for (const IsqMatrix& matrix : matrices) {
    const FileTensor* tensor = checkpoint.find(matrix.name);
    if (tensor == nullptr || tensor->quantized == nullptr) continue;
    size.elements += static_cast<uint64_t>(matrix.rows()) * static_cast<uint64_t>(matrix.cols());
    size.bytes += tensor->quantized->stored_bytes();
  }
  return size;
}

}  // namespace ruvllm
