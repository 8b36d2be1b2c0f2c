// Groups of 8 rows, relaxed SIMD with sums in 16 bits (one instruction on x64 with AVX2). Codes of 4, 5 and 6 bits are the operand of
// 0..127, those of 8 bits as two planes of 4 bits; the activations are the signed one. Sums of 16 bits hold 8, 4 and 2 products of
// pairs: 8 * 2 * 15 * 127 = 30480, 4 * 2 * 31 * 127 = 31496, 2 * 2 * 63 * 127 = 32004. Widening them multiplies by the scale.
#include "x8_simd.h"

#ifdef NB_RELAXED

// Each scale twice: a row has two 16-bit lanes.
NB_INLINE nb_x8 spread(v128_t s) {
  return (nb_x8){wasm_i16x8_shuffle(s, s, 0, 0, 1, 1, 2, 2, 3, 3), wasm_i16x8_shuffle(s, s, 4, 4, 5, 5, 6, 6, 7, 7)};
}

NB_INLINE v128_t widen(bool scaled, v128_t sums, v128_t scale, uint32_t shift) {
  if (scaled) return wasm_i32x4_dot_i16x8(sums, shift ? wasm_i16x8_shl(scale, shift) : scale);
  const v128_t wide = wasm_i32x4_extadd_pairwise_i16x8(sums);
  return shift ? wasm_i32x4_shl(wide, shift) : wide;
}

NB_INLINE void stretch_sums(const nb_x8_format *f, const nb_x8_constants *k, const uint8_t *stretch, const int8_t *const q[4], size_t nt, nb_x8 scale,
                            nb_x8 total[4]) {
  const int flush = f->bits == 6 ? 1 : f->bits == 5 ? 2 : 4;  // steps of two words after which 16 bits are full
  for (int plane = 0; plane < (f->bits == 8 ? 2 : 1); plane++) {
    nb_x8 part[4];
    for (int g = 0; g < f->span / 8; g++) {
      const nb_x8_codes w = f->decode(stretch, g, plane ? NB_HIGH : NB_LOW, k);
      for (size_t t = 0; t < nt; t++) {
        const v128_t a = wasm_v128_load32_splat(q[t] + 4 * g), b = wasm_v128_load32_splat(q[t] + f->span / 2 + 4 * g);
        const nb_x8 p = {wasm_i16x8_add(nb_relaxed_dot(a, w.a.r0), nb_relaxed_dot(b, w.b.r0)), wasm_i16x8_add(nb_relaxed_dot(a, w.a.r4), nb_relaxed_dot(b, w.b.r4))};
        part[t] = g % flush == 0 ? p : (nb_x8){wasm_i16x8_add(part[t].r0, p.r0), wasm_i16x8_add(part[t].r4, p.r4)};
        if (g % flush != flush - 1) continue;
        total[t].r0 = wasm_i32x4_add(total[t].r0, widen(f->scales != NB_NO_SCALES, part[t].r0, scale.r0, plane ? 4 : 0));
        total[t].r4 = wasm_i32x4_add(total[t].r4, widen(f->scales != NB_NO_SCALES, part[t].r4, scale.r4, plane ? 4 : 0));
      }
    }
  }
}

#define VARIANT ((nb_x8_variant){stretch_sums, spread, true})
NB_X8_MATMUL(nb_matmul_x8_relaxed, VARIANT)

#else
typedef int nb_x8_relaxed_unused;
#endif
