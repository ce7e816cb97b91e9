// Tests only: makes reading files fail. While a hook is set, it is asked about every file that
// MmapFile, read_text_file and read_file open, and what it answers happens, as if the disk had done
// it. One for the process; any thread; null: none.
#pragma once

#include <cstdint>
#include <string>

namespace ruvllm {

enum class FileFault : uint8_t { kNone, kOpen, kRead };
using FileFaultHook = FileFault (*)(const std::string& path);
void set_file_fault_hook(FileFaultHook hook);

}  // namespace ruvllm
