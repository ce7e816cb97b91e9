// placeholder to be replaced
#include "verbs.h"
namespace ruvllm::cli {
int verb_selftest(Args) {
  return 0;
}
}  // namespace ruvllm::cli
