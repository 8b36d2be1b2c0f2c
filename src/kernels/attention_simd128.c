// Attention, strict SIMD. The rows of a KV head, a row for each query and each head of the group, are taken NB_ATTENTION_TILE at a time, and
// with them NB_ATTENTION_TILE positions of the cache: widened to floats once, then used by all of these rows.
//
//     scratch:  scores [TILE rows, n_rows]   |   keys or values of a tile of positions [TILE, head_dim]
#include <assert.h>
#include <string.h>

#include "../base/half.h"
#include "lanes.h"
#include "simd.h"
#include "variants.h"

#ifdef NB_SIMD128

enum { TILE = NB_ATTENTION_TILE };

// Rows p of the cache to floats [count, head_dim].
static void widen(float *to, const uint16_t *rows, size_t kv_stride, size_t count, size_t head_dim) {
  for (size_t p = 0; p < count; p++, rows += kv_stride, to += head_dim) {
    size_t i = 0;
    for (; i + 8 <= head_dim; i += 8) {
      const v128_t h = wasm_v128_load(rows + i);
      wasm_v128_store(to + i, nb_f32x4_of_halves_low(h));
      wasm_v128_store(to + i + 4, nb_f32x4_of_halves_high(h));
    }
    for (; i < head_dim; i++) to[i] = nb_f16_to_f32(rows[i]);
  }
}

// s += a * b for the 16 numbers at a and b
NB_INLINE void multiply_add(v128_t s[4], const float *a, const float *b) {
  for (int j = 0; j < 4; j++) s[j] = wasm_f32x4_add(s[j], wasm_f32x4_mul(wasm_v128_load(a + 4 * j), wasm_v128_load(b + 4 * j)));
}

static float fold(const v128_t s[4], const float *q, const float *k, size_t i, size_t head_dim) {
  if (i == head_dim) return nb_fold_f32x4(s[0], s[1], s[2], s[3]);
  float lanes[NB_LANES];
  for (int j = 0; j < 4; j++) wasm_v128_store(lanes + 4 * j, s[j]);
  for (; i < head_dim; i++) lanes[i % NB_LANES] += q[i] * k[i];
  return nb_fold_lanes(lanes);
}

// scores[p] = q . k[p] * scale for the positions of a tile, two at a time: q is loaded once for both.
static void score(float *scores, const float *q, const float *k, size_t count, size_t head_dim, float scale) {
  const v128_t zero = wasm_f32x4_const(0, 0, 0, 0);
  size_t p = 0;
  for (; p + 2 <= count; p += 2) {
    const float *k0 = k + p * head_dim, *k1 = k0 + head_dim;
    v128_t s0[4] = {zero, zero, zero, zero}, s1[4] = {zero, zero, zero, zero};
    size_t i = 0;
    for (; i + NB_LANES <= head_dim; i += NB_LANES) {
      multiply_add(s0, q + i, k0 + i);
      multiply_add(s1, q + i, k1 + i);
    }
    scores[p] = fold(s0, q, k0, i, head_dim) * scale;
    scores[p + 1] = fold(s1, q, k1, i, head_dim) * scale;
  }
  if (p < count) {
    const float *k0 = k + p * head_dim;
    v128_t s0[4] = {zero, zero, zero, zero};
    size_t i = 0;
    for (; i + NB_LANES <= head_dim; i += NB_LANES) multiply_add(s0, q + i, k0 + i);
    scores[p] = fold(s0, q, k0, i, head_dim) * scale;
  }
}

// out += sum over the positions of a tile of weight[p] * v[p], 16 columns at a time in registers.
static void add_values(float *out, const float *weight, const float *v, size_t count, size_t head_dim) {
  size_t i = 0;
  for (; i + 16 <= head_dim; i += 16) {
    v128_t s[4];
    for (int j = 0; j < 4; j++) s[j] = wasm_v128_load(out + i + 4 * j);
    for (size_t p = 0; p < count; p++) {
      const v128_t w = wasm_v128_load32_splat(weight + p);
      for (int j = 0; j < 4; j++) s[j] = wasm_f32x4_add(s[j], wasm_f32x4_mul(w, wasm_v128_load(v + p * head_dim + i + 4 * j)));
    }
    for (int j = 0; j < 4; j++) wasm_v128_store(out + i + 4 * j, s[j]);
  }
  for (; i < head_dim; i++) {
    for (size_t p = 0; p < count; p++) out[i] += weight[p] * v[p * head_dim + i];
  }
}

NB_INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }

void nb_attention_simd128(float *out, const float *q, size_t n_queries, const uint16_t *k, const uint16_t *v, size_t kv_stride, size_t n_heads,
                          size_t n_kv_heads, size_t head_dim, size_t first, size_t n, float scale, float *scratch) {
  assert(n >= 1 && n_kv_heads >= 1 && n_heads % n_kv_heads == 0 && kv_stride >= n_kv_heads * head_dim);
  const size_t group = n_heads / n_kv_heads, n_rows = n + n_queries - 1;
  float *tile = scratch + TILE * n_rows;
  for (size_t kv = 0; kv < n_kv_heads; kv++) {
    const size_t at = first * kv_stride + kv * head_dim;
    for (size_t row0 = 0; row0 < n_queries * group; row0 += TILE) {
      const size_t rows = least(TILE, n_queries * group - row0), longest = n + (row0 + rows - 1) / group;
      size_t from[TILE];  // of a row's query and output
      for (size_t r = 0; r < rows; r++) from[r] = ((row0 + r) / group * n_heads + kv * group + (row0 + r) % group) * head_dim;
      for (size_t p = 0; p < longest; p += TILE) {
        widen(tile, k + at + p * kv_stride, kv_stride, least(TILE, longest - p), head_dim);
        for (size_t r = 0; r < rows; r++) {
          const size_t length = n + (row0 + r) / group;
          if (p < length) score(scratch + r * n_rows + p, q + from[r], tile, least(TILE, length - p), head_dim, scale);
        }
      }
      for (size_t r = 0; r < rows; r++) {
        nb_softmax_simd128(scratch + r * n_rows, n + (row0 + r) / group);
        memset(out + from[r], 0, head_dim * sizeof *out);
      }
      for (size_t p = 0; p < longest; p += TILE) {
        widen(tile, v + at + p * kv_stride, kv_stride, least(TILE, longest - p), head_dim);
        for (size_t r = 0; r < rows; r++) {
          const size_t length = n + (row0 + r) / group;
          if (p < length) add_values(out + from[r], scratch + r * n_rows + p, tile, least(TILE, length - p), head_dim);
        }
      }
    }
  }
}

#else
typedef int nb_attention_simd128_unused;
#endif
