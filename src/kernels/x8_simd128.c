// Groups of 8 rows, strict SIMD. Codes and activations are spread to 16 bits, bytes of even and of odd columns apart, so that a 32-bit
// word holds the two even or the two odd ones of a word of 4 bytes; the product of 16-bit pairs is exact in 32 bits.
#include "x8_simd.h"

#ifdef NB_SIMD128

NB_INLINE nb_x8 spread(v128_t s) { return (nb_x8){wasm_i32x4_extend_low_i16x8(s), wasm_i32x4_extend_high_i16x8(s)}; }

NB_INLINE v128_t add_products(v128_t sum, v128_t codes, v128_t even, v128_t odd) {
  sum = wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(wasm_v128_and(codes, wasm_i16x8_splat(0xff)), even));
  return wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(wasm_u16x8_shr(codes, 8), odd));
}

NB_INLINE void stretch_sums(const nb_x8_format *f, const nb_x8_constants *k, const uint8_t *stretch, const int8_t *const q[4], size_t nt, nb_x8 scale,
                            nb_x8 total[4]) {
  int16_t even[4][16], odd[4][16];  // the activations, column 2i at even[i], column 2i + 1 at odd[i]
  nb_x8 sums[4];
  for (size_t t = 0; t < nt; t++) {
    for (int i = 0; i < f->span / 16; i++) {
      const v128_t x = wasm_v128_load(q[t] + 16 * i);
      wasm_v128_store(even[t] + 8 * i, wasm_i16x8_shr(wasm_i16x8_shl(x, 8), 8));
      wasm_v128_store(odd[t] + 8 * i, wasm_i16x8_shr(x, 8));
    }
    sums[t] = f->scales == NB_NO_SCALES ? total[t] : (nb_x8){wasm_i32x4_const(0, 0, 0, 0), wasm_i32x4_const(0, 0, 0, 0)};
  }
  for (int g = 0; g < f->span / 8; g++) {
    const nb_x8_codes w = f->decode(stretch, g, NB_WHOLE, k);
    for (size_t t = 0; t < nt; t++) {
      const int a = 2 * g, b = f->span / 4 + 2 * g;
      const v128_t even_a = wasm_v128_load32_splat(even[t] + a), odd_a = wasm_v128_load32_splat(odd[t] + a);
      const v128_t even_b = wasm_v128_load32_splat(even[t] + b), odd_b = wasm_v128_load32_splat(odd[t] + b);
      sums[t].r0 = add_products(add_products(sums[t].r0, w.a.r0, even_a, odd_a), w.b.r0, even_b, odd_b);
      sums[t].r4 = add_products(add_products(sums[t].r4, w.a.r4, even_a, odd_a), w.b.r4, even_b, odd_b);
    }
  }
  for (size_t t = 0; t < nt; t++) {
    if (f->scales == NB_NO_SCALES) total[t] = sums[t];
    else total[t] = (nb_x8){wasm_i32x4_add(total[t].r0, wasm_i32x4_mul(sums[t].r0, scale.r0)), wasm_i32x4_add(total[t].r4, wasm_i32x4_mul(sums[t].r4, scale.r4))};
  }
}

#define VARIANT ((nb_x8_variant){stretch_sums, spread, false})
NB_X8_MATMUL(nb_matmul_x8_simd128, VARIANT)

#else
typedef int nb_x8_simd128_unused;
#endif
