#include "engine/quantized_save.h"

#include <deque>
#include <utility>

#include "base/json.h"
#include "base/mmap_file.h"
#include "base/new_file.h"
#include "base/str.h"
#include "engine/foreign_config.h"
#include "engine/model_folder.h"
#include "formats/quantized_pack.h"
#include "formats/safetensors_writer.h"
#include "quantize/fold_scales.h"

namespace ruvllm {
namespace {

Json::Object own_layout(const std::string& isq) {
  Json::Object quantization;
  quantization.push_back({"quant_method", Json(std::string("ruvllm"))});
  quantization.push_back({"version", Json(int64_t{1})});
  quantization.push_back({"isq", Json(isq)});
  return quantization;
}

class Saver {
 public:
  Saver(const Checkpoint& checkpoint, const SaveFormat& format)
      : checkpoint_(checkpoint), format_(format) {
    writer_.add_metadata("format", "pt");
  }

  // Everything in memory; write() then does.
  Status collect() {
    if (format_.layout) {
      RUVLLM_ASSIGN(folded_, fold_scales(checkpoint_));
    }
    for (const FileTensor& tensor : checkpoint_.tensors) {
      RUVLLM_TRY(format_.stop.status());
      const Status added = tensor.quantized != nullptr ? add_quantized(tensor) : add_plain(tensor);
      if (added) continue;
      return fail(added.error().code,
                  concat(tensor.file, ": tensor ", tensor.name, ": ", added.error().message));
    }
    return {};
  }

  Status write(const std::string& path) const { return writer_.write(path); }
  uint64_t num_matrices() const { return num_matrices_; }

 private:
  Status add_plain(const FileTensor& tensor) {
    const auto& shape = tensor.view.shape;
    const std::vector<int64_t> dims(shape.begin(), shape.begin() + tensor.view.rank);
    if (const auto norm = folded_.norms.find(tensor.name); norm != folded_.norms.end()) {
      return writer_.add(tensor.name, DType::kF32, dims, std::as_bytes(std::span(norm->second)));
    }
    uint64_t bytes = 0;
    if (!row_bytes(tensor.view.dtype, tensor.view.num_elements(), bytes)) {
      return fail(ErrorCode::kUnsupported, "its format cannot be saved");
    }
    return writer_.add(tensor.name, tensor.view.dtype, dims,
                       {tensor.view.data, static_cast<size_t>(bytes)});
  }

  Status add_quantized(const FileTensor& tensor) {
    RUVLLM_ASSIGN(QuantizedMatrix matrix, tensor.quantized->read());
    const std::string prefix = matrix_prefix(tensor.name);
    if (folded_.matrices.contains(tensor.name)) matrix.transform.input_scale.clear();
    RUVLLM_ASSIGN(memory_.emplace_back(), format_.layout
                                              ? pack_foreign(*format_.layout, matrix, prefix)
                                              : pack_matrix(matrix, prefix));
    for (const PackedTensor& part : memory_.back()) {
      RUVLLM_TRY(writer_.add(part.name, part.dtype, part.shape, part.bytes));
    }
    ++num_matrices_;
    return {};
  }

  const Checkpoint& checkpoint_;
  const SaveFormat& format_;
  FoldedScales folded_;
  SafetensorsWriter writer_;
  std::deque<std::vector<PackedTensor>> memory_;
  uint64_t num_matrices_ = 0;
};

}  // namespace

Result<SavedModel> save_quantized(const Checkpoint& checkpoint, const std::string& folder,
                                  const SaveFormat& format) {
  RUVLLM_TRY(check_model_folder(checkpoint, folder));
  RUVLLM_ASSIGN(
      const std::string config,
      config_with_quantization(checkpoint.path,
                               format.layout ? foreign_quantization(*format.layout, format.matrices)
                                             : own_layout(format.isq)));
  Saver saver(checkpoint, format);
  RUVLLM_TRY(saver.collect());
  RUVLLM_TRY(format.stop.status());
  RUVLLM_TRY(make_folder(folder));
  const std::string weights = folder + "/model.safetensors";
  RUVLLM_TRY(saver.write(weights));
  RUVLLM_TRY(copy_companions(checkpoint.path, folder));
  RUVLLM_TRY(write_text_file(folder + "/config.json", config));
  RUVLLM_ASSIGN(const MmapFile file, MmapFile::open(weights));
  return SavedModel{file.bytes().size(), saver.num_matrices()};
}

}  // namespace ruvllm
