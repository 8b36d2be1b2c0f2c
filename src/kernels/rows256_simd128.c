// Blocks of 256 in file order, strict SIMD. Products of bytes are made in 16 bits.
#include "rows256_simd.h"

#ifdef NB_SIMD128

NB_INLINE nb_a16 prepare(v128_t x) { return (nb_a16){.x = x, .sign = x, .correction = x}; }

// 16 products, neighbours 8 apart added: at most 2 * 127 * 127 = 32258; for two of 5 bits 4 * 31 * 127 = 15748.
NB_INLINE v128_t dot(v128_t w, nb_a16 a) { return wasm_i16x8_add(wasm_i16x8_extmul_low_i8x16(w, a.x), wasm_i16x8_extmul_high_i8x16(w, a.x)); }

void nb_matmul_q2_k_q8_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_q2_k, prepare, dot, sizeof(nb_block_q2_k), offsetof(nb_block_q2_k, d), 0, true, false};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_q3_k_q8_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_q3_k, prepare, dot, sizeof(nb_block_q3_k), offsetof(nb_block_q3_k, d), 4, false, false};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_q4_k_q8_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_q4_k, prepare, dot, sizeof(nb_block_q4_k), 0, 0, true, true};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_q5_k_q8_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_q5_k, prepare, dot, sizeof(nb_block_q5_k), 0, 0, true, true};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_q6_k_q8_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_q6_k, prepare, dot, sizeof(nb_block_q6_k), offsetof(nb_block_q6_k, d), 32, false, false};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_iq4_xs_q8_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_iq4_xs, prepare, dot, sizeof(nb_block_iq4_xs), 0, 0, false, false};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

#else
typedef int nb_rows256_simd128_unused;
#endif
