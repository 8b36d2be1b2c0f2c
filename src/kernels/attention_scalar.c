// Attention over half-precision keys and values: the specification.
#include "attention.h"

#include <string.h>

#include "lanes.h"
#include "variants.h"

// The part of a row for count positions, from k and v on.
static void attend(float *part, const float *q, const uint16_t *k, const uint16_t *v, size_t kv_stride, size_t head_dim, size_t count, float scale) {
  float scores[NB_ATTENTION_CHUNK], max = 0, sums[NB_LANES] = {0};
  for (size_t p = 0; p < count; p++) {
    float s[4] = {0};
    for (size_t i = 0; i < head_dim; i++) s[i % 4] += q[i] * scale * nb_f16_to_f32(k[p * kv_stride + i]);
    scores[p] = (s[0] + s[2]) + (s[1] + s[3]);
    max = p == 0 || max < scores[p] ? scores[p] : max;
  }
  const size_t width = nb_attention_width(head_dim);
  memset(part, 0, width * sizeof *part);
  for (size_t p = 0; p < count; p++) {
    const float weight = nb_exp_weight(scores[p] - max);
    sums[p % NB_LANES] += weight;
    for (size_t i = 0; i < head_dim; i++) part[i] += weight * nb_f16_to_f32(v[p * kv_stride + i]);
  }
  part[width] = max;
  part[width + 1] = nb_fold_lanes(sums);
}

void nb_attention_unit_scalar(const nb_attention_call *c, size_t unit, float *scratch) {
  const nb_attention_span s = nb_attention_span_of(c, unit);
  const size_t group = c->n_heads / c->n_kv_heads, width = nb_attention_width(c->head_dim);
  float *sum = scratch, *next = scratch + nb_attention_part_size(c->head_dim);
  for (size_t t = s.t0; t < s.t1; t++) {
    const size_t length = c->n + t, chunks = nb_attention_chunks(length);
    for (size_t row = t * c->n_heads + s.kv * group; row < t * c->n_heads + (s.kv + 1) * group; row++) {
      for (size_t chunk = s.chunk0; chunk < s.chunk1 && chunk < chunks; chunk++) {
        const size_t p = chunk * NB_ATTENTION_CHUNK, left = length - p, at = (c->first + p) * c->kv_stride + s.kv * c->head_dim;
        float *part = s.split ? nb_attention_partial(c, row, chunk) : chunk == 0 ? sum : next;
        attend(part, c->q + row * c->head_dim, c->k + at, c->v + at, c->kv_stride, c->head_dim, left < NB_ATTENTION_CHUNK ? left : NB_ATTENTION_CHUNK,
               c->scale);
        if (part == next) nb_attention_combine(sum, next, width);
      }
      if (!s.split) nb_attention_finish(c->out + row * c->head_dim, sum, c->head_dim);
    }
  }
}
