// How attention is cut into units, and the results of chunks, shared by the variants.
//
// A row is one query of one head: row t * n_heads + h. Its result for a chunk of positions is a part:
//
//     sums of values, weighted by nb_exp_weight(score - max) [width]  |  max  |  sum of the weights  |  2 unused
//
// width is head_dim up to the next multiple of 4, so that vectors need no remainder; the numbers beyond head_dim are 0.
//
// A unit is a KV head, a tile of neighbouring queries with all heads of its group, and chunks: one, whose parts go to c->partials,
// where the call is split by position; else all of them, one after another, and the unit writes the result. Calls of a few queries
// are split, since they would otherwise have as few units as KV heads.
#ifndef NB_KERNELS_ATTENTION_H
#define NB_KERNELS_ATTENTION_H

#include <stdbool.h>

#include "exp.h"
#include "kernels.h"

#define NB_ATTENTION_ROWS 64      // of a tile: what keys and values that are widened once are used for
#define NB_ATTENTION_POSITIONS 32 // whose keys or values are widened together
#define NB_ATTENTION_SPLIT 4      // most queries of a call that is split by position

static inline size_t nb_attention_width(size_t head_dim) { return (head_dim + 3) / 4 * 4; }
static inline size_t nb_attention_part_size(size_t head_dim) { return nb_attention_width(head_dim) + 4; }
static inline size_t nb_attention_chunks(size_t n) { return (n + NB_ATTENTION_CHUNK - 1) / NB_ATTENTION_CHUNK; }

typedef struct nb_attention_span {
  size_t kv;              // KV head
  size_t t0, t1;          // queries
  size_t chunk0, chunk1;  // a row has no more than nb_attention_chunks of its length
  bool split;             // parts go to c->partials
} nb_attention_span;

nb_attention_span nb_attention_span_of(const nb_attention_call *c, size_t unit);

static inline float *nb_attention_partial(const nb_attention_call *c, size_t row, size_t chunk) {
  const size_t chunks = nb_attention_chunks(c->n + c->n_queries - 1);
  return c->partials + (row * chunks + chunk) * nb_attention_part_size(c->head_dim);
}

// Adds the part of the following positions to `into`.
static inline void nb_attention_combine(float *into, const float *part, size_t width) {
  const float m0 = into[width], m1 = part[width], max = m0 < m1 ? m1 : m0;
  const float a = nb_exp_weight(m0 - max), b = nb_exp_weight(m1 - max);
  for (size_t i = 0; i < width; i++) into[i] = into[i] * a + part[i] * b;
  into[width] = max;
  into[width + 1] = into[width + 1] * a + part[width + 1] * b;
}

static inline void nb_attention_finish(float *out, const float *part, size_t head_dim) {
  const float inverse = 1.0f / part[nb_attention_width(head_dim) + 1];
  for (size_t i = 0; i < head_dim; i++) out[i] = part[i] * inverse;
}

#endif
