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

// Adds the products of two words of codes (see nb_x8_codes) to the sums in 16 bits.
NB_INLINE void add_step(const nb_x8_format *f, nb_x8_codes w, const int8_t *const q[4], size_t nt, int g, nb_x8 part[4]) {
  NB_UNROLL
  for (size_t t = 0; t < nt; t++) {
    const v128_t a = wasm_v128_load32_splat(q[t] + 4 * g), b = wasm_v128_load32_splat(q[t] + f->span / 2 + 4 * g);
    part[t].r0 = wasm_i16x8_add(wasm_i16x8_add(part[t].r0, nb_relaxed_dot(a, w.a.r0)), nb_relaxed_dot(b, w.b.r0));
    part[t].r4 = wasm_i16x8_add(wasm_i16x8_add(part[t].r4, nb_relaxed_dot(a, w.a.r4)), nb_relaxed_dot(b, w.b.r4));
  }
}

// Adds the sums in 16 bits to those in 32, and clears them.
NB_INLINE void flush(const nb_x8_format *f, size_t nt, nb_x8 scale, uint32_t shift, nb_x8 part[4], nb_x8 total[4]) {
  const v128_t zero = wasm_i32x4_const(0, 0, 0, 0);
  NB_UNROLL
  for (size_t t = 0; t < nt; t++) {
    total[t].r0 = wasm_i32x4_add(total[t].r0, widen(f->scales != NB_NO_SCALES, part[t].r0, scale.r0, shift));
    total[t].r4 = wasm_i32x4_add(total[t].r4, widen(f->scales != NB_NO_SCALES, part[t].r4, scale.r4, shift));
    part[t] = (nb_x8){zero, zero};
  }
}

// 6 bits: the sum of two words is full.
NB_INLINE void stretch_sums_6(const nb_x8_format *f, const nb_x8_constants *k, const uint8_t *stretch, const int8_t *const q[4], size_t nt, nb_x8 scale,
                              nb_x8 total[4]) {
  NB_UNROLL
  for (int g = 0; g < 2; g++) {
    const nb_x8_codes w = f->decode(stretch, g, NB_WHOLE, k);
    NB_UNROLL
    for (size_t t = 0; t < nt; t++) {
      const v128_t a = wasm_v128_load32_splat(q[t] + 4 * g), b = wasm_v128_load32_splat(q[t] + 8 + 4 * g);
      const v128_t p0 = wasm_i16x8_add(nb_relaxed_dot(a, w.a.r0), nb_relaxed_dot(b, w.b.r0)), p4 = wasm_i16x8_add(nb_relaxed_dot(a, w.a.r4), nb_relaxed_dot(b, w.b.r4));
      total[t] = (nb_x8){wasm_i32x4_add(total[t].r0, wasm_i32x4_dot_i16x8(p0, scale.r0)), wasm_i32x4_add(total[t].r4, wasm_i32x4_dot_i16x8(p4, scale.r4))};
    }
  }
}

NB_INLINE void stretch_sums(const nb_x8_format *f, const nb_x8_constants *k, const uint8_t *stretch, const int8_t *const q[4], size_t nt, nb_x8 scale,
                            nb_x8 total[4]) {
  if (f->bits == 6) {
    stretch_sums_6(f, k, stretch, q, nt, scale, total);
    return;
  }
  const v128_t zero = wasm_i32x4_const(0, 0, 0, 0);
  const int steps = f->bits == 5 ? 2 : 4;  // after which 16 bits are full
  nb_x8 part[4] = {{zero, zero}, {zero, zero}, {zero, zero}, {zero, zero}};
  NB_UNROLL
  for (int plane = 0; plane < (f->bits == 8 ? 2 : 1); plane++) {
    NB_UNROLL
    for (int g0 = 0; g0 < 4; g0 += steps) {
      if (nt == 1) {
        NB_UNROLL
        for (int g = g0; g < g0 + steps; g++) add_step(f, f->decode(stretch, g, plane ? NB_HIGH : NB_LOW, k), q, nt, g, part);
      } else {
        NB_ROLL
        for (int g = g0; g < g0 + steps; g++) add_step(f, f->decode(stretch, g, plane ? NB_HIGH : NB_LOW, k), q, nt, g, part);
      }
      flush(f, nt, scale, plane ? 4 : 0, part, total);
    }
  }
}

#define VARIANT ((nb_x8_variant){stretch_sums, spread, NB_IN_PLANES})
NB_X8_MATMUL(nb_matmul_x8_relaxed, VARIANT)

#else
typedef int nb_x8_relaxed_unused;
#endif
