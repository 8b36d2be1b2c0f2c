// Weights with blocks of 256 in file order (NB_LAYOUT_ROWS), times int8 activations: what the strict and the relaxed variant share. For
// Q2_K and Q3_K, which have no packed layout.
//
// A tile is 4 rows by up to 4 vectors. The 4 blocks of a block column are decoded to bytes once (on the stack: 1 KiB) and multiplied
// with each vector; the last widening to 32 bits multiplies by the part's scale.
#ifndef NB_KERNELS_ROWS256_SIMD_H
#define NB_KERNELS_ROWS256_SIMD_H

#include <assert.h>
#include <stdbool.h>

#include <stddef.h>

#include "simd.h"
#include "unpack.h"
#include "variants.h"

// One block: q is the weight plus the type's offset, 0..7; scale and min for each 16 weights.
typedef struct nb_w256 {
  v128_t q[16];
  int16_t scale[16], min[16];
} nb_w256;

typedef void nb_decode256_fn(const uint8_t *block, nb_w256 *out);

// Stores 16 bytes, signed or not, as 16 numbers of 16 bits.
NB_INLINE void nb_store_signed(int16_t out[16], v128_t bytes) {
  wasm_v128_store(out, wasm_i16x8_extend_low_i8x16(bytes));
  wasm_v128_store(out + 8, wasm_i16x8_extend_high_i8x16(bytes));
}

// Moves bit `from` of each byte to bit `to` and clears the others. Shifts act on 16 bits: what crosses into the neighbour is cleared.
NB_INLINE v128_t nb_move_bit(v128_t v, int from, int to) {
  const v128_t moved = from <= to ? wasm_i16x8_shl(v, (uint32_t)(to - from)) : wasm_u16x8_shr(v, (uint32_t)(from - to));
  return wasm_v128_and(moved, wasm_i8x16_splat((int8_t)(1 << to)));
}

NB_INLINE void nb_decode_q2_k(const uint8_t *block, nb_w256 *out) {
  const nb_block_q2_k *b = (const nb_block_q2_k *)block;
  const v128_t s = wasm_v128_load(b->scales), low = wasm_i8x16_splat(15), three = wasm_i8x16_splat(3);
  nb_store_signed(out->scale, wasm_v128_and(s, low));
  nb_store_signed(out->min, wasm_v128_and(wasm_u16x8_shr(s, 4), low));
  for (int i = 0; i < 4; i++) {  // 16 bytes hold 4 times 16 columns, 32 columns apart
    const v128_t v = wasm_v128_load(b->qs + 16 * i);
    v128_t *q = out->q + i / 2 * 8 + i % 2;
    q[0] = wasm_v128_and(v, three);
    q[2] = wasm_v128_and(wasm_u16x8_shr(v, 2), three);
    q[4] = wasm_v128_and(wasm_u16x8_shr(v, 4), three);
    q[6] = wasm_v128_and(wasm_u16x8_shr(v, 6), three);
  }
}

// Offset 4.
NB_INLINE void nb_decode_q3_k(const uint8_t *block, nb_w256 *out) {
  const nb_block_q3_k *b = (const nb_block_q3_k *)block;
  uint32_t s[3];
  memcpy(s, b->scales, sizeof s);
  const v128_t low = wasm_i32x4_make((int32_t)s[0], (int32_t)s[1], (int32_t)(s[0] >> 4), (int32_t)(s[1] >> 4));
  const v128_t high = wasm_i32x4_make((int32_t)(s[2] << 4), (int32_t)(s[2] << 2), (int32_t)s[2], (int32_t)(s[2] >> 2));
  const v128_t six = wasm_v128_or(wasm_v128_and(low, wasm_i8x16_splat(15)), wasm_v128_and(high, wasm_i8x16_splat(48)));
  nb_store_signed(out->scale, wasm_i8x16_sub(six, wasm_i8x16_splat(32)));
  const v128_t three = wasm_i8x16_splat(3);
  for (int i = 0; i < 2; i++) {
    const v128_t h = wasm_v128_load(b->hmask + 16 * i), v0 = wasm_v128_load(b->qs + 16 * i), v1 = wasm_v128_load(b->qs + 32 + 16 * i);
    v128_t *q = out->q + i;
    q[0] = wasm_v128_or(wasm_v128_and(v0, three), nb_move_bit(h, 0, 2));
    q[2] = wasm_v128_or(wasm_v128_and(wasm_u16x8_shr(v0, 2), three), nb_move_bit(h, 1, 2));
    q[4] = wasm_v128_or(wasm_v128_and(wasm_u16x8_shr(v0, 4), three), nb_move_bit(h, 2, 2));
    q[6] = wasm_v128_or(wasm_v128_and(wasm_u16x8_shr(v0, 6), three), nb_move_bit(h, 3, 2));
    q[8] = wasm_v128_or(wasm_v128_and(v1, three), nb_move_bit(h, 4, 2));
    q[10] = wasm_v128_or(wasm_v128_and(wasm_u16x8_shr(v1, 2), three), nb_move_bit(h, 5, 2));
    q[12] = wasm_v128_or(wasm_v128_and(wasm_u16x8_shr(v1, 4), three), nb_move_bit(h, 6, 2));
    q[14] = wasm_v128_or(wasm_v128_and(wasm_u16x8_shr(v1, 6), three), nb_move_bit(h, 7, 2));
  }
}

