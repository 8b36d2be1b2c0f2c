// exp.h's exp for four numbers at a time: the same operations in the same order.
#ifndef NB_KERNELS_EXP_SIMD_H
#define NB_KERNELS_EXP_SIMD_H

#include "exp.h"
#include "simd.h"

#ifdef NB_SIMD128

static const float nb_exp_floats[] = {NB_EXP_MAX, NB_EXP_MIN, NB_EXP_LOG2E, NB_EXP_ROUND, NB_EXP_LN2_HIGH, NB_EXP_LN2_LOW, NB_EXP_C7,
                                      NB_EXP_C6,  NB_EXP_C5,  NB_EXP_C4,    NB_EXP_C3,    NB_EXP_C2,       1.0f};
static const int32_t nb_exp_ints[] = {NB_EXP_ROUND_BITS, 127};

NB_INLINE v128_t nb_exp_f32x4(v128_t x) {
  const float *c = nb_exp_floats;
  x = wasm_f32x4_pmin(x, nb_splat_from(c));
  x = wasm_f32x4_pmax(x, nb_splat_from(c + 1));
  const v128_t round = nb_splat_from(c + 3);
  const v128_t t = wasm_f32x4_add(wasm_f32x4_mul(x, nb_splat_from(c + 2)), round);
  const v128_t k = wasm_f32x4_sub(t, round);
  const v128_t r = wasm_f32x4_sub(wasm_f32x4_sub(x, wasm_f32x4_mul(k, nb_splat_from(c + 4))), wasm_f32x4_mul(k, nb_splat_from(c + 5)));
  v128_t p = nb_splat_from(c + 6);
  for (int i = 7; i < 12; i++) p = wasm_f32x4_add(wasm_f32x4_mul(p, r), nb_splat_from(c + i));
  p = wasm_f32x4_add(wasm_f32x4_add(wasm_f32x4_mul(p, wasm_f32x4_mul(r, r)), r), nb_splat_from(c + 12));
  const v128_t ki = wasm_i32x4_sub(t, nb_splat_from(nb_exp_ints)), k1 = wasm_i32x4_shr(ki, 1), k2 = wasm_i32x4_sub(ki, k1);
  const v128_t bias = nb_splat_from(nb_exp_ints + 1);
  const v128_t s1 = wasm_i32x4_shl(wasm_i32x4_add(k1, bias), 23), s2 = wasm_i32x4_shl(wasm_i32x4_add(k2, bias), 23);
  return wasm_f32x4_mul(wasm_f32x4_mul(p, s1), s2);
}

// nb_exp_weight of 16 numbers, in step, so that a constant is fetched once for all.
NB_INLINE void nb_exp_weights(v128_t x[4]) {
  static const float min = NB_EXP_WEIGHT_MIN;
  const float *c = nb_exp_floats;
  const v128_t log2e = nb_splat_from(c + 2), round = nb_splat_from(c + 3), high = nb_splat_from(c + 4), low = nb_splat_from(c + 5);
  const v128_t least = nb_splat_from(&min), c7 = nb_splat_from(c + 6), one = nb_splat_from(c + 12);
  v128_t scale[4], r[4], p[4];
  for (int j = 0; j < 4; j++) {
    const v128_t t = wasm_f32x4_add(wasm_f32x4_mul(x[j], log2e), round), k = wasm_f32x4_sub(t, round);
    r[j] = wasm_f32x4_sub(wasm_f32x4_sub(x[j], wasm_f32x4_mul(k, high)), wasm_f32x4_mul(k, low));
    scale[j] = wasm_i32x4_shl(t, 23);  // k, where a float has its exponent
  }
  for (int j = 0; j < 4; j++) p[j] = c7;
  for (int i = 7; i < 12; i++) {
    const v128_t ci = nb_splat_from(c + i);
    for (int j = 0; j < 4; j++) p[j] = wasm_f32x4_add(wasm_f32x4_mul(p[j], r[j]), ci);
  }
  for (int j = 0; j < 4; j++) {
    p[j] = wasm_f32x4_add(wasm_f32x4_add(wasm_f32x4_mul(p[j], wasm_f32x4_mul(r[j], r[j])), r[j]), one);
    x[j] = wasm_v128_andnot(wasm_i32x4_add(p[j], scale[j]), wasm_f32x4_lt(x[j], least));
  }
}

#endif
#endif
