// The quantizers against the errors that the reference implementations reach on the same layers
// (golden_quant/isq): ||W X - Q X||^2 / ||W X||^2 in f64, scales not rounded to f16.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "base/json.h"
#include "base/mmap_file.h"
#include "base/str.h"
#include "base/test_util.h"
#include "formats/safetensors.h"
#include "quantize/awq.h"
#include "quantize/gptq.h"
#include "quantize/smoothquant.h"
#include "quantize/vector_math.h"

namespace ruvllm {
namespace {

struct Layer {
  std::map<std::string, std::vector<float>> values;
  std::map<std::string, ConstMatrixF32> matrices;
  Json errors;

  static Layer load(const std::string& folder) {
    Layer layer;
    const auto file = MmapFile::open(folder + "/layer.safetensors");
    const auto tensors = parse_safetensors(file->bytes(), folder);
    for (const FileTensor& t : *tensors) {
      std::vector<float>& v = layer.values[t.name];
      v.resize(static_cast<size_t>(t.view.num_elements()));
      std::memcpy(v.data(), t.view.data, v.size() * 4);
      layer.matrices[t.name] = {v.data(), t.view.dim(0), t.view.dim(1), t.view.dim(1)};
    }
    layer.errors = *Json::parse(*read_text_file(folder + "/errors.json", 1 << 22));
    return layer;
  }
};

// Inputs of some linears as their products see them: X, or what has the same X^T X in fewer rows.
struct Inputs {
  std::vector<float> values;
  ConstMatrixF32 x;
  bool triangular = false;  // nothing below the diagonal
};

// R with R^T R = X^T X (Cholesky in f64): ||E X|| = ||E R|| for every E, and R is half empty.
Inputs shorten(ConstMatrixF32 x, const std::vector<double>& hessian) {
  const int64_t n = x.cols;
  std::vector<double> r = hessian;
  const auto at = [&](int64_t i, int64_t j) -> double& {
    return r[static_cast<size_t>(i * n + j)];
  };
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < i; ++k) {
      for (int64_t j = i; j < n; ++j) at(i, j) -= at(k, i) * at(k, j);
    }
    // Inputs that others determine, or that are always 0: X itself then.
    if (!(at(i, i) > 1e-9 * hessian[static_cast<size_t>(i * n + i)])) return {{}, x, false};
    const double root = std::sqrt(at(i, i));
    for (int64_t j = 0; j < n; ++j) at(i, j) = j < i ? 0.0 : at(i, j) / root;
  }
  Inputs out{std::vector<float>(r.begin(), r.end()), {}, true};
  out.x = {out.values.data(), n, n, n};
  return out;
}

// ||W X - Q X||^2. Each product in f32 (its error is 1e-6 of the whole), their squares in f64.
double squared(ConstMatrixF32 w, const Inputs& inputs, const QuantizedMatrix* q, ThreadPool& pool) {
  const ConstMatrixF32 x = inputs.x;
  std::vector<double> sums(static_cast<size_t>(w.rows));
  pool.parallel_for(w.rows, [&](int64_t n, int) {
    std::vector<float> e(static_cast<size_t>(w.cols));
    if (q != nullptr) dequantize_row(*q, n, e.data());
    for (size_t k = 0; k < e.size(); ++k) e[k] = w.row(n)[k] - e[k];
    for (int64_t t = 0; t < x.rows; ++t) {
      const int64_t first = inputs.triangular ? t : 0;
      const double y = dot_lanes(e.data() + first, x.row(t) + first, w.cols - first);
      sums[static_cast<size_t>(n)] += y * y;
    }
  });
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return total;
}

class GoldenLayer : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto shared = test::shared_dir();
    if (!shared || !file_exists(*shared + "/golden_quant/README.md")) {
      GTEST_SKIP() << "no reference data";
    }
    layer_ = Layer::load(concat(*shared, "/golden_quant/isq/", GetParam()));
    for (const JsonMember& linear : *layer_.errors.find("linears")->as_object()) {
      const std::string& input = *linear.value.find("input")->as_string();
      if (!stats_.contains(input)) {
        const ConstMatrixF32 x = layer_.matrices["X." + input];
        InputStats stats(x.cols, true, 4096);
        stats.add(x, pool_);
        inputs_.emplace(input, shorten(x, stats.hessian()));
        stats_.emplace(input, std::move(stats));
      }
      readers_[input].push_back(linear.key);
    }
  }

  // Calls check(linear, w, input, "4b_g32", grid, numbers) for every entry.
  template <typename Check>
  void for_each(Check check) {
    for (const JsonMember& linear : *layer_.errors.find("linears")->as_object()) {
      for (const JsonMember& entry : *linear.value.find("bits")->as_object()) {
        Grid grid;
        grid.bits = entry.key[0] - '0';
        grid.f16_scales = false;
        int64_t group = 0;
        ASSERT_TRUE(parse_number(std::string_view(entry.key).substr(4), group));
        grid.group_size = group;
        // The larger layer has groups of 128 too; those of 64, between, are checked on the smaller.
        if (group == 64 && linear.value.find("bits")->find("4b_g128") != nullptr) continue;
        SCOPED_TRACE(concat(linear.key, " ", entry.key));
        check(linear.key, layer_.matrices["W." + linear.key],
              *linear.value.find("input")->as_string(), grid, entry.value);
      }
    }
  }

  static double number(const Json& entry, const char* method) {
    const Json* value = entry.find(method);
    const Json* calib = value != nullptr ? value->find("calib") : nullptr;
    return calib != nullptr ? *calib->as_double() : -1.0;
  }

  // ||W X - Q X||^2 / ||W X||^2
  double relative_error(ConstMatrixF32 w, const QuantizedMatrix& q, const Inputs& x) {
    double& whole = whole_[w.data];
    if (whole == 0.0) whole = squared(w, x, nullptr, pool_);
    return squared(w, x, &q, pool_) / whole;
  }

  ThreadPool pool_{2};
  std::map<const float*, double> whole_;
  Layer layer_;
  std::map<std::string, InputStats> stats_;
  std::map<std::string, Inputs> inputs_;
  std::map<std::string, std::vector<std::string>> readers_;  // input -> linears that read it
};

