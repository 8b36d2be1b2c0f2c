// Signed 8-bit weights under the relaxed dot product, whose second operand has to be 0..127.
//
// The activations' magnitudes take that place and their signs move to the weights, as the one's complement w ^ s with s = -1 where
// a < 0, because -w does not exist for w = -128. The 1 that lacks is made good by a correction, which is the same for every row:
//     w * a = (w ^ s) * |a| - s * |a|
#ifndef NB_KERNELS_SIGNS_RELAXED_H
#define NB_KERNELS_SIGNS_RELAXED_H

#include "rows32_simd.h"

NB_INLINE nb_a16 nb_prepare_signs(v128_t x) {
  const v128_t sign = wasm_i8x16_lt(x, wasm_i32x4_const(0, 0, 0, 0)), magnitude = wasm_i8x16_abs(x);
  return (nb_a16){.x = magnitude, .sign = sign, .correction = nb_relaxed_dot(sign, magnitude)};
}

// 16 products, neighbours added: at most 2 * 128 * 127 = 32512 before and after the correction.
NB_INLINE v128_t nb_dot_signed(v128_t w, nb_a16 a) { return wasm_i16x8_sub(nb_relaxed_dot(wasm_v128_xor(w, a.sign), a.x), a.correction); }

#endif
