// Groups of 8 rows, strict SIMD. Codes and activations are spread to 16 bits, bytes of even and of odd columns apart, so that a 32-bit
// word holds the two even or the two odd ones of a word of 4 bytes; the product of 16-bit pairs is exact in 32 bits.
#include "x8_simd.h"

#ifdef NB_SIMD128

NB_INLINE nb_x8 spread(v128_t s) { return (nb_x8){wasm_i32x4_extend_low_i16x8(s), wasm_i32x4_extend_high_i16x8(s)}; }

typedef struct spread_words {
  nb_x8 even, odd;
} spread_words;

NB_INLINE spread_words spread_codes(nb_x8 codes, const nb_x8_constants *k) {
  return (spread_words){{wasm_v128_and(codes.r0, k->even_bytes), wasm_v128_and(codes.r4, k->even_bytes)},
                        {wasm_u16x8_shr(codes.r0, 8), wasm_u16x8_shr(codes.r4, 8)}};
}

// Adds the products of a word of codes with columns 2i .. 2i + 3 of the activations.
NB_INLINE void add_step(spread_words w, int16_t even[4][16], int16_t odd[4][16], int i, size_t nt, nb_x8 sums[4]) {
  NB_UNROLL
  for (size_t t = 0; t < nt; t++) {
    const v128_t x = wasm_v128_load32_splat(even[t] + i), z = wasm_v128_load32_splat(odd[t] + i);
    sums[t].r0 = wasm_i32x4_add(wasm_i32x4_add(sums[t].r0, wasm_i32x4_dot_i16x8(w.even.r0, x)), wasm_i32x4_dot_i16x8(w.odd.r0, z));
    sums[t].r4 = wasm_i32x4_add(wasm_i32x4_add(sums[t].r4, wasm_i32x4_dot_i16x8(w.even.r4, x)), wasm_i32x4_dot_i16x8(w.odd.r4, z));
  }
}

NB_INLINE void stretch_sums(const nb_x8_format *f, const nb_x8_constants *k, const uint8_t *stretch, const int8_t *const q[4], size_t nt, nb_x8 scale,
                            nb_x8 total[4]) {
  int16_t even[4][16], odd[4][16];  // the activations, column 2i at even[i], column 2i + 1 at odd[i]
  nb_x8 sums[4];
  NB_UNROLL
  for (size_t t = 0; t < nt; t++) {
    for (int i = 0; i < f->span / 16; i++) {
      const v128_t x = wasm_v128_load(q[t] + 16 * i);
      wasm_v128_store(even[t] + 8 * i, wasm_i16x8_shr(wasm_i16x8_shl(x, 8), 8));
      wasm_v128_store(odd[t] + 8 * i, wasm_i16x8_shr(x, 8));
    }
    sums[t] = f->scales == NB_NO_SCALES ? total[t] : (nb_x8){wasm_i32x4_const(0, 0, 0, 0), wasm_i32x4_const(0, 0, 0, 0)};
  }
  const int half = f->span / 4;
  if (nt == 1 || f->bits == 6) {
    NB_UNROLL
    for (int g = 0; g < f->span / 8; g++) {
      const nb_x8_codes w = f->decode(stretch, g, NB_WHOLE, k);
      add_step(spread_codes(w.a, k), even, odd, 2 * g, nt, sums);
      add_step(spread_codes(w.b, k), even, odd, half + 2 * g, nt, sums);
    }
  } else {
    NB_ROLL
    for (int g = 0; g < f->span / 8; g++) {
      const nb_x8_codes w = f->decode(stretch, g, NB_WHOLE, k);
      add_step(spread_codes(w.a, k), even, odd, 2 * g, nt, sums);
      add_step(spread_codes(w.b, k), even, odd, half + 2 * g, nt, sums);
    }
  }
  NB_UNROLL
  for (size_t t = 0; t < nt; t++) {
    if (f->scales == NB_NO_SCALES) total[t] = sums[t];
    else total[t] = (nb_x8){wasm_i32x4_add(total[t].r0, wasm_i32x4_mul(sums[t].r0, scale.r0)), wasm_i32x4_add(total[t].r4, wasm_i32x4_mul(sums[t].r4, scale.r4))};
  }
}

#define VARIANT ((nb_x8_variant){stretch_sums, spread, NB_IN_16_BITS})
NB_X8_MATMUL(nb_matmul_x8_simd128, VARIANT)

#else
typedef int nb_x8_simd128_unused;
#endif
