// Norm, activation function, softmax, rotation, conversion of rows: the specification.
#include <assert.h>
#include <math.h>

#include "exp.h"
#include "lanes.h"
#include "variants.h"

float nb_exp(float x) { return nb_exp_inline(x); }

void nb_rms_norm_scalar(float *y, const float *x, const float *w, size_t n, float eps) {
  float lanes[NB_LANES] = {0};
  for (size_t i = 0; i < n; i++) lanes[i % NB_LANES] += x[i] * x[i];
  const float scale = 1.0f / sqrtf(nb_fold_lanes(lanes) / (float)n + eps);
  for (size_t i = 0; i < n; i++) y[i] = x[i] * scale * w[i];
}

void nb_add_scalar(float *y, const float *x, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] += x[i];
}

void nb_swiglu_scalar(float *gate, const float *up, size_t n) {
  for (size_t i = 0; i < n; i++) gate[i] = gate[i] / (1.0f + nb_exp_inline(-gate[i])) * up[i];
}

void nb_softmax_scalar(float *x, size_t n) {
  float max = x[0];
  for (size_t i = 1; i < n; i++) max = max < x[i] ? x[i] : max;
  float lanes[NB_LANES] = {0};
  for (size_t i = 0; i < n; i++) {
    x[i] = nb_exp_inline(x[i] - max);
    lanes[i % NB_LANES] += x[i];
  }
  const float inverse = 1.0f / nb_fold_lanes(lanes);
  for (size_t i = 0; i < n; i++) x[i] *= inverse;
}

void nb_rope_scalar(float *x, size_t n_heads, size_t head_dim, size_t n_rot, nb_rope_order order, const float *cos_sin) {
  assert(n_rot % 2 == 0 && n_rot <= head_dim);
  const size_t pairs = n_rot / 2, step = order == NB_ROPE_NORM ? 2 : 1, apart = order == NB_ROPE_NORM ? 1 : pairs;
  for (size_t h = 0; h < n_heads; h++, x += head_dim) {
    for (size_t i = 0; i < pairs; i++) {
      float *a = x + i * step, *b = a + apart;
      const float c = cos_sin[2 * i], s = cos_sin[2 * i + 1], a0 = *a, b0 = *b;
      *a = a0 * c - b0 * s;
      *b = a0 * s + b0 * c;
    }
  }
}

void nb_f32_to_f16_row_scalar(uint16_t *y, const float *x, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = nb_f32_to_f16(x[i]);
}
