// Small parts of base: text, checked sizes, files.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>

#include "base/checked.h"
#include "base/mmap_file.h"
#include "base/new_file.h"
#include "base/str.h"
#include "base/test_util.h"

namespace ruvllm {
namespace {

TEST(Str, ConcatAndParse) {
  EXPECT_EQ(concat("a", 1, ' ', -2.5, true, std::string("z")), "a1 -2.5truez");
  int64_t n = 0;
  EXPECT_TRUE(parse_number("-17", n));
  EXPECT_EQ(n, -17);
  for (const char* text : {"", " 1", "1 ", "1x", "0x1", "99999999999999999999"}) {
    EXPECT_FALSE(parse_number(text, n)) << text;
  }
  double d = 0;
  EXPECT_TRUE(parse_number("1e-3", d));
  EXPECT_EQ(d, 1e-3);
  EXPECT_FALSE(parse_number("", d));
  EXPECT_FALSE(parse_number("1.5 ", d));
  EXPECT_EQ(printable("a\n\xff", 80), "a\\x0a\\xff");
  EXPECT_EQ(printable("abcdef", 3), "abc...");
}

TEST(Checked, OverflowIsSeen) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  uint64_t out = 0;
  EXPECT_TRUE(checked_add(kMax - 1, 1, out));
  EXPECT_FALSE(checked_add(kMax, 1, out));
  EXPECT_TRUE(checked_mul(1ull << 32, (1ull << 32) - 1, out));
  EXPECT_FALSE(checked_mul(1ull << 32, 1ull << 32, out));
  EXPECT_TRUE(range_fits(5, 5, 10));
  EXPECT_TRUE(range_fits(10, 0, 10));
  EXPECT_FALSE(range_fits(11, 0, 10));
  EXPECT_FALSE(range_fits(kMax, 2, 10));
}

TEST(MmapFile, MapsReadsAndRefuses) {
  const std::string dir = test::make_temp_dir();
  ASSERT_FALSE(dir.empty());
  const std::string path = dir + "/file";
  FILE* file = std::fopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  std::fputs("hello", file);
  std::fclose(file);

  auto mapped = MmapFile::open(path);
  ASSERT_TRUE(mapped.has_value()) << mapped.error().message;
  const MmapFile moved = *std::move(mapped);
  ASSERT_EQ(moved.bytes().size(), 5u);
  EXPECT_EQ(static_cast<char>(moved.bytes()[4]), 'o');
  moved.release(moved.bytes());
  EXPECT_EQ(static_cast<char>(moved.bytes()[0]), 'h');

  EXPECT_EQ(MmapFile::open(dir).error().code, ErrorCode::kIo);
  EXPECT_EQ(MmapFile::open(dir + "/none").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(*read_text_file(path, 5), "hello");
  EXPECT_NE(read_text_file(path, 4).error().message.find("at most 4"), std::string::npos);
  EXPECT_TRUE(file_exists(path));
  EXPECT_FALSE(file_exists(dir));
  EXPECT_TRUE(directory_exists(dir));
  std::remove(path.c_str());
  std::remove(dir.c_str());
}

std::set<std::string> names_in(const std::string& dir) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

TEST(NewFile, AppearsWholeOrNotAtAll) {
  const std::string dir = test::make_temp_dir();
  const std::string path = dir + "/file";
  ASSERT_TRUE(NewFile::try_create(path));
  EXPECT_TRUE(names_in(dir).empty());
  {
    auto dropped = NewFile::create(path);
    ASSERT_TRUE(dropped);
    ASSERT_TRUE(dropped->write("half"));
    EXPECT_EQ(names_in(dir).size(), 1u);
    EXPECT_FALSE(file_exists(path));
  }
  EXPECT_TRUE(names_in(dir).empty());
  // Two at a time: each has its own, the last to commit stays.
  auto first = NewFile::create(path), second = NewFile::create(path);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(names_in(dir).size(), 2u);
  ASSERT_TRUE(second->write("second") && first->write("first"));
  ASSERT_TRUE(second->commit());
  EXPECT_EQ(*read_text_file(path, 100), "second");
  ASSERT_TRUE(first->commit());
  EXPECT_EQ(*read_text_file(path, 100), "first");
  EXPECT_EQ(names_in(dir), std::set<std::string>{"file"});
  // A temporary file that somebody left is neither taken nor removed.
  auto next = NewFile::create(path);
  ASSERT_TRUE(next);
  std::string name = *names_in(dir).rbegin();  // file.PROCESS.NUMBER.tmp
  ASSERT_TRUE(next->commit());
  const size_t begin = name.find('.', 5) + 1;
  const size_t end = name.rfind('.');
  name.replace(begin, end - begin, concat(std::stoi(name.substr(begin, end - begin)) + 1));
  std::ofstream(dir + "/" + name) << "left";
  auto after = NewFile::create(path);
  ASSERT_TRUE(after);
  EXPECT_EQ(names_in(dir).size(), 3u);
  ASSERT_TRUE(after->write("third") && after->commit());
  EXPECT_EQ(*read_text_file(path, 100), "third");
  EXPECT_EQ(*read_text_file(dir + "/" + name, 100), "left");
  // No folder to be in, and a file where a folder should be.
  const Status nowhere = NewFile::try_create(dir + "/none/file");
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, ErrorCode::kIo);
  EXPECT_NE(nowhere.error().message.find("none/file: cannot create"), std::string::npos);
  EXPECT_FALSE(make_folder(path));
  EXPECT_FALSE(make_folder(dir + "/none/folder"));
  EXPECT_TRUE(make_folder(dir + "/folder"));
  EXPECT_TRUE(make_folder(dir + "/folder"));
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace ruvllm
