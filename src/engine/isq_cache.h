// A folder with the quantized matrices of earlier starts: what --isq made of a model, by a key of
// everything it was made from. One safetensors file per key, in the ruvllm layout, written beside
// its place and renamed: an interrupted start leaves no file that is read.
//
// The key covers the settings, whether scales had to be foldable (a file for others), the tokens
// that were calibrated on, config.json, and of each weights file its size, its time of change, its
// beginning and pieces all over it, the last ending where the file does (reading all of a large
// model would take as long as loading it). Whoever changes a few bytes of a weights file and sets
// back its time is not noticed.
//
// Any number of processes may use one folder. Failure to read or write costs the time that the
// cache would have saved, and a warning.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "quantize/isq_matrices.h"
#include "quantize/stop_flag.h"

namespace ruvllm {

class IsqCache {
 public:
  // `isq`: the settings as isq_text() gives them. `foldable_scales`: as in IsqRun. `samples`: the
  // calibration tokens, or none.
  IsqCache(std::string folder, const Checkpoint& checkpoint, const std::string& isq,
           bool foldable_scales, const std::vector<std::vector<int32_t>>& samples);

  const std::string& path() const { return path_; }

  // What is stored: the file, mapped, and its matrices by the names of `matrices`. Empty when there
  // is none, or one that does not fit the matrices.
  struct Entry {
    MmapFile file;  // the tensors point into it
    std::vector<FileTensor> tensors;
  };
  std::optional<Entry> read(const std::vector<IsqMatrix>& matrices) const;

  // Stores the matrices of `quantized` (a checkpoint made by make_isq_checkpoint). Any failure
  // leaves no file, and the matrices as good as they were.
  Status write(const Checkpoint& quantized, const std::vector<IsqMatrix>& matrices,
               StopFlag stop = {}) const;

 private:
  std::string folder_;
  std::string path_;
};

}  // namespace ruvllm
