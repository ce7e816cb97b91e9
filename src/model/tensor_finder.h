// TensorFinder: a checkpoint's tensors by role. It turns a role into names (spec/weight_names),
// checks shape and format of what it finds, and remembers which tensors were asked for.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ops/ops.h"
#include "ruvllm/result.h"
#include "spec/file_tensor.h"
#include "spec/weight_names.h"

namespace ruvllm {

// Which layer and expert a pattern's {L} and {X} stand for.
struct TensorPlace {
  int32_t layer = 0;
  int32_t expert = 0;
};

class TensorFinder {
 public:
  TensorFinder(Family family, NameStyle style, std::span<const FileTensor> tensors,
               std::string_view path);

  NameStyle style() const { return style_; }
  // Whether some tensor has this role (or is the bias of it).
  bool has(Role role, TensorPlace place = {}) const;
  bool has_bias(Role role, TensorPlace place = {}) const;

  // The tensor of this role, unchecked and not counted as used; null when there is none.
  const FileTensor* peek(Role role, TensorPlace place = {}) const {
    return lookup(role, place, false);
  }
  // What a tensor of this role is called: the first alternative.
  std::string name_of(Role role, TensorPlace place = {}) const {
    return expected_name(role, place, false);
  }

  // The tensor of this role; it must have exactly this shape and hold real numbers.
  Result<const FileTensor*> find(Role role, TensorPlace place,
                                 std::initializer_list<int64_t> shape);
  // The same, as f32 values. `bias`: the bias that belongs to the role.
  Result<std::vector<float>> read_vector(Role role, TensorPlace place, int64_t size, bool bias);

  // Marks tensors of this role as known although nobody needs them.
  void ignore(Role role);
  // Tensors that were never asked for and are not known to be harmless. One that stands in one of
  // the model's layers is a part that would be left out of the arithmetic: refused by name. Others
  // (an image encoder, layers beyond the last) give one warning.
  Status check_leftovers(int32_t num_layers) const;

 private:
  const FileTensor* lookup(std::string_view name) const;
  const FileTensor* lookup(Role role, TensorPlace place, bool bias) const;
  // The name to put into a message: the first alternative.
  std::string expected_name(Role role, TensorPlace place, bool bias) const;
  int64_t layer_of(std::string_view name) const;  // -1: of no layer of the body
  Status check(const FileTensor& tensor, std::initializer_list<int64_t> shape) const;

  NameTable table_;
  NameStyle style_;
  std::string_view prefix_;
  std::span<const FileTensor> tensors_;
  std::string_view path_;
  std::unordered_map<std::string_view, size_t> index_;  // keys point into tensors_
  std::vector<bool> used_;
};

}  // namespace ruvllm
