// Weights with blocks of 32 in file order (NB_LAYOUT_ROWS), times int8 activations: what the strict and the relaxed variant share.
//
// A tile is 4 rows by up to 4 vectors: the 4 blocks of a block column are decoded once, multiplied with each vector, and the 4 x 4
// partial sums folded so that the rows stand in the lanes.
#ifndef NB_KERNELS_ROWS32_SIMD_H
#define NB_KERNELS_ROWS32_SIMD_H

#include <assert.h>
#include <stdbool.h>

#include "simd.h"
#include "unpack.h"
#include "variants.h"

// ---- blocks to bytes: the weight plus the type's offset, 0..31, or signed where the comment says so ---------------------------

typedef struct nb_w32 {
  v128_t q0, q1;  // columns 0..15 and 16..31
} nb_w32;

typedef nb_w32 nb_decode32_fn(const uint8_t *block);

NB_INLINE nb_w32 nb_decode_nibbles(const uint8_t *qs) {
  const v128_t v = wasm_v128_load(qs), mask = wasm_i8x16_splat(15);
  return (nb_w32){wasm_v128_and(v, mask), wasm_v128_and(wasm_u16x8_shr(v, 4), mask)};
}

// Adds the fifth bits: byte i of each half gets bit i of its 16 as 16.
NB_INLINE nb_w32 nb_decode_fifths(nb_w32 w, const uint8_t *qh) {
  const v128_t bits = wasm_v128_load32_splat(qh), select = wasm_i8x16_const(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
  const v128_t h0 = wasm_i8x16_shuffle(bits, bits, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  const v128_t h1 = wasm_i8x16_shuffle(bits, bits, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
  const v128_t sixteen = wasm_i8x16_splat(16);
  w.q0 = wasm_v128_or(w.q0, wasm_v128_and(wasm_i8x16_eq(wasm_v128_and(h0, select), select), sixteen));
  w.q1 = wasm_v128_or(w.q1, wasm_v128_and(wasm_i8x16_eq(wasm_v128_and(h1, select), select), sixteen));
  return w;
}

NB_INLINE nb_w32 nb_decode_q4_0(const uint8_t *block) { return nb_decode_nibbles(block + 2); }
NB_INLINE nb_w32 nb_decode_q4_1(const uint8_t *block) { return nb_decode_nibbles(block + 4); }
NB_INLINE nb_w32 nb_decode_q5_0(const uint8_t *block) { return nb_decode_fifths(nb_decode_nibbles(block + 6), block + 2); }
NB_INLINE nb_w32 nb_decode_q5_1(const uint8_t *block) { return nb_decode_fifths(nb_decode_nibbles(block + 8), block + 4); }

NB_INLINE nb_w32 nb_decode_q8_0(const uint8_t *block) {  // signed, -128..127
  return (nb_w32){wasm_v128_load(block + 2), wasm_v128_load(block + 18)};
}

NB_INLINE nb_w32 nb_decode_iq4_nl(const uint8_t *block) {  // signed, -127..113
  static const int8_t values[16] = NB_IQ4_TABLE;
  const v128_t table = wasm_v128_load(values);
  const nb_w32 n = nb_decode_nibbles(block + 2);
  return (nb_w32){wasm_i8x16_swizzle(table, n.q0), wasm_i8x16_swizzle(table, n.q1)};
}

// ---- the tile -----------------------------------------------------------------------------------------------------------------

// 16 activations, as the dot product of a variant wants them.
typedef struct nb_a16 {
  v128_t x, sign, correction;  // the last two only where the variant's nb_prepare_fn sets them
} nb_a16;

typedef nb_a16 nb_prepare_fn(v128_t x);
// Sums of products of 32 weights and activations, spread over four 32-bit lanes in any way.
typedef v128_t nb_dot32_fn(nb_w32 w, nb_a16 a0, nb_a16 a1);

typedef struct nb_rows32 {
  nb_decode32_fn *decode;
  nb_prepare_fn *prepare;
  nb_dot32_fn *dot;
  size_t block_bytes;
  int offset;  // what the decoded bytes are too large by
  bool mins;   // a second half scale follows the first
} nb_rows32;

// The 4 rows of a tile stand a quarter of the range apart, so that its reads are 4 long streams through memory, which machines fetch
// ahead; 4 neighbouring rows are streams as short as a row, at half the speed. Where the last tiles have fewer rows, their last one is
// computed again, not stored.
NB_INLINE size_t nb_rows_apart(size_t row0, size_t row1) { return (row1 - row0 + 3) / 4; }

NB_INLINE void nb_tile32(nb_rows32 k, const uint8_t *const p[4], const nb_act *a, size_t t0, size_t nt, v128_t acc[4]) {
  const size_t blocks = a->cols / 32;
  for (size_t t = 0; t < nt; t++) acc[t] = wasm_f32x4_const(0, 0, 0, 0);
  for (size_t b = 0; b < blocks; b++) {
    const size_t at = b * k.block_bytes;
    const uint8_t *p0 = p[0] + at, *p1 = p[1] + at, *p2 = p[2] + at, *p3 = p[3] + at;
    const nb_w32 w0 = k.decode(p0), w1 = k.decode(p1), w2 = k.decode(p2), w3 = k.decode(p3);
    const v128_t d = nb_f32x4_of_4_halves(p0, p1, p2, p3);
    const v128_t m = k.mins ? nb_f32x4_of_4_halves(p0 + 2, p1 + 2, p2 + 2, p3 + 2) : d;
    for (size_t t = 0; t < nt; t++) {
      const int8_t *q = a->q + (t0 + t) * a->cols + b * 32;
      const int16_t *sums = a->sums + (t0 + t) * (a->cols / 16) + b * 2;
      const nb_a16 a0 = k.prepare(wasm_v128_load(q)), a1 = k.prepare(wasm_v128_load(q + 16));
      const v128_t da = wasm_v128_load32_splat(a->d + (t0 + t) * blocks + b);
      v128_t i = nb_sum4_i32(k.dot(w0, a0, a1), k.dot(w1, a0, a1), k.dot(w2, a0, a1), k.dot(w3, a0, a1));
      if (k.offset) i = wasm_i32x4_sub(i, wasm_i32x4_splat(k.offset * (sums[0] + sums[1])));
      v128_t result = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(i), wasm_f32x4_mul(d, da));
      if (k.mins) result = wasm_f32x4_add(result, wasm_f32x4_mul(wasm_f32x4_splat((float)(sums[0] + sums[1])), wasm_f32x4_mul(m, da)));
      acc[t] = wasm_f32x4_add(acc[t], result);
    }
  }
}

NB_INLINE void nb_matmul_rows32(nb_rows32 k, const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  assert(a->kind == NB_ACT_Q8_32 && a->cols == w->cols && w->cols % 32 == 0 && w->layout == NB_LAYOUT_ROWS);
  const size_t apart = nb_rows_apart(row0, row1);
  for (size_t r = row0; r < row0 + apart; r++) {
    const size_t nr = (row1 - r + apart - 1) / apart;
    const uint8_t *p[4];
    for (size_t i = 0; i < 4; i++) p[i] = w->data + (r + (i < nr ? i : nr - 1) * apart) * w->row_bytes;
    for (size_t t0 = 0; t0 < a->n; t0 += 4) {
      const size_t nt = a->n - t0 < 4 ? a->n - t0 : 4;
      v128_t acc[4];
      if (nt == 1) nb_tile32(k, p, a, t0, 1, acc);
      else nb_tile32(k, p, a, t0, nt, acc);
      for (size_t t = 0; t < nt; t++) {
        float out[4];
        wasm_v128_store(out, acc[t]);
        for (size_t i = 0; i < nr; i++) y[(t0 + t) * ystride + r + i * apart] = out[i];
      }
    }
  }
}

#endif
