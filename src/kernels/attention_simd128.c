// Attention, strict SIMD. The rows of a unit, each a query of one head, share their KV head's keys and values: a tile of
// NB_ATTENTION_POSITIONS is widened to floats, then used by all rows, up to 4 of them at a time:
//
//     scores   4 rows x 2 positions or 2 x 4    a lane holds every 4th product: 4 partial sums, folded for 4 scores at once
//     values   4 rows x 8 columns or 2 x 16     a lane holds a column: positions follow one another
//
// which is what V8 keeps in 16 registers.
//
//     scratch:  scores [rows, CHUNK]  |  queries times scale [rows, width]  |  sums, next part [rows, part] each  |  tile [POSITIONS, width]
//
// Vectors need no remainder: columns beyond head_dim are 0 in queries, keys and values, and add nothing; scores beyond a row's length
// are -infinity, whose weight is 0.
#include "attention.h"

#include <math.h>
#include <string.h>

#include "exp_simd.h"
#include "variants.h"

#ifdef NB_SIMD128

enum { CHUNK = NB_ATTENTION_CHUNK, TILE = NB_ATTENTION_POSITIONS };

NB_INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }

// Rows of the cache to floats [count up to a multiple of 4, width]. Infinities and NaN are the halves whose magnitude is 0x7c00 or more;
// the tiles that have one are widened again, with the code for them.
static __attribute__((noinline)) void widen(float *tile, const uint16_t *rows, size_t kv_stride, size_t count, size_t head_dim) {
  const size_t width = nb_attention_width(head_dim);
  static const uint32_t bits = 0x8fffffff, two_to_112 = 0x77800000;
  const v128_t mask = nb_splat_from(&bits), factor = nb_splat_from(&two_to_112);
  const v128_t zero = wasm_i32x4_splat(0);
  v128_t top = zero;
  float *to = tile;
  for (size_t p = 0; p < count; p++, rows += kv_stride, to += width) {
    size_t i = 0;
    for (; i + 8 <= head_dim; i += 8) {
      const v128_t h = wasm_v128_load(rows + i);
      top = wasm_u16x8_max(top, wasm_i16x8_shl(h, 1));
      const v128_t low = wasm_i16x8_shuffle(zero, h, 0, 8, 1, 9, 2, 10, 3, 11), high = wasm_i16x8_shuffle(zero, h, 4, 12, 5, 13, 6, 14, 7, 15);
      wasm_v128_store(to + i, wasm_f32x4_mul(wasm_v128_and(wasm_i32x4_shr(low, 3), mask), factor));
      wasm_v128_store(to + i + 4, wasm_f32x4_mul(wasm_v128_and(wasm_i32x4_shr(high, 3), mask), factor));
    }
    for (; i < head_dim; i++) to[i] = nb_f16_to_f32(rows[i]);
    for (; i < width; i++) to[i] = 0;
  }
  if (wasm_v128_any_true(wasm_u16x8_ge(top, wasm_i16x8_splat((int16_t)0xf800)))) {
    rows -= count * kv_stride;
    for (size_t p = 0; p < count; p++) {
      for (size_t i = 0; i < head_dim; i++) tile[p * width + i] = nb_f16_to_f32(rows[p * kv_stride + i]);
    }
  }
  memset(to, 0, (4 - count % 4) % 4 * width * sizeof *to);
}

// scores[r * CHUNK + p] = row r of q . key p, for n_rows rows and count positions and up to 3 more.
NB_INLINE void score(float *scores, const float *q, const float *keys, size_t n_rows, size_t count, size_t width) {
  const size_t n = n_rows <= 2 ? 4 : 2;  // positions
  for (size_t p = 0; p < count; p += n, keys += n * width) {
    v128_t s[4 * 4];
    for (size_t a = 0; a < n_rows * n; a++) s[a] = wasm_f32x4_splat(0);
    for (size_t i = 0; i < width; i += 4) {
      v128_t k[4];
      for (size_t j = 0; j < n; j++) k[j] = wasm_v128_load(keys + i + j * width);
      for (size_t r = 0; r < n_rows; r++) {
        const v128_t x = wasm_v128_load(q + i + r * width);
        for (size_t j = 0; j < n; j++) s[r * n + j] = wasm_f32x4_add(s[r * n + j], wasm_f32x4_mul(x, k[j]));
      }
    }
    for (size_t r = 0; r < n_rows; r += 4 / n) {
      const size_t next = r + 1 < n_rows ? r + 1 : r;
      const v128_t sums = nb_sum4_f32(s[r * n], s[r * n + 1], s[n == 4 ? r * n + 2 : next * n], s[n == 4 ? r * n + 3 : next * n + 1]);
      if (n == 4) wasm_v128_store(scores + r * CHUNK + p, sums);
      if (n == 2) wasm_v128_store64_lane(scores + r * CHUNK + p, sums, 0);
      if (n == 2 && next > r) wasm_v128_store64_lane(scores + next * CHUNK + p, sums, 1);
    }
  }
}

