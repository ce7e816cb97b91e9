// Where the keys and values of a segment lie in their pages: in place for the kernels where that is
// possible, gathered and widened to f32 where it is not. See simd/vec_generic.h for the unnamed
// namespace.
#pragma once

#include <string.h>

#include "kernels/attention/attention.h"
#include "kernels/attention/attention_tiles.h"

namespace ruvllm::kernels {
namespace {

// Keys whose values are added at a time: few enough that they stay in L1 for all rows.
constexpr int kValueTile = 64;

inline int larger(int a, int b) {
  return a > b ? a : b;
}
inline int smaller(int a, int b) {
  return a < b ? a : b;
}
inline int clamped(int64_t x, int high) {
  return x < 0 ? 0 : x > high ? high : static_cast<int>(x);
}

// Keys [begin, end) counted from the segment's first.
struct KeyRange {
  int begin;
  int end;
};

inline size_t element_bytes(KvFormat format) {
  return format == KvFormat::kF32 ? 4 : format == KvFormat::kInt8 ? 1 : 2;
}

// The page that holds a key of the segment, and the key's slot in it.
struct Slot {
  const char* page;
  int slot;
};
inline Slot slot_of(const AttentionSegment& s, const void* const* pages, int key) {
  const int64_t position = s.key_begin + key;
  const int64_t page = position / s.page_tokens;
  return {static_cast<const char*>(pages[page - s.key_begin / s.page_tokens]),
          static_cast<int>(position - page * s.page_tokens)};
}

// Whether every group of keys lies in one page, whole.
inline bool in_groups(const AttentionSegment& s) {
  return s.page_tokens % kKeyGroup == 0;
}

// A group of keys [D, kKeyGroup] or values [kKeyGroup, D] that lies in one page, whole. For pages
// of whole groups.
inline const void* group_of(const AttentionSegment& s, const void* const* pages, int group) {
  const Slot at = slot_of(s, pages, group * kKeyGroup);
  return at.page +
         static_cast<size_t>(at.slot) * static_cast<size_t>(s.head_dim) * element_bytes(s.format);
}

// Cache lines of that many keys (or values).
inline int lines_of(const AttentionSegment& s, int keys) {
  return (keys * s.head_dim * static_cast<int>(element_bytes(s.format)) + 63) / 64;
}

// Fetches the segment's keys, then its values, then what comes after it, a few cache lines at a
// time between the products: so that one waits for memory while the other computes.
class Prefetcher {
 public:
  Prefetcher(const AttentionSegment& s, const KeyRange& range)
      : s_(s),
        row_bytes_(static_cast<int>(element_bytes(s.format)) * s.head_dim),
        key_(range.begin),
        range_(range) {}

  void fetch(int lines) {
    for (; lines > 0; --lines) {
      if (left_ <= 0 && !next_run()) return;
      __builtin_prefetch(at_, 0, 2);
      at_ += kLine;
      left_ -= kLine;
    }
  }

 private:
  static constexpr int kLine = 64;

  bool next_run() {
    while (key_ >= range_.end && part_ < 2) {
      ++part_;
      key_ = part_ == 1 ? range_.begin : 0;
      if (part_ == 2) range_.end = s_.next_k_pages != nullptr ? kKeysAhead : 0;
    }
    if (key_ >= range_.end) return false;
    const void* const* pages = part_ == 0 ? s_.k_pages : part_ == 1 ? s_.v_pages : s_.next_k_pages;
    const Slot at = slot_of(s_, pages, key_);
    const int run = smaller(range_.end - key_, s_.page_tokens - at.slot);
    at_ = at.page + int64_t{at.slot} * row_bytes_;
    left_ = run * row_bytes_;
    key_ += run;
    return true;
  }

