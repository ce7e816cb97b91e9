// Work that should not be felt by what else the process does: loading an adapter while requests
// are computed.
#pragma once

#include "base/function_ref.h"

namespace ruvllm {

// Runs the work on a thread of its own that yields to others (on Linux: 5 nicer than the caller),
// and returns when it is done. In the caller's thread where no other can be had.
void run_yielding(FunctionRef<void()> work);

// For such work, between its parts of a few milliseconds: sleeps twice the processor time that the
// thread used since the last call, so that a step beside it never loses more than a third of one
// core, whatever the system's scheduler thinks. What it waited, for the processor or a disk, took
// nothing from anyone and is not slept for again. Nothing in any other thread.
void yield_between();

}  // namespace ruvllm
