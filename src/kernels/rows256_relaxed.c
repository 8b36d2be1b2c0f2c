// Blocks of 256 in file order, relaxed SIMD. The weights are in 0..127 as the relaxed dot product needs it.
#include "rows256_simd.h"

#ifdef NB_RELAXED

NB_INLINE v128_t dot(v128_t w, v128_t a) { return nb_relaxed_dot(a, w); }  // at most 2 * 7 * 127

void nb_matmul_q2_k_q8_relaxed(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_q2_k, dot, sizeof(nb_block_q2_k), offsetof(nb_block_q2_k, d), 0, true};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_q3_k_q8_relaxed(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_q3_k, dot, sizeof(nb_block_q3_k), offsetof(nb_block_q3_k, d), 4, false};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

#else
typedef int nb_rows256_relaxed_unused;
#endif