TEST_P(GoldenLayer, RoundingIsTheReferences) {
  for_each([&](const std::string&, ConstMatrixF32 w, const std::string& input, Grid grid,
               const Json& want) {
    const Inputs& x = inputs_.at(input);
    EXPECT_NEAR(relative_error(w, quantize_rtn(w, grid), x), number(want, "rtn_asym"),
                0.002 * number(want, "rtn_asym"));
    grid.symmetric = true;
    EXPECT_NEAR(relative_error(w, quantize_rtn(w, grid), x), number(want, "rtn_sym"),
                0.002 * number(want, "rtn_sym"));
  });
}

TEST_P(GoldenLayer, GptqReachesTheReference) {
  struct Variant {
    const char* name;
    bool act_order, static_groups;
  };
  constexpr Variant kVariants[] = {{"gptq", false, false},
                                   {"gptq_actorder", true, false},
                                   {"gptq_static", false, true},
                                   {"gptq_static_actorder", true, true}};
  std::map<std::string, GptqPlan> plans;  // of an input and an order: no matter which grid
  for_each([&](const std::string&, ConstMatrixF32 w, const std::string& input, Grid grid,
               const Json& want) {
    const Inputs& x = inputs_.at(input);
    const double rtn = relative_error(w, quantize_rtn(w, grid), x);
    for (const Variant& variant : kVariants) {
      const double limit = number(want, variant.name);
      if (limit < 0.0) continue;
      GptqOptions options;
      options.grid = grid;
      options.act_order = variant.act_order;
      options.static_groups = variant.static_groups;
      const auto key = concat(input, variant.act_order);
      if (!plans.contains(key)) {
        auto plan = plan_gptq(stats_.at(input).hessian(), w.cols, options, pool_);
        ASSERT_TRUE(plan) << plan.error().message;
        plans[key] = std::move(*plan);
      }
      const QuantizedMatrix q = quantize_gptq(w, plans[key], options, pool_);
      ASSERT_TRUE(is_valid(q));
      const double error = relative_error(w, q, x);
      EXPECT_LE(error, 1.02 * limit) << variant.name;
      EXPECT_LE(error, rtn) << variant.name;
    }
  });
}

TEST_P(GoldenLayer, AwqReachesTheReference) {
  std::map<std::string, AwqScale> scales;  // shared by the linears of an input
  for_each([&](const std::string& linear, ConstMatrixF32 w, const std::string& input, Grid grid,
               const Json& want) {
    if (number(want, "awq_scale") < 0.0) return;
    std::vector<ConstMatrixF32> weights;
    for (const std::string& reader : readers_.at(input)) {
      weights.push_back(layer_.matrices["W." + reader]);
    }
    const InputStats& stats = stats_.at(input);
    const Inputs& x = inputs_.at(input);
    const auto key = concat(input, " ", grid.bits, " ", grid.group_size);
    if (!scales.contains(key)) scales[key] = search_awq_scale(weights, stats, grid, pool_);
    const AwqScale& scale = scales[key];
    const double plain = relative_error(w, quantize_awq(w, scale, stats, grid, false, pool_), x);
    EXPECT_LE(plain, 1.02 * number(want, "awq_scale")) << scale.ratio;
    const bool clip =
        linear.find("q_proj") == std::string::npos && linear.find("k_proj") == std::string::npos;
    const double clipped = relative_error(w, quantize_awq(w, scale, stats, grid, clip, pool_), x);
    EXPECT_LE(clipped, 1.02 * number(want, "awq_scale_clip")) << scale.ratio;
  });
}

TEST_P(GoldenLayer, SmoothQuantReachesTheReference) {
  for (const auto& [input, linears] : readers_) {
    std::vector<ConstMatrixF32> weights;
    for (const std::string& linear : linears) weights.push_back(layer_.matrices["W." + linear]);
    const ConstMatrixF32 x = layer_.matrices["X." + input];
    const SmoothScale chosen = search_smooth_scale(weights, stats_.at(input), pool_);
    double ours = 0.0, none = 0.0, best = INFINITY;
    // The sums that the choice is about: over the linears that share the input.
    for (const std::string key :
         {"none", "alpha0.5", "alpha0.6", "alpha0.7", "alpha0.8", "alpha0.9"}) {
      double sum = 0.0;
      for (size_t i = 0; i < linears.size(); ++i) {
        const Json* linear = layer_.errors.find("linears")->find(linears[i]);
        sum += *linear->find("w8a8")->find(key)->as_double() *
               squared(weights[i], inputs_.at(input), nullptr, pool_);
      }
      best = std::min(best, sum);
      if (key == "none") none = sum;
    }
    for (const ConstMatrixF32& w : weights) {
      ours += w8a8_error(w, quantize_smooth(w, chosen, pool_), x, pool_);
    }
    EXPECT_LE(ours, 1.02 * best) << input << " alpha " << chosen.alpha;
    EXPECT_LE(ours, none);
  }
}

INSTANTIATE_TEST_SUITE_P(Layers, GoldenLayer,
                         testing::Values("stories260K_layer2", "synthetic256_layer1"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace ruvllm
