#include "tensor/tensor_view.h"

#include "base/str.h"

namespace ruvllm {

std::string TensorView::describe() const {
  std::string out = "[";
  for (int i = 0; i < rank; ++i) {
    if (i > 0) out += ", ";
    out += concat(dim(i));
  }
  out += "] ";
  out += dtype_info(dtype).name;
  return out;
}

TensorView make_view(const void* data, DType dtype, std::initializer_list<int64_t> shape) {
  RUVLLM_CHECK(shape.size() <= static_cast<size_t>(TensorView::kMaxRank));
  TensorView view;
  view.data = static_cast<const std::byte*>(data);
  view.dtype = dtype;
  view.rank = static_cast<int>(shape.size());
  size_t i = 0;
  for (const int64_t extent : shape) view.shape[i++] = extent;
  int64_t stride = 1;
  for (size_t n = shape.size(); n-- > 0;) {
    view.stride[n] = stride;
    stride *= view.shape[n];
  }
  return view;
}

}  // namespace ruvllm