// parts[r * part + i] += sum over p of weights[r * CHUNK + p] * values[p, i] for 4 * n columns from i on.
NB_INLINE void add_columns(float *parts, const float *weights, const float *values, size_t n_rows, size_t n, size_t count, size_t width, size_t part) {
  v128_t s[4 * 4];
  for (size_t r = 0; r < n_rows; r++) {
    for (size_t j = 0; j < n; j++) s[r * n + j] = wasm_v128_load(parts + r * part + 4 * j);
  }
  for (size_t p = 0; p < count; p++, weights++, values += width) {
    v128_t v[4];
    for (size_t j = 0; j < n; j++) v[j] = wasm_v128_load(values + 4 * j);
    for (size_t r = 0; r < n_rows; r++) {
      const v128_t w = wasm_v128_load32_splat(weights + r * CHUNK);
      for (size_t j = 0; j < n; j++) s[r * n + j] = wasm_f32x4_add(s[r * n + j], wasm_f32x4_mul(w, v[j]));
    }
  }
  for (size_t r = 0; r < n_rows; r++) {
    for (size_t j = 0; j < n; j++) wasm_v128_store(parts + r * part + 4 * j, s[r * n + j]);
  }
}

NB_INLINE void add_values(float *parts, const float *weights, const float *values, size_t n_rows, size_t count, size_t width, size_t part) {
  const size_t n = n_rows <= 2 ? 4 : 2;
  size_t i = 0;
  for (; i + 4 * n <= width; i += 4 * n) add_columns(parts + i, weights, values + i, n_rows, n, count, width, part);
  for (; i < width; i += 4) add_columns(parts + i, weights, values + i, n_rows, 1, count, width, part);
}

// With its common values known, width costs no registers and no additions to addresses.
#define NB_ROWS(N)                                                                                                                            \
  static __attribute__((noinline)) void score##N(float *s, const float *q, const float *k, size_t count, size_t width) {                      \
    if (width == 64) score(s, q, k, N, count, 64);                                                                                            \
    else if (width == 128) score(s, q, k, N, count, 128);                                                                                     \
    else score(s, q, k, N, count, width);                                                                                                     \
  }                                                                                                                                           \
  static __attribute__((noinline)) void add_values##N(float *s, const float *w, const float *v, size_t count, size_t width, size_t part) {    \
    if (width == 64) add_values(s, w, v, N, count, 64, part);                                                                                 \
    else if (width == 128) add_values(s, w, v, N, count, 128, part);                                                                          \
    else add_values(s, w, v, N, count, width, part);                                                                                          \
  }
NB_ROWS(1)
NB_ROWS(2)
NB_ROWS(3)
NB_ROWS(4)

typedef void score_fn(float *scores, const float *q, const float *keys, size_t count, size_t width);
typedef void add_values_fn(float *parts, const float *weights, const float *values, size_t count, size_t width, size_t part);
static score_fn *const SCORE[] = {0, score1, score2, score3, score4};
static add_values_fn *const ADD_VALUES[] = {0, add_values1, add_values2, add_values3, add_values4};

// How many rows of those left are taken together: none alone where there are others.
NB_INLINE size_t rows_of(size_t left) { return left == 5 ? 3 : least(left, 4); }

// Scores to weights, in place; returns their sum and sets the greatest score. The row has room for n up to the next multiple of 16.
static __attribute__((noinline)) float weigh(float *scores, size_t n, float *max) {
  const size_t whole = (n + 15) / 16 * 16;
  for (size_t i = n; i < whole; i++) scores[i] = -INFINITY;
  v128_t tops[4];
  for (size_t j = 0; j < 4; j++) tops[j] = wasm_v128_load(scores + 4 * j);
  for (size_t i = 16; i < whole; i += 16) {
    for (size_t j = 0; j < 4; j++) tops[j] = wasm_f32x4_pmax(tops[j], wasm_v128_load(scores + i + 4 * j));
  }
  v128_t top = wasm_f32x4_pmax(wasm_f32x4_pmax(tops[0], tops[1]), wasm_f32x4_pmax(tops[2], tops[3]));
  top = wasm_f32x4_pmax(top, wasm_i64x2_shuffle(top, top, 1, 0));
  top = wasm_f32x4_pmax(top, wasm_i32x4_shuffle(top, top, 1, 0, 3, 2));
  *max = wasm_f32x4_extract_lane(top, 0);
  top = wasm_f32x4_splat(*max);
  const v128_t zero = wasm_f32x4_splat(0);
  v128_t s[4] = {zero, zero, zero, zero};
  for (size_t i = 0; i < whole; i += 16) {
    v128_t e[4];
    for (size_t j = 0; j < 4; j++) e[j] = wasm_f32x4_sub(wasm_v128_load(scores + i + 4 * j), top);
    nb_exp_weights(e);
    for (size_t j = 0; j < 4; j++) {
      wasm_v128_store(scores + i + 4 * j, e[j]);
      s[j] = wasm_f32x4_add(s[j], e[j]);
    }
  }
  return nb_fold_f32x4(s[0], s[1], s[2], s[3]);
}

