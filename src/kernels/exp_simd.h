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

#endif
#endif
