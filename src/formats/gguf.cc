#include "formats/gguf.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/checked.h"
#include "base/str.h"
#include "formats/gguf_cursor.h"

namespace ruvllm {
namespace {

constexpr uint64_t kMaxKeyBytes = 65535;        // the specification's limit
constexpr uint64_t kMaxTensorNameBytes = 1024;  // the specification says 64; be liberal
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;
// Smallest sizes of an entry and a tensor info: what counts may claim.
constexpr uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

}  // namespace

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto entry = keys.find(key);
  return entry != keys.end() ? &metadata[entry->second].second : nullptr;
}

// --- parsing -----------------------------------------------------------------------------------

class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, const std::string& path)
      : cursor_(bytes), path_(path) {}

  Result<GgufFile> parse() {
    file_.path = path_;
    RUVLLM_TRY(read_header());
    RUVLLM_TRY(read_metadata());
    RUVLLM_TRY(read_alignment());
    RUVLLM_TRY(read_tensor_infos());
    RUVLLM_TRY(place_tensors());
    return std::move(file_);
  }

 private:
  template <typename... Parts>
  std::unexpected<Error> bad(const Parts&... parts) const {
    return fail(ErrorCode::kBadFile, concat(path_, ": ", parts...));
  }

  std::unexpected<Error> cut(std::string_view what) const {
    return bad("the file ends inside ", what, ", at byte ", cursor_.position());
  }

  Status read_header() {
    std::string_view magic;
    if (!cursor_.text(4, magic)) return cut("the magic");
    if (magic != "GGUF") return wrong_magic(magic);
    uint32_t version = 0;
    if (!cursor_.number(version)) return cut("the version");
    if (version == 1)
      return fail(ErrorCode::kUnsupported,
                  concat(path_,
                         ": GGUF version 1 is not "
                         "supported (convert the file again), expected 2 or 3"));
    if (const uint32_t swapped = __builtin_bswap32(version); swapped >= 1 && swapped <= 3) {
      return fail(ErrorCode::kUnsupported,
                  concat(path_, ": is a big-endian GGUF file, only little-endian is supported"));
    }
    if (version != 2 && version != 3) return bad("version: found ", version, ", expected 2 or 3");
    file_.version = version;
    if (!cursor_.number(num_tensors_) || !cursor_.number(num_entries_)) return cut("the counts");
    const uint64_t left = cursor_.left();
    if (num_entries_ > left / kMinEntryBytes) {
      return bad("metadata entries: found a count of ", num_entries_, ", the file holds at most ",
                 left / kMinEntryBytes);
    }
    if (num_tensors_ > left / kMinTensorBytes) {
      return bad("tensors: found a count of ", num_tensors_, ", the file holds at most ",
                 left / kMinTensorBytes);
    }
    return {};
  }

  std::unexpected<Error> wrong_magic(std::string_view magic) const {
    struct Known {
      std::string_view magic;
      std::string_view what;
    };
    static constexpr Known kKnown[] = {
        {"tjgg", " (GGJT, a format before GGUF)"},
        {"GGJT", " (GGJT, a format before GGUF)"},
        {"lmgg", " (GGML, a format before GGUF)"},
        {"fmgg", " (GGMF, a format before GGUF)"},
        {"vers", " (perhaps a git-lfs pointer: the file itself was not fetched)"},
        {"FUGG", " (a big-endian GGUF file)"},
    };
    std::string_view what;
    for (const Known& known : kKnown) {
      if (known.magic == magic) what = known.what;
    }
    return bad("magic: found \"", printable(magic), "\", expected \"GGUF\"", what);
  }

  // A string of the file; `what` names it in messages.
  Status read_string(std::string_view what, uint64_t max_bytes, std::string_view& out) {
    uint64_t length = 0;
    if (!cursor_.number(length)) return cut(concat("the length of ", what));
    if (length > max_bytes || length > cursor_.left()) {
      return bad(what, ": found a length of ", length, ", expected at most ",
                 std::min(max_bytes, cursor_.left()));
    }
    cursor_.text(length, out);
    return {};
  }

  // A name: not empty, valid UTF-8, without control characters.
  Status read_name(std::string_view what, uint64_t max_bytes, std::string_view& out) {
    RUVLLM_TRY(read_string(what, max_bytes, out));
    if (out.empty()) return bad(what, ": found an empty name");
    if (!is_printable_utf8(out)) {
      return bad(what, ": found \"", printable(out), "\", expected printable UTF-8");
    }
    return {};
  }

  Status read_type(std::string_view key, GgufType& out) {
    uint32_t id = 0;
    if (!cursor_.number(id)) return cut(concat("the type of \"", printable(key), "\""));
    if (id >= kNumGgufTypes) {
      return bad("\"", printable(key), "\": found value type ", id, ", expected at most ",
                 kNumGgufTypes - 1);
    }
    out = static_cast<GgufType>(id);
    return {};
  }

  Status read_metadata() {
    for (uint64_t i = 0; i < num_entries_; ++i) {
      std::string_view key;
      RUVLLM_TRY(read_name(concat("metadata key ", i), kMaxKeyBytes, key));
      GgufValue value;
      RUVLLM_TRY(read_type(key, value.type_));
      if (value.type_ == GgufType::kString) {
        std::string_view text;
        RUVLLM_TRY(read_string(concat("\"", printable(key), "\""), UINT64_MAX, text));
        value.bytes_ = {reinterpret_cast<const std::byte*>(text.data()), text.size()};
      } else if (value.type_ == GgufType::kArray) {
        RUVLLM_TRY(read_array(key, value));
      } else if (!cursor_.bytes(gguf_type_bytes(value.type_), value.bytes_)) {
        return cut(concat("the value of \"", printable(key), "\""));
      }
      if (!file_.keys.emplace(key, file_.metadata.size()).second) {
        return bad("\"", printable(key), "\": the key appears twice");
      }
      file_.metadata.emplace_back(key, value);
    }
    return {};
  }

  Status read_array(std::string_view key, GgufValue& value) {
    RUVLLM_TRY(read_type(key, value.element_));
    if (value.element_ == GgufType::kArray) {
      return fail(ErrorCode::kUnsupported,
                  concat(path_, ": \"", printable(key), "\": arrays of arrays are not supported"));
    }
    if (!cursor_.number(value.count_)) return cut(concat("the count of \"", printable(key), "\""));
    const bool strings = value.element_ == GgufType::kString;
    const size_t item_bytes = strings ? 8 : gguf_type_bytes(value.element_);
    if (value.count_ > cursor_.left() / item_bytes) {
      return bad("\"", printable(key), "\": found a count of ", value.count_,
                 ", the file holds at most ", cursor_.left() / item_bytes);
    }
    if (!strings) {
      cursor_.bytes(static_cast<size_t>(value.count_) * item_bytes, value.bytes_);
      return {};
    }
    const size_t begin = cursor_.position();
    for (uint64_t i = 0; i < value.count_; ++i) {
      std::string_view text;
      uint64_t length = 0;
      if (!cursor_.number(length) || length > cursor_.left()) {
        return bad("\"", printable(key), "\"[", i, "]: found a length of ", length,
                   ", the file holds at most ", cursor_.left());
      }
      cursor_.text(length, text);
    }
    value.bytes_ = cursor_.since(begin);
    return {};
  }

  Status read_alignment() {
    const GgufValue* value = file_.find("general.alignment");
    if (value == nullptr) return {};
    const auto number = value->as_int64();
    const auto alignment = static_cast<uint64_t>(number.value_or(0));
    if (!number || *number < 8 || alignment > kMaxAlignment || (alignment & (alignment - 1)) != 0) {
      return bad("general.alignment: found ", value->describe(),
                 ", expected a power of two from 8 to ", kMaxAlignment);
    }
    file_.alignment = alignment;
    return {};
  }

  Status read_tensor_infos() {
    for (uint64_t i = 0; i < num_tensors_; ++i) {
      std::string_view name;
      RUVLLM_TRY(read_name(concat("name of tensor ", i), kMaxTensorNameBytes, name));
      FileTensor tensor;
      tensor.name = name;
      tensor.file = path_;
      const std::string what = concat("tensor \"", printable(name), "\"");
      RUVLLM_TRY(read_dims(what, tensor.view));
      uint32_t type = 0;
      uint64_t offset = 0;
      if (!cursor_.number(type) || !cursor_.number(offset)) return cut(concat(what, "'s info"));
      const auto dtype = dtype_from_gguf_id(type);
      if (!dtype) return bad(what, ": found type id ", type, ", which is removed or unknown");
      tensor.view.dtype = *dtype;
      offsets_.push_back(offset);
      file_.tensors.push_back(std::move(tensor));
    }
    return {};
  }

  Status read_dims(const std::string& what, TensorView& view) {
    uint32_t rank = 0;
    if (!cursor_.number(rank)) return cut(concat(what, "'s info"));
    if (rank < 1 || rank > TensorView::kMaxRank) {
      return bad(what, ": found ", rank, " dimensions, expected from 1 to ",
                 int{TensorView::kMaxRank});
    }
    view.rank = static_cast<int>(rank);
    uint64_t elements = 1;
    for (uint32_t i = 0; i < rank; ++i) {
      uint64_t dim = 0;
      if (!cursor_.number(dim)) return cut(concat(what, "'s info"));
      if (dim == 0 || !checked_mul(elements, dim, elements) ||
          elements > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return bad(what, ": dimension ", i, ": found ", dim,
                   dim == 0 ? ", expected at least 1" : ", the number of elements overflows");
      }
      view.shape[rank - 1 - i] = static_cast<int64_t>(dim);  // the file is innermost first
      view.stride[rank - 1 - i] = static_cast<int64_t>(elements / dim);
    }
    return {};
  }

  // Data of every tensor: within the file, aligned, shared with no other tensor.
  Status place_tensors() {
    const uint64_t mask = file_.alignment - 1;
    const uint64_t data_begin = (cursor_.position() + mask) & ~mask;
    struct Range {
      uint64_t begin;
      uint64_t end;
      size_t tensor;
    };
    std::vector<Range> ranges;
    ranges.reserve(file_.tensors.size());
    const uint64_t data_bytes = cursor_.size() > data_begin ? cursor_.size() - data_begin : 0;
    for (size_t i = 0; i < file_.tensors.size(); ++i) {
      FileTensor& tensor = file_.tensors[i];
      const std::string what = concat("tensor \"", printable(tensor.name), "\"");
      uint64_t row = 0;
      uint64_t bytes = 0;
      const int64_t width = tensor.view.dim(tensor.view.rank - 1);
      if (!row_bytes(tensor.view.dtype, width, row)) {
        return bad(what, ": found rows of ", width, ", expected a multiple of ",
                   dtype_info(tensor.view.dtype).block_elements, " for ",
                   dtype_info(tensor.view.dtype).name);
      }
      const auto rows = static_cast<uint64_t>(tensor.view.num_elements() / width);
      if (!checked_mul(row, rows, bytes) || !range_fits(offsets_[i], bytes, data_bytes)) {
        return bad(what, ": ", tensor.view.describe(), " at offset ", offsets_[i],
                   " lies outside the ", data_bytes, " bytes of tensor data");
      }
      if ((offsets_[i] & mask) != 0) {
        return bad(what, ": found offset ", offsets_[i], ", expected a multiple of the alignment ",
                   file_.alignment);
      }
      tensor.view.data = cursor_.at(static_cast<size_t>(data_begin + offsets_[i]));
      ranges.push_back({offsets_[i], offsets_[i] + bytes, i});
    }
    std::ranges::sort(ranges, {}, &Range::begin);
    for (size_t i = 1; i < ranges.size(); ++i) {
      if (ranges[i].begin < ranges[i - 1].end) {
        return bad("tensor \"", printable(file_.tensors[ranges[i].tensor].name),
                   "\": shares bytes with \"", printable(file_.tensors[ranges[i - 1].tensor].name),
                   "\"");
      }
    }
    return {};
  }

  GgufCursor cursor_;
  const std::string& path_;
  GgufFile file_;
  uint64_t num_tensors_ = 0;
  uint64_t num_entries_ = 0;
  std::vector<uint64_t> offsets_;  // of file_.tensors
};

Result<GgufFile> parse_gguf(std::span<const std::byte> bytes, const std::string& path) {
  return GgufParser(bytes, path).parse();
}

}  // namespace ruvllm
