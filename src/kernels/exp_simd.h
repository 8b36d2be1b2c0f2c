// exp.h's exp for four numbers at a time: the same operations in the same order.
#ifndef NB_KERNELS_EXP_SIMD_H
#define NB_KERNELS_EXP_SIMD_H

#include "exp.h"
#include "simd.h"

#ifdef NB_SIMD128

NB_INLINE v128_t nb_exp_f32x4(v128_t x) {
  x = wasm_f32x4_pmin(x, wasm_f32x4_splat(NB_EXP_MAX));
  x = wasm_f32x4_pmax(x, wasm_f32x4_splat(NB_EXP_MIN));
  const v128_t t = wasm_f32x4_add(wasm_f32x4_mul(x, wasm_f32x4_splat(NB_EXP_LOG2E)), wasm_f32x4_splat(NB_EXP_ROUND));
  const v128_t k = wasm_f32x4_sub(t, wasm_f32x4_splat(NB_EXP_ROUND));
  const v128_t r = wasm_f32x4_sub(wasm_f32x4_sub(x, wasm_f32x4_mul(k, wasm_f32x4_splat(NB_EXP_LN2_HIGH))),
                                  wasm_f32x4_mul(k, wasm_f32x4_splat(NB_EXP_LN2_LOW)));
  v128_t p = wasm_f32x4_splat(NB_EXP_C7);
  p = wasm_f32x4_add(wasm_f32x4_mul(p, r), wasm_f32x4_splat(NB_EXP_C6));
  p = wasm_f32x4_add(wasm_f32x4_mul(p, r), wasm_f32x4_splat(NB_EXP_C5));
  p = wasm_f32x4_add(wasm_f32x4_mul(p, r), wasm_f32x4_splat(NB_EXP_C4));
  p = wasm_f32x4_add(wasm_f32x4_mul(p, r), wasm_f32x4_splat(NB_EXP_C3));
  p = wasm_f32x4_add(wasm_f32x4_mul(p, r), wasm_f32x4_splat(NB_EXP_C2));
  p = wasm_f32x4_add(wasm_f32x4_add(wasm_f32x4_mul(p, wasm_f32x4_mul(r, r)), r), wasm_f32x4_splat(1.0f));
  const v128_t ki = wasm_i32x4_sub(t, wasm_i32x4_splat(NB_EXP_ROUND_BITS)), k1 = wasm_i32x4_shr(ki, 1), k2 = wasm_i32x4_sub(ki, k1);
  const v128_t s1 = wasm_i32x4_shl(wasm_i32x4_add(k1, wasm_i32x4_splat(127)), 23), s2 = wasm_i32x4_shl(wasm_i32x4_add(k2, wasm_i32x4_splat(127)), 23);
  return wasm_f32x4_mul(wasm_f32x4_mul(p, s1), s2);
}

#endif
#endif
