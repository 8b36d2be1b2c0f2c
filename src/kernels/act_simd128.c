// Quantized activations, strict SIMD.
#include <assert.h>

#include "act.h"
#include "simd.h"
#include "variants.h"

#ifdef NB_SIMD128

// 4 rounded quotients as integers, -127..127.
NB_INLINE v128_t rounded(const float *x, v128_t inverse) {
  const v128_t t = wasm_f32x4_add(wasm_f32x4_mul(wasm_v128_load(x), inverse), wasm_f32x4_splat(NB_ACT_ROUND));
  return wasm_i32x4_sub(t, wasm_i32x4_splat((int32_t)NB_ACT_ROUND_BITS));
}

static uint32_t greatest_magnitude(const float *x, size_t n) {
  const v128_t magnitude = wasm_i32x4_splat(0x7fffffff);
  v128_t top0 = wasm_i32x4_const(0, 0, 0, 0), top1 = top0;
  for (size_t i = 0; i < n; i += 8) {
    top0 = wasm_i32x4_max(top0, wasm_v128_and(wasm_v128_load(x + i), magnitude));
    top1 = wasm_i32x4_max(top1, wasm_v128_and(wasm_v128_load(x + i + 4), magnitude));
  }
  v128_t top = wasm_i32x4_max(top0, top1);
  top = wasm_i32x4_max(top, wasm_i64x2_shuffle(top, top, 1, 0));
  top = wasm_i32x4_max(top, wasm_i32x4_shuffle(top, top, 1, 0, 3, 2));
  return (uint32_t)wasm_i32x4_extract_lane(top, 0);
}

void nb_quantize_act_simd128(nb_act *a, const float *x) {
  assert(a->kind == NB_ACT_Q8_32 || a->kind == NB_ACT_Q8_256);
  const size_t block = a->kind == NB_ACT_Q8_32 ? 32 : 256, blocks = a->n * (a->cols / block);
  for (size_t b = 0; b < blocks; b++, x += block) {
    const float scale = nb_act_scale(greatest_magnitude(x, block), &a->d[b]);
    const v128_t inverse = wasm_f32x4_splat(scale), any = scale == 0 ? wasm_i8x16_splat(0) : wasm_i8x16_splat(-1);
    int8_t *q = a->q + b * block;
    int16_t *sums = a->sums + b * (block / 16);
    for (size_t j = 0; j < block / 16; j++) {
      const float *p = x + 16 * j;
      const v128_t low = wasm_i16x8_narrow_i32x4(rounded(p, inverse), rounded(p + 4, inverse));
      const v128_t high = wasm_i16x8_narrow_i32x4(rounded(p + 8, inverse), rounded(p + 12, inverse));
      const v128_t bytes = wasm_v128_and(wasm_i8x16_narrow_i16x8(low, high), any);
      wasm_v128_store(q + 16 * j, bytes);
      v128_t s = wasm_i32x4_extadd_pairwise_i16x8(wasm_i16x8_extadd_pairwise_i8x16(bytes));
      s = wasm_i32x4_add(s, wasm_i64x2_shuffle(s, s, 1, 0));
      sums[j] = (int16_t)(wasm_i32x4_extract_lane(s, 0) + wasm_i32x4_extract_lane(s, 1));
    }
  }
}

#else
typedef int nb_act_simd128_unused;
#endif
