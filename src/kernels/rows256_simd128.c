// Blocks of 256 in file order, strict SIMD. Products of bytes are made in 16 bits.
#include "rows256_simd.h"

#ifdef NB_SIMD128

// 16 products, neighbours 8 apart added: at most 2 * 7 * 127.
NB_INLINE v128_t dot(v128_t w, v128_t a) { return wasm_i16x8_add(wasm_i16x8_extmul_low_i8x16(w, a), wasm_i16x8_extmul_high_i8x16(w, a)); }

void nb_matmul_q2_k_q8_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_q2_k, dot, sizeof(nb_block_q2_k), offsetof(nb_block_q2_k, d), 0, true};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_q3_k_q8_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_q3_k, dot, sizeof(nb_block_q3_k), offsetof(nb_block_q3_k, d), 4, false};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

#else
typedef int nb_rows256_simd128_unused;
#endif
