// Q4_0 in groups of 8 interleaved rows (pack.h) times int8 activations: what the strict and the relaxed variant share.
//
// Rows stand in the lanes from the first product on: a vector of weight bytes holds one word of 4 rows, and is multiplied with the
// matching 4 activations repeated. A tile is 8 rows by up to 4 vectors.
#ifndef NB_KERNELS_X8_Q4_0_SIMD_H
#define NB_KERNELS_X8_Q4_0_SIMD_H

#include <assert.h>

#include "pack.h"
#include "simd.h"
#include "variants.h"

typedef struct nb_x8 {
  v128_t r0, r4;  // rows 0..3 and 4..7
} nb_x8;

// For each of nt vectors, from q on with `stride` bytes from one to the next: the sums of products of the unsigned weights (0..15)
// of one packed block, in 16-bit lanes: 2 lanes a row. The sums of a row are at most 32 * 15 * 127 = 60960, those of a lane half
// of that, so they fit.
typedef void nb_x8_block_fn(const uint8_t *words, const int8_t *q, size_t stride, size_t nt, nb_x8 sums[4]);

NB_INLINE void nb_x8_tile(nb_x8_block_fn *block, const uint8_t *group, const nb_act *a, size_t t0, size_t nt, nb_x8 acc[4]) {
  const size_t blocks = a->cols / 32;
  for (size_t t = 0; t < nt; t++) acc[t].r0 = acc[t].r4 = wasm_f32x4_const(0, 0, 0, 0);
  for (size_t b = 0; b < blocks; b++, group += NB_X8_Q4_0_BYTES) {
    nb_x8 sums[4];
    block(group + NB_X8_Q4_0_WORDS, a->q + t0 * a->cols + b * 32, a->cols, nt, sums);
    const v128_t halves = wasm_v128_load(group);
    const v128_t d0 = nb_f32x4_of_halves_low(halves), d4 = nb_f32x4_of_halves_high(halves);
    for (size_t t = 0; t < nt; t++) {
      const int16_t *s = a->sums + (t0 + t) * (a->cols / 16) + b * 2;
      const v128_t da = wasm_v128_load32_splat(a->d + (t0 + t) * blocks + b), offset = wasm_i32x4_splat(8 * (s[0] + s[1]));
      const v128_t i0 = wasm_i32x4_sub(wasm_i32x4_extadd_pairwise_i16x8(sums[t].r0), offset);
      const v128_t i4 = wasm_i32x4_sub(wasm_i32x4_extadd_pairwise_i16x8(sums[t].r4), offset);
      acc[t].r0 = wasm_f32x4_add(acc[t].r0, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(i0), wasm_f32x4_mul(d0, da)));
      acc[t].r4 = wasm_f32x4_add(acc[t].r4, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(i4), wasm_f32x4_mul(d4, da)));
    }
  }
}

NB_INLINE void nb_matmul_x8_q4_0(nb_x8_block_fn *block, const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  assert(a->kind == NB_ACT_Q8_32 && a->cols == w->cols && w->layout == NB_LAYOUT_X8 && row0 % 8 == 0 && row1 % 8 == 0);
  for (size_t r = row0; r < row1; r += NB_X8_ROWS) {
    const uint8_t *group = w->data + r * w->row_bytes;
    for (size_t t0 = 0; t0 < a->n; t0 += 4) {
      const size_t nt = a->n - t0 < 4 ? a->n - t0 : 4;
      nb_x8 acc[4];
      switch (nt) {  // the count is a constant in each copy, so that the accumulators stay in registers
        case 1: nb_x8_tile(block, group, a, t0, 1, acc); break;
        case 2: nb_x8_tile(block, group, a, t0, 2, acc); break;
        case 3: nb_x8_tile(block, group, a, t0, 3, acc); break;
        default: nb_x8_tile(block, group, a, t0, 4, acc); break;
      }
      for (size_t t = 0; t < nt; t++) {
        float *out = y + (t0 + t) * ystride + r;
        wasm_v128_store(out, acc[t].r0);
        wasm_v128_store(out + 4, acc[t].r4);
      }
    }
  }
}

#endif
