// Reads lines from a person: with editing and history where the build has a line editor and the
// input is a terminal, plainly otherwise. UTF-8 in and out.
#pragma once

#include <memory>
#include <string>

namespace ruvllm::cli {

class LineReader {
 public:
  enum class Outcome { kLine, kInterrupted, kEnd };

  LineReader();
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // kInterrupted: Ctrl-C while typing; the line is dropped.
  Outcome read(const std::string& prompt, std::string& line);

 private:
  struct Editor;
  std::unique_ptr<Editor> editor_;  // null: plain reading
};

}  // namespace ruvllm::cli