// ---- the tile -----------------------------------------------------------------------------------------------------------------

// Sums of products of 16 weights and activations in eight 16-bit lanes.
typedef v128_t nb_dot16_fn(v128_t w, v128_t a);

typedef struct nb_rows256 {
  nb_decode256_fn *decode;
  nb_dot16_fn *dot;
  size_t block_bytes, d_at;
  int offset;  // what the decoded bytes are too large by
  bool mins;   // min is set, and dmin's half scale follows d's
} nb_rows256;

// The 4 rows of a tile stand a quarter of the range apart, so that its reads are 4 long streams through memory, which machines fetch
// ahead; 4 neighbouring rows are streams as short as a row, at half the speed. Where the last tiles have fewer rows, their last one is
// computed again, not stored.
NB_INLINE size_t nb_rows_apart(size_t row0, size_t row1) { return (row1 - row0 + 3) / 4; }

// Sum over the 16 parts of factor * sum of activations, spread over the lanes.
NB_INLINE v128_t nb_dot_sums(const int16_t factor[16], v128_t sums0, v128_t sums1) {
  return wasm_i32x4_add(wasm_i32x4_dot_i16x8(wasm_v128_load(factor), sums0), wasm_i32x4_dot_i16x8(wasm_v128_load(factor + 8), sums1));
}

NB_INLINE void nb_tile256(nb_rows256 k, const uint8_t *const p[4], const nb_act *a, size_t t0, size_t nt, v128_t acc[4]) {
  const size_t blocks = a->cols / 256;
  nb_w256 w[4];
  for (size_t t = 0; t < nt; t++) acc[t] = wasm_f32x4_const(0, 0, 0, 0);
  for (size_t b = 0; b < blocks; b++) {
    const size_t at = b * k.block_bytes, d_at = at + k.d_at;
    for (int r = 0; r < 4; r++) k.decode(p[r] + at, &w[r]);
    const v128_t d = nb_f32x4_of_4_halves(p[0] + d_at, p[1] + d_at, p[2] + d_at, p[3] + d_at);
    const v128_t dmin = k.mins ? nb_f32x4_of_4_halves(p[0] + d_at + 2, p[1] + d_at + 2, p[2] + d_at + 2, p[3] + d_at + 2) : d;
    for (size_t t = 0; t < nt; t++) {
      const int8_t *q = a->q + (t0 + t) * a->cols + b * 256;
      const int16_t *sums = a->sums + (t0 + t) * (a->cols / 16) + b * 16;
      const v128_t da = wasm_v128_load32_splat(a->d + (t0 + t) * blocks + b);
      v128_t i[4];
      for (int r = 0; r < 4; r++) i[r] = wasm_i32x4_const(0, 0, 0, 0);
      for (int j = 0; j < 16; j++) {
        const v128_t x = wasm_v128_load(q + 16 * j);
        for (int r = 0; r < 4; r++) i[r] = wasm_i32x4_add(i[r], wasm_i32x4_dot_i16x8(k.dot(w[r].q[j], x), wasm_v128_load16_splat(&w[r].scale[j])));
      }
      const v128_t sums0 = wasm_v128_load(sums), sums1 = wasm_v128_load(sums + 8);
      if (k.offset) {
        for (int r = 0; r < 4; r++) i[r] = wasm_i32x4_sub(i[r], wasm_i32x4_mul(nb_dot_sums(w[r].scale, sums0, sums1), wasm_i32x4_splat(k.offset)));
      }
      v128_t result = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(nb_sum4_i32(i[0], i[1], i[2], i[3])), wasm_f32x4_mul(d, da));
      if (k.mins) {
        const v128_t s = nb_sum4_i32(nb_dot_sums(w[0].min, sums0, sums1), nb_dot_sums(w[1].min, sums0, sums1),
                                     nb_dot_sums(w[2].min, sums0, sums1), nb_dot_sums(w[3].min, sums0, sums1));
        result = wasm_f32x4_sub(result, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(s), wasm_f32x4_mul(dmin, da)));
      }
      acc[t] = wasm_f32x4_add(acc[t], result);
    }
  }
}

NB_INLINE void nb_matmul_rows256(nb_rows256 k, const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  assert(a->kind == NB_ACT_Q8_256 && a->cols == w->cols && w->cols % 256 == 0 && w->layout == NB_LAYOUT_ROWS);
  const size_t apart = nb_rows_apart(row0, row1);
  for (size_t r = row0; r < row0 + apart; r++) {
    const size_t nr = (row1 - r + apart - 1) / apart;
    const uint8_t *p[4];
    for (size_t i = 0; i < 4; i++) p[i] = w->data + (r + (i < nr ? i : nr - 1) * apart) * w->row_bytes;
    for (size_t t0 = 0; t0 < a->n; t0 += 4) {
      const size_t nt = a->n - t0 < 4 ? a->n - t0 : 4;
      v128_t acc[4];
      nb_tile256(k, p, a, t0, nt, acc);
      for (size_t t = 0; t < nt; t++) {
        float out[4];
        wasm_v128_store(out, acc[t]);
        for (size_t i = 0; i < nr; i++) y[(t0 + t) * ystride + r + i * apart] = out[i];
      }
    }
  }
}

#endif
