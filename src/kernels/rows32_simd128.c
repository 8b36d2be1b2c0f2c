// Blocks of 32 in file order, strict SIMD. Products of bytes are made in 16 bits.
#include "rows32_simd.h"

#ifdef NB_SIMD128

NB_INLINE nb_a16 prepare(v128_t x) { return (nb_a16){.x = x, .sign = x, .correction = x}; }

// 16 products, neighbours 8 apart added: at most 2 * 128 * 127 = 32512.
NB_INLINE v128_t products(v128_t w, v128_t a) { return wasm_i16x8_add(wasm_i16x8_extmul_low_i8x16(w, a), wasm_i16x8_extmul_high_i8x16(w, a)); }

NB_INLINE v128_t dot_5bit(nb_w32 w, nb_a16 a0, nb_a16 a1) {  // at most 4 * 31 * 127 = 15748 in 16 bits
  return wasm_i32x4_extadd_pairwise_i16x8(wasm_i16x8_add(products(w.q0, a0.x), products(w.q1, a1.x)));
}

NB_INLINE v128_t dot_signed(nb_w32 w, nb_a16 a0, nb_a16 a1) {
  return wasm_i32x4_add(wasm_i32x4_extadd_pairwise_i16x8(products(w.q0, a0.x)), wasm_i32x4_extadd_pairwise_i16x8(products(w.q1, a1.x)));
}

void nb_matmul_q4_0_q8_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows32 k = {nb_decode_q4_0, prepare, dot_5bit, sizeof(nb_block_q4_0), 8, false};
  nb_matmul_rows32(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_q4_1_q8_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows32 k = {nb_decode_q4_1, prepare, dot_5bit, sizeof(nb_block_q4_1), 0, true};
  nb_matmul_rows32(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_q5_0_q8_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows32 k = {nb_decode_q5_0, prepare, dot_5bit, sizeof(nb_block_q5_0), 16, false};
  nb_matmul_rows32(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_q5_1_q8_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows32 k = {nb_decode_q5_1, prepare, dot_5bit, sizeof(nb_block_q5_1), 0, true};
  nb_matmul_rows32(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_q8_0_q8_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows32 k = {nb_decode_q8_0, prepare, dot_signed, sizeof(nb_block_q8_0), 0, false};
  nb_matmul_rows32(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_iq4_nl_q8_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows32 k = {nb_decode_iq4_nl, prepare, dot_signed, sizeof(nb_block_iq4_nl), 0, false};
  nb_matmul_rows32(k, w, a, y, ystride, row0, row1);
}

#else
typedef int nb_rows32_simd128_unused;
#endif
