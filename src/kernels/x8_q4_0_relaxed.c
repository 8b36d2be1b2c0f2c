// Q4_0 in groups of 8 rows, relaxed SIMD: the nibbles are the operand of 0..15, the activations the signed one.
#include "x8_q4_0_simd.h"

#ifdef NB_RELAXED

NB_INLINE void block_sums(const uint8_t *words, const int8_t *q, size_t stride, size_t nt, nb_x8 sums[4]) {
  const v128_t low = wasm_i8x16_splat(15);
  for (size_t t = 0; t < nt; t++) sums[t].r0 = sums[t].r4 = wasm_i32x4_const(0, 0, 0, 0);
  for (int g = 0; g < 4; g++) {
    const v128_t v0 = wasm_v128_load(words + 32 * g), v4 = wasm_v128_load(words + 32 * g + 16);
    const v128_t low0 = wasm_v128_and(v0, low), low4 = wasm_v128_and(v4, low);
    const v128_t high0 = wasm_v128_and(wasm_u16x8_shr(v0, 4), low), high4 = wasm_v128_and(wasm_u16x8_shr(v4, 4), low);
    for (size_t t = 0; t < nt; t++) {
      const v128_t x_low = wasm_v128_load32_splat(q + t * stride + 4 * g), x_high = wasm_v128_load32_splat(q + t * stride + 16 + 4 * g);
      sums[t].r0 = wasm_i16x8_add(sums[t].r0, wasm_i16x8_add(nb_relaxed_dot(x_low, low0), nb_relaxed_dot(x_high, high0)));
      sums[t].r4 = wasm_i16x8_add(sums[t].r4, wasm_i16x8_add(nb_relaxed_dot(x_low, low4), nb_relaxed_dot(x_high, high4)));
    }
  }
}

void nb_matmul_q4_0_q8_x8_relaxed(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  nb_matmul_x8_q4_0(block_sums, w, a, y, ystride, row0, row1);
}

#else
typedef int nb_x8_q4_0_relaxed_unused;
#endif
