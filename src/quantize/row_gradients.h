// The parts of a decoder that see one row at a time, and what their gradients are: norms, rotary
// positions, gated activations, exponentials. With L the loss, dy stands for dL/dy. Pure; any
// thread; the same bits on every instruction set (quantize/quad.h), but for kGeluErf, whose erf is
// the C library's.
#pragma once

#include <cstdint>

#include "spec/model_config.h"

namespace ruvllm {

// y[i] = x[i] r weight[i], r = 1 / sqrt(mean of x x + eps) (Zhang and Sennrich 2019). y may be x.
void rms_norm_row(const float* x, const float* weight, int64_t count, float eps, float* y);
// dx[i] (+)= r (weight[i] dy[i] - x[i] r r mean of (x weight dy)). dx may be dy if not added to.
void rms_norm_gradient_row(const float* x, const float* weight, int64_t count, float eps,
                           const float* dy, bool add, float* dx);

// Rotates each head of x in place: cos, sin [rotary_dim / 2]. `back`: by the transposed matrix,
// which takes dy to dx.
void rotate_row(const RopeConfig& rope, int64_t num_heads, int64_t head_dim, const float* cos,
                const float* sin, bool back, float* x);

// hidden[i] = act(gate_up[i]) gate_up[count + i], i < count.
void gate_row(Activation activation, const float* gate_up, int64_t count, float* hidden);
// hidden once more, and from dL/dhidden to dL/dgate_up.
void gate_gradient_row(Activation activation, const float* gate_up, int64_t count,
                       const float* d_hidden, float* hidden, float* d_gate_up);

// v[i] = e^(v[i] - greatest), `greatest` the greatest of v; returns their sum, at least 1.
double exponentials_of(float* v, int64_t count, float& greatest);

// Of p = softmax(scale x): from d = dL/dp to dL/dx = scale p (d - sum of d p), in place.
void softmax_gradient_row(const float* p, int64_t count, float scale, float* d);

// KL(p || q) of the softmaxes of two rows of logits; q becomes (q - p) scale. p is scratch after.
double divergence_row(float* p, float* q, int64_t count, float scale);

}  // namespace ruvllm
