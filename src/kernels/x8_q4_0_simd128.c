// Q4_0 in groups of 8 rows, strict SIMD: nibbles are spread to 16 bits by masks, even and odd bytes apart, and multiplied there; the
// activations are spread alike, so that one 32-bit word holds the pair of even or of odd ones of a word of 4.
#include "x8_q4_0_simd.h"

#ifdef NB_SIMD128

NB_INLINE void block_sums(const uint8_t *words, const int8_t *q, size_t stride, size_t nt, nb_x8 sums[4]) {
  int16_t even[4][16], odd[4][16];  // activations of even and odd columns: [0..7] columns 0..15, [8..15] columns 16..31
  for (size_t t = 0; t < nt; t++) {
    for (int i = 0; i < 2; i++) {
      const v128_t x = wasm_v128_load(q + t * stride + 16 * i);
      wasm_v128_store(even[t] + 8 * i, wasm_i16x8_shr(wasm_i16x8_shl(x, 8), 8));
      wasm_v128_store(odd[t] + 8 * i, wasm_i16x8_shr(x, 8));
    }
    sums[t].r0 = sums[t].r4 = wasm_i32x4_const(0, 0, 0, 0);
  }
  const v128_t low = wasm_i16x8_splat(15);
  for (int g = 0; g < 4; g++) {
    const v128_t v0 = wasm_v128_load(words + 32 * g), v4 = wasm_v128_load(words + 32 * g + 16);
    const v128_t low_even0 = wasm_v128_and(v0, low), low_even4 = wasm_v128_and(v4, low);
    const v128_t high_even0 = wasm_v128_and(wasm_u16x8_shr(v0, 4), low), high_even4 = wasm_v128_and(wasm_u16x8_shr(v4, 4), low);
    const v128_t low_odd0 = wasm_v128_and(wasm_u16x8_shr(v0, 8), low), low_odd4 = wasm_v128_and(wasm_u16x8_shr(v4, 8), low);
    const v128_t high_odd0 = wasm_u16x8_shr(v0, 12), high_odd4 = wasm_u16x8_shr(v4, 12);
    for (size_t t = 0; t < nt; t++) {
      const v128_t x0 = wasm_v128_load32_splat(even[t] + 2 * g), x1 = wasm_v128_load32_splat(odd[t] + 2 * g);
      const v128_t x2 = wasm_v128_load32_splat(even[t] + 8 + 2 * g), x3 = wasm_v128_load32_splat(odd[t] + 8 + 2 * g);
      sums[t].r0 = wasm_i16x8_add(sums[t].r0, wasm_i16x8_mul(x0, low_even0));
      sums[t].r4 = wasm_i16x8_add(sums[t].r4, wasm_i16x8_mul(x0, low_even4));
      sums[t].r0 = wasm_i16x8_add(sums[t].r0, wasm_i16x8_mul(x1, low_odd0));
      sums[t].r4 = wasm_i16x8_add(sums[t].r4, wasm_i16x8_mul(x1, low_odd4));
      sums[t].r0 = wasm_i16x8_add(sums[t].r0, wasm_i16x8_mul(x2, high_even0));
      sums[t].r4 = wasm_i16x8_add(sums[t].r4, wasm_i16x8_mul(x2, high_even4));
      sums[t].r0 = wasm_i16x8_add(sums[t].r0, wasm_i16x8_mul(x3, high_odd0));
      sums[t].r4 = wasm_i16x8_add(sums[t].r4, wasm_i16x8_mul(x3, high_odd4));
    }
  }
}

void nb_matmul_q4_0_q8_x8_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  nb_matmul_x8_q4_0(block_sums, w, a, y, ystride, row0, row1);
}

#else
typedef int nb_x8_q4_0_simd128_unused;
#endif
