// The verbs of the command line: one function each, in the file of its name. Each parses its flags,
// does its work and returns the exit status (0; 1: failure; 2: usage; 130: Ctrl-C).
#pragma once

#include "flags.h"

namespace ruvllm::cli {

int verb_run(Args args);
int verb_generate(Args args);
int verb_logits(Args args);
int verb_tokenize(Args args);
int verb_detokenize(Args args);
int verb_render(Args args);
int verb_eval(Args args);
int verb_quantize(Args args);
int verb_bench(Args args);
int verb_info(Args args);
int verb_selftest(Args args);
int verb_serve(Args args);  // of builds with RUVLLM_SERVING

}  // namespace ruvllm::cli