  const AttentionSegment& s_;
  int row_bytes_;
  int key_;
  KeyRange range_;
  int part_ = 0;  // keys, values, the keys that come next
  const char* at_ = nullptr;
  int left_ = 0;  // bytes of the run
};

// n elements as f32, one after the other.
template <class V, class Read>
void widen(const typename Read::Element* src, int n, float* dst) {
  int i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) V::store(dst + i, Read::load(src + i));
  if (i < n) {
    typename Read::Element rest[V::kLanes] = {};
    memcpy(rest, src + i, static_cast<size_t>(n - i) * sizeof(rest[0]));
    float last[V::kLanes];
    V::store(last, Read::load(rest));
    memcpy(dst + i, last, static_cast<size_t>(n - i) * sizeof(float));
  }
}

// One key whose elements lie `width` apart.
template <class V, class Read>
void scatter_key(const typename Read::Element* src, int width, int head_dim, float* dst) {
  constexpr int kPiece = 32;
  for (int d = 0; d < head_dim; d += kPiece) {
    const int n = smaller(head_dim - d, kPiece);
    typename Read::Element row[kPiece] = {};
    for (int i = 0; i < n; ++i) row[i] = src[(d + i) * width];
    float values[kPiece];
    widen<V, Read>(row, kPiece, values);
    for (int i = 0; i < n; ++i) dst[(d + i) * kKeyGroup] = values[i];
  }
}

// The keys of a group that are in the range, as f32 [D, kKeyGroup], wherever they lie.
template <class V, class Read>
void gather_group(const AttentionSegment& s, int group, const KeyRange& range, float* dst) {
  using Element = typename Read::Element;
  const int end = smaller((group + 1) * kKeyGroup, range.end);
  for (int key = larger(group * kKeyGroup, range.begin); key < end;) {
    const Slot at = slot_of(s, s.k_pages, key);
    const int first = at.slot / kKeyGroup * kKeyGroup;
    const int width = smaller(kKeyGroup, s.page_tokens - first);
    const auto* src =
        reinterpret_cast<const Element*>(at.page) + int64_t{first} * s.head_dim + (at.slot - first);
    const int n = smaller(end - key, first + width - at.slot);
    float* to = dst + (key - group * kKeyGroup);
    if (n >= 4) {
      for (int d = 0; d < s.head_dim; ++d) {
        widen<V, Read>(src + d * width, n, to + d * kKeyGroup);
      }
    } else {
      for (int i = 0; i < n; ++i) scatter_key<V, Read>(src + i, width, s.head_dim, to + i);
    }
    key += n;
  }
}

// values[j] for the keys [begin, end) of the tile: the rows in their pages. The page of a row is
// looked up once per run.
template <class Element>
void value_rows(const AttentionSegment& s, int tile, int begin, int end, const Element** values) {
  for (int j = begin; j < end;) {
    const Slot at = slot_of(s, s.v_pages, tile + j);
    const auto* row = reinterpret_cast<const Element*>(at.page) + int64_t{at.slot} * s.head_dim;
    const int run = smaller(end - j, s.page_tokens - at.slot);
    for (int i = 0; i < run; ++i) values[j + i] = row + int64_t{i} * s.head_dim;
    j += run;
  }
}

// What tiles of `tile` values fetch beyond the row before `end`: for each key of the last one as
// many bytes of the keys that are read next. False if nobody said which these are. A tile's rows
// may be more than those that follow it, so there is something to fetch in any case.
template <class Element>
bool rows_ahead(const AttentionSegment& s, int end, int tile, const Element** values) {
  for (int i = 0; i < tile; ++i) values[end + i] = values[end - 1];
  if (s.next_k_pages == nullptr || !in_groups(s)) return false;
  const int after = (end - 1) / tile * tile + tile;
  for (int i = 0; i < tile; ++i) {
    const void* group = group_of(s, s.next_k_pages, i / kKeyGroup);
    values[after + i] = static_cast<const Element*>(group) + i % kKeyGroup * s.head_dim;
  }
  return true;
}

// The rows [begin, end) as f32, each filled up with zeros to whole vectors.
template <class V, class Read>
void widen_values(int head_dim, int begin, int end, const typename Read::Element* const* rows,
                  float* buffer, const float** values) {
  const int64_t stride = attention_stride(head_dim);
  for (int j = begin; j < end; ++j) {
    float* to = buffer + (j - begin) * stride;
    widen<V, Read>(rows[j], head_dim, to);
    for (int64_t d = head_dim; d < stride; ++d) to[d] = 0.0f;
    values[j] = to;
  }
}

// Scales of the keys (or values) of the range, as f32.
inline void gather_scales(const AttentionSegment& s, const void* const* pages,
                          const KeyRange& range, float* scales) {
  const size_t codes = static_cast<size_t>(s.page_tokens) * static_cast<size_t>(s.head_dim);
  for (int key = range.begin; key < range.end;) {
    const Slot at = slot_of(s, pages, key);
    const char* src = at.page + codes + static_cast<size_t>(at.slot) * sizeof(uint16_t);
    const int run = smaller(range.end - key, s.page_tokens - at.slot);
    for (int i = 0; i < run; ++i) {
      uint16_t half;
      memcpy(&half, src + static_cast<size_t>(i) * sizeof half, sizeof half);
      const uint32_t bits = uint32_t{half} << 16;
      memcpy(scales + key + i, &bits, sizeof bits);
    }
    key += run;
  }
  // What stands outside is multiplied into scores that nobody sees.
  for (int key = 0; key < range.begin; ++key) scales[key] = 0.0f;
  for (int key = range.end; key < kKeySegment; ++key) scales[key] = 0.0f;
}

}  // namespace
}  // namespace ruvllm::kernels
