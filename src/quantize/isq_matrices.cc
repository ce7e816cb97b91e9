#include "quantize/isq_matrices.h"

#include "base/check.h"
#include "base/str.h"
#include "model/tensor_finder.h"
#include "quantize/vector_math.h"
#include "tensor/dequantize.h"

namespace ruvllm {
namespace {

class Lister {
 public:
  Lister(const Checkpoint& checkpoint, const IsqConfig& config)
      : checkpoint_(checkpoint),
        config_(config),
        finder_(checkpoint.config.family, checkpoint.names, checkpoint.tensors, checkpoint.path) {}

  Result<std::vector<IsqMatrix>> run() {
    RUVLLM_TRY(add(Role::kEmbedding, {}, MatrixKind::kEmbedding));
    constexpr Role kParts[] = {Role::kQkv,    Role::kQ,    Role::kK,  Role::kV,   Role::kAttnOut,
                               Role::kGateUp, Role::kGate, Role::kUp, Role::kDown};
    for (int32_t layer = 0; layer < checkpoint_.config.num_layers(); ++layer) {
      for (const Role role : kParts) RUVLLM_TRY(add(role, {layer}, MatrixKind::kLinear));
      if (checkpoint_.config.layers[static_cast<size_t>(layer)].moe) RUVLLM_TRY(add_experts(layer));
    }
    if (!checkpoint_.config.tied_embeddings) RUVLLM_TRY(add(Role::kLmHead, {}, MatrixKind::kHead));
    return std::move(found_);
  }

 private:
  Status add_experts(int32_t layer) {
    constexpr Role kSingle[] = {Role::kExpertGate, Role::kExpertUp, Role::kExpertDown};
    constexpr Role kStacks[] = {Role::kExpertsGate, Role::kExpertsUp, Role::kExpertsDown};
    for (int32_t expert = 0; expert < checkpoint_.config.num_experts; ++expert) {
      const TensorPlace place{layer, expert};
      const FileTensor* both = finder_.peek(Role::kExpertsGateUp, place);
      for (size_t i = 0; i < 3; ++i) {
        const FileTensor* stack = i < 2 && both != nullptr ? both : finder_.peek(kStacks[i], place);
        if (stack == nullptr) {
          RUVLLM_TRY(add(kSingle[i], place, MatrixKind::kLinear));
          continue;
        }
        RUVLLM_TRY(add_slice(*stack, kSingle[i], place,
                             stack == both ? static_cast<int64_t>(i) : int64_t{-1}));
      }
    }
    return {};
  }

  // Expert `place.expert` of a stack [X, N, K]; half 0 or 1 of its rows, or all (-1).
  Status add_slice(const FileTensor& stack, Role role, TensorPlace place, int64_t half) {
    uint64_t row = 0;
    if (stack.view.rank != 3 || stack.view.dim(0) != checkpoint_.config.num_experts ||
        stack.quantized != nullptr || !row_bytes(stack.view.dtype, stack.view.dim(2), row)) {
      return fail(ErrorCode::kUnsupported,
                  concat(stack.file, ": tensor ", printable(stack.name), ": found ",
                         stack.view.describe(), ", expected a stack of all experts"));
    }
    const int64_t all_rows = stack.view.dim(1);
    const int64_t rows = half < 0 ? all_rows : all_rows / 2;
    const int64_t first = all_rows * place.expert + (half < 0 ? 0 : half * rows);
    IsqMatrix matrix;
    matrix.view = make_view(stack.view.data + static_cast<size_t>(first) * row, stack.view.dtype,
                            {rows, stack.view.dim(2)});
    matrix.layer = place.layer;
    return append(stack, finder_.name_of(role, place), role, MatrixKind::kLinear,
                  std::move(matrix));
  }

  Status add(Role role, TensorPlace place, MatrixKind kind) {
    const FileTensor* tensor = finder_.peek(role, place);
    if (tensor == nullptr) return {};
    IsqMatrix matrix;
    matrix.view = tensor->view;
    if (kind == MatrixKind::kLinear) matrix.layer = place.layer;
    matrix.transposed = checkpoint_.config.conv1d_weights && kind == MatrixKind::kLinear;
    return append(*tensor, tensor->name, role, kind, std::move(matrix));
  }

  Status append(const FileTensor& tensor, std::string name, Role role, MatrixKind kind,
                IsqMatrix matrix) {
    matrix.scheme = scheme_of(config_, name, kind);
    const DType dtype = tensor.view.dtype;
    const bool plain = dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
    if (!matrix.scheme.keep && (tensor.quantized != nullptr || !plain)) {
      return fail(
          ErrorCode::kUnsupported,
          concat(tensor.file, ": tensor ", printable(tensor.name), " is ",
                 tensor.quantized != nullptr ? tensor.quantized->layout() : dtype_info(dtype).name,
                 "; --isq needs f32, f16 or bf16 weights"));
    }
    if (!matrix.scheme.keep && (matrix.view.rank != 2 || matrix.view.num_elements() == 0)) {
      return fail(ErrorCode::kBadFile,
                  concat(tensor.file, ": tensor ", printable(tensor.name), ": found ",
                         matrix.view.describe(), ", expected a matrix"));
    }
    matrix.name = std::move(name);
    matrix.tensor = &tensor;
    matrix.role = role;
    matrix.kind = kind;
    found_.push_back(std::move(matrix));
    return {};
  }

  const Checkpoint& checkpoint_;
  const IsqConfig& config_;
  TensorFinder finder_;
  std::vector<IsqMatrix> found_;
};

}  // namespace

Result<std::vector<IsqMatrix>> list_matrices(const Checkpoint& checkpoint,
                                             const IsqConfig& config) {
  return Lister(checkpoint, config).run();
}

void read_matrix_row(const IsqMatrix& matrix, int64_t row, float* out) {
  const TensorView& view = matrix.view;
  const auto element = static_cast<size_t>(dtype_info(view.dtype).block_bytes);
  if (!matrix.transposed) {
    const std::byte* const from = view.data + static_cast<size_t>(row * view.dim(1)) * element;
    if (view.dtype == DType::kBF16 && reinterpret_cast<uintptr_t>(from) % element == 0) {
      quantizer_input_kernels().bf16_to_f32(reinterpret_cast<const uint16_t*>(from), out,
                                            view.dim(1));
    } else {
      dequantize_row(view.dtype, from, out, view.dim(1));
    }
    return;
  }
  for (int64_t k = 0; k < view.dim(0); ++k) {
    dequantize_row(view.dtype, view.data + static_cast<size_t>(k * view.dim(1) + row) * element,
                   out + k, 1);
  }
}

Result<std::vector<float>> read_matrix(const IsqMatrix& matrix, ThreadPool& pool) {
  const int64_t cols = matrix.cols();
  std::vector<float> values(static_cast<size_t>(matrix.rows() * cols));
  pool.parallel_for(matrix.rows(),
                    [&](int64_t n, int) { read_matrix_row(matrix, n, values.data() + n * cols); });
  const Status finite = check_finite({values.data(), matrix.rows(), cols, cols});
  if (finite) return values;
  return fail(finite.error().code,
              concat(matrix.tensor->file, ": tensor ", matrix.name, ": ", finite.error().message));
}

}  // namespace ruvllm