// The rows of a unit, in order of query, then head.
typedef struct rows {
  size_t n, group, first_length;  // the first query's
} rows;

NB_INLINE size_t length_of(const rows *a, size_t row) { return a->first_length + row / a->group; }

void nb_attention_unit_simd128(const nb_attention_call *c, size_t unit, float *scratch) {
  const nb_attention_span s = nb_attention_span_of(c, unit);
  const size_t group = c->n_heads / c->n_kv_heads, head_dim = c->head_dim, width = nb_attention_width(head_dim), part = nb_attention_part_size(head_dim);
  const rows all = {(s.t1 - s.t0) * group, group, c->n + s.t0};
  float *scores = scratch, *q = scores + all.n * CHUNK, *sums = q + all.n * width, *next = sums + all.n * part, *tile = next + all.n * part;
  const float scale = c->scale;
  for (size_t r = 0; r < all.n; r++) {
    const float *from = c->q + ((s.t0 + r / group) * c->n_heads + s.kv * group + r % group) * head_dim;
    float *to = q + r * width;
    for (size_t i = 0; i < head_dim; i++) to[i] = from[i] * scale;
    for (size_t i = head_dim; i < width; i++) to[i] = 0;
  }
  for (size_t chunk = s.chunk0; chunk < s.chunk1; chunk++) {
    const size_t start = chunk * CHUNK, at = (c->first + start) * c->kv_stride + s.kv * head_dim;
    const size_t row0 = all.first_length > start ? 0 : (start + 1 - all.first_length) * group;  // rows before it end before the chunk
    if (row0 >= all.n) break;
    const size_t longest = least(CHUNK, length_of(&all, all.n - 1) - start);
    float *parts = chunk == s.chunk0 ? sums : next;
    for (size_t p = 0; p < longest; p += TILE) {
      const size_t count = least(TILE, longest - p);
      widen(tile, c->k + at + p * c->kv_stride, c->kv_stride, count, head_dim);
      for (size_t r = row0, n; r < all.n; r += n) {
        n = rows_of(all.n - r);
        const size_t length = length_of(&all, r + n - 1) - start;
        if (length > p) SCORE[n](scores + r * CHUNK + p, q + r * width, tile, least(count, length - p), width);
      }
    }
    for (size_t r = row0; r < all.n; r++) {
      float *own = parts + r * part;
      memset(own, 0, width * sizeof *own);
      own[width + 1] = weigh(scores + r * CHUNK, least(CHUNK, length_of(&all, r) - start), own + width);
    }
    for (size_t p = 0; p < longest; p += TILE) {
      const size_t count = least(TILE, longest - p);
      widen(tile, c->v + at + p * c->kv_stride, c->kv_stride, count, head_dim);
      for (size_t r = row0, n; r < all.n; r += n) {
        n = rows_of(all.n - r);
        // Together up to the length of the shortest, then each by itself: what a query may not see could be infinite.
        const size_t shortest = least(count, length_of(&all, r) - start > p ? length_of(&all, r) - start - p : 0);
        ADD_VALUES[n](parts + r * part, scores + r * CHUNK + p, tile, shortest, width, part);
        for (size_t i = r; i < r + n; i++) {
          const size_t length = least(count, length_of(&all, i) - start > p ? length_of(&all, i) - start - p : 0);
          if (length > shortest) add_values1(parts + i * part, scores + i * CHUNK + p + shortest, tile + shortest * width, length - shortest, width, part);
        }
      }
    }
    for (size_t r = row0; r < all.n; r++) {
      const size_t row = (s.t0 + r / group) * c->n_heads + s.kv * group + r % group;
      if (s.split) memcpy(nb_attention_partial(c, row, chunk), parts + r * part, (width + 2) * sizeof *parts);
      else if (parts == next) nb_attention_combine(sums + r * part, next + r * part, width);
    }
  }
  if (s.split) return;
  for (size_t r = 0; r < all.n; r++) {
    const size_t row = (s.t0 + r / group) * c->n_heads + s.kv * group + r % group;
    nb_attention_finish(c->out + row * head_dim, sums + r * part, head_dim);
  }
}

#else
typedef int nb_attention_simd128_unused;
#endif
