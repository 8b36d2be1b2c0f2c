// Attention of one query position, strict SIMD.
#include <assert.h>

#include "../base/half.h"
#include "lanes.h"
#include "simd.h"
#include "variants.h"

#ifdef NB_SIMD128

static float dot_f16(const float *q, const uint16_t *k, size_t n) {
  const v128_t zero = wasm_f32x4_const(0, 0, 0, 0);
  v128_t s[4] = {zero, zero, zero, zero};
  size_t i = 0;
  for (; i + NB_LANES <= n; i += NB_LANES) {
    const v128_t k0 = wasm_v128_load(k + i), k1 = wasm_v128_load(k + i + 8);
    s[0] = wasm_f32x4_add(s[0], wasm_f32x4_mul(wasm_v128_load(q + i), nb_f32x4_of_halves_low(k0)));
    s[1] = wasm_f32x4_add(s[1], wasm_f32x4_mul(wasm_v128_load(q + i + 4), nb_f32x4_of_halves_high(k0)));
    s[2] = wasm_f32x4_add(s[2], wasm_f32x4_mul(wasm_v128_load(q + i + 8), nb_f32x4_of_halves_low(k1)));
    s[3] = wasm_f32x4_add(s[3], wasm_f32x4_mul(wasm_v128_load(q + i + 12), nb_f32x4_of_halves_high(k1)));
  }
  if (i == n) return nb_fold_f32x4(s[0], s[1], s[2], s[3]);
  float lanes[NB_LANES];
  for (int j = 0; j < 4; j++) wasm_v128_store(lanes + 4 * j, s[j]);
  for (; i < n; i++) lanes[i % NB_LANES] += q[i] * nb_f16_to_f32(k[i]);
  return nb_fold_lanes(lanes);
}

// out[0 .. head_dim-1] = sum over the n positions of weight[p] * v[p], 16 columns at a time in registers.
static void weighted_sum(float *out, const float *weight, const uint16_t *v, size_t kv_stride, size_t head_dim, size_t n) {
  size_t i = 0;
  for (; i + 16 <= head_dim; i += 16) {
    const v128_t zero = wasm_f32x4_const(0, 0, 0, 0);
    v128_t s0 = zero, s1 = zero, s2 = zero, s3 = zero;
    const uint16_t *row = v + i;
    for (size_t p = 0; p < n; p++, row += kv_stride) {
      const v128_t w = wasm_v128_load32_splat(weight + p), v0 = wasm_v128_load(row), v1 = wasm_v128_load(row + 8);
      s0 = wasm_f32x4_add(s0, wasm_f32x4_mul(w, nb_f32x4_of_halves_low(v0)));
      s1 = wasm_f32x4_add(s1, wasm_f32x4_mul(w, nb_f32x4_of_halves_high(v0)));
      s2 = wasm_f32x4_add(s2, wasm_f32x4_mul(w, nb_f32x4_of_halves_low(v1)));
      s3 = wasm_f32x4_add(s3, wasm_f32x4_mul(w, nb_f32x4_of_halves_high(v1)));
    }
    wasm_v128_store(out + i, s0);
    wasm_v128_store(out + i + 4, s1);
    wasm_v128_store(out + i + 8, s2);
    wasm_v128_store(out + i + 12, s3);
  }
  for (; i < head_dim; i++) {
    float s = 0;
    for (size_t p = 0; p < n; p++) s += weight[p] * nb_f16_to_f32(v[p * kv_stride + i]);
    out[i] = s;
  }
}

void nb_attention_simd128(float *out, const float *q, const uint16_t *k, const uint16_t *v, size_t kv_stride, size_t n_heads,
                          size_t n_kv_heads, size_t head_dim, size_t first, size_t n, float scale, float *scratch) {
  assert(n >= 1 && n_kv_heads >= 1 && n_heads % n_kv_heads == 0 && kv_stride >= n_kv_heads * head_dim);
  const size_t group = n_heads / n_kv_heads;
  for (size_t h = 0; h < n_heads; h++, q += head_dim, out += head_dim) {
    const size_t at = first * kv_stride + h / group * head_dim;
    for (size_t p = 0; p < n; p++) scratch[p] = dot_f16(q, k + at + p * kv_stride, head_dim) * scale;
    nb_softmax_simd128(scratch, n);
    weighted_sum(out, scratch, v + at, kv_stride, head_dim, n);
  }
}

#else
typedef int nb_attention_simd128_unused;
#endif
