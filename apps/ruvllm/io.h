// What the verbs share about the terminal and files: output, error lines, reading, signals.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "ruvllm/result.h"

namespace ruvllm::cli {

// Text to stdout, at once. When the reader has gone away the program ends quietly.
void write_out(std::string_view text);
// "ruvllm VERB: message" as one line on stderr.
void print_error(std::string_view verb, std::string_view message);
// The same with an Error; gives the exit status for a failure.
int fail_with(std::string_view verb, const Error& error);

// The whole of a file ("-": stdin) of at most 1 GB.
Result<std::string> read_input(const std::string& path);
// Calls `line` for each line of a file ("-": stdin) without its newline until it returns false;
// lines of at most 256 MB.
Status for_each_line(const std::string& path, const std::function<bool(std::string_view)>& line);

// JSON values.
Json ids_json(const std::vector<int32_t>& ids);
Result<std::vector<int32_t>> ids_from_json(const Json& json);
// A file of one list of ids, or of a list of lists.
Result<std::vector<std::vector<int32_t>>> read_id_lists(const std::string& path);
Json object(std::vector<std::pair<std::string, Json>> members);
inline Json text_json(std::string_view text) {
  return Json(std::string(text));
}

bool stdin_is_terminal();
bool stderr_is_terminal();
bool stdout_is_terminal();

// Ctrl-C ends the program with status 130 (the default), or only sets a flag that
// interrupted() reads and clears.
void exit_on_interrupt();
void note_interrupt();
bool interrupted();
const std::atomic<bool>& interrupt_flag();  // which note_interrupt() has Ctrl-C set

uint64_t resident_bytes();       // of this process now
uint64_t peak_resident_bytes();  // at most so far
uint64_t available_memory_bytes();
uint64_t total_memory_bytes();
// "1.10 GB"
std::string human_bytes(uint64_t bytes);
// A number with `digits` decimals.
std::string fixed(double value, int digits);

}  // namespace ruvllm::cli
