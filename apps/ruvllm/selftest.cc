// ruvllm selftest: checks this build on this machine and prints a receipt.
#include <utility>

#include "base/str.h"
#include "engine/selftest.h"
#include "io.h"
#include "model_flags.h"
#include "ruvllm/version.h"
#include "verbs.h"

namespace ruvllm::cli {
namespace {

std::string compiler() {
#if defined(__clang__)
  return concat("clang ", __clang_major__, ".", __clang_minor__);
#else
  return concat("g++ ", __GNUC__, ".", __GNUC_MINOR__);
#endif
}

std::string receipt(const SelftestReport& report) {
  std::string text = concat("ruvllm ", kVersion, ", ", compiler(), ", device ", report.device,
                            ", kernels ", report.kernels, "\n");
  size_t passed = 0;
  for (const SelftestCheck& check : report.checks) {
    std::string name = check.name;
    name.resize(22, ' ');
    text += concat(check.passed ? "  ok      " : "  FAILED  ", name, check.detail, "\n");
    passed += check.passed ? 1 : 0;
  }
  return text + concat("  ", passed, " of ", report.checks.size(), " checks passed, logits hash ",
                       report.logits_hash, "\n");
}

Json receipt_json(const SelftestReport& report) {
  Json::Array checks;
  for (const SelftestCheck& check : report.checks) {
    checks.push_back(object({{"name", Json(check.name)},
                             {"passed", Json(check.passed)},
                             {"detail", Json(check.detail)},
                             {"seconds", Json(check.seconds)}}));
  }
  return object({{"version", text_json(kVersion)},
                 {"compiler", Json(compiler())},
                 {"device", Json(report.device)},
                 {"kernels", Json(report.kernels)},
                 {"logits_hash", Json(report.logits_hash)},
                 {"passed", Json(report.passed())},
                 {"checks", Json(std::move(checks))}});
}

}  // namespace

int verb_selftest(Args args) {
  DeviceKind device = DeviceKind::kAuto;
  int32_t threads = 0;
  bool json = false;
  FlagSet flags("selftest", "replays built-in goldens on this machine and prints a receipt");
  add_device_flag(flags, device);
  flags.add("--threads", "N", threads, "CPU threads; 0: the physical cores", 0, 4096);
  flags.add("--json", json, "one JSON object");
  flags.add_example("ruvllm selftest");
  if (const auto status = flags.parse(args)) return *status;
  const auto report = run_selftest(device, threads);
  if (!report) return fail_with("selftest", report.error());
  write_out(json ? receipt_json(*report).dump() + "\n" : receipt(*report));
  return report->passed() ? kExitOk : kExitFailure;
}

}  // namespace ruvllm::cli
