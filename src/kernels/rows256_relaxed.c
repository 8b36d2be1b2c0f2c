// Blocks of 256 in file order, relaxed SIMD. Weights of up to 6 bits are in 0..127 as the relaxed dot product needs it; for IQ4_XS see
// rows32_relaxed.c.
#include "rows256_simd.h"

#ifdef NB_RELAXED

#include "signs_relaxed.h"

NB_INLINE nb_a16 prepare(v128_t x) { return (nb_a16){.x = x, .sign = x, .correction = x}; }

NB_INLINE v128_t dot_unsigned(v128_t w, nb_a16 a) { return nb_relaxed_dot(a.x, w); }  // at most 2 * 63 * 127 = 16002

void nb_matmul_q2_k_q8_relaxed(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_q2_k, prepare, dot_unsigned, sizeof(nb_block_q2_k), offsetof(nb_block_q2_k, d), 0, true, false};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_q3_k_q8_relaxed(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_q3_k, prepare, dot_unsigned, sizeof(nb_block_q3_k), offsetof(nb_block_q3_k, d), 4, false, false};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_q4_k_q8_relaxed(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_q4_k, prepare, dot_unsigned, sizeof(nb_block_q4_k), 0, 0, true, true};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_q5_k_q8_relaxed(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_q5_k, prepare, dot_unsigned, sizeof(nb_block_q5_k), 0, 0, true, true};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_q6_k_q8_relaxed(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_q6_k, prepare, dot_unsigned, sizeof(nb_block_q6_k), offsetof(nb_block_q6_k, d), 32, false, false};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

void nb_matmul_iq4_xs_q8_relaxed(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  const nb_rows256 k = {nb_decode_iq4_xs, nb_prepare_signs, nb_dot_signed, sizeof(nb_block_iq4_xs), 0, 0, false, false};
  nb_matmul_rows256(k, w, a, y, ystride, row0, row1);
}

#else
typedef int nb_rows256_relaxed_unused;
#endif
