// Every variant of every kernel. dispatch.c chooses among them; the tests call them side by side. Contracts stand in kernels.h.
//
// A name ends in the variant: _scalar is the specification, _simd128 strict SIMD, _relaxed uses relaxed SIMD, which changes speed
// and never results.
#ifndef NB_KERNELS_VARIANTS_H
#define NB_KERNELS_VARIANTS_H

#include "kernels.h"

// ---- weights to floats --------------------------------------------------------------------------------------------------------

// y[0 .. n-1] = columns c0 .. c0 + n - 1 of a row; c0 and n are multiples of the type's block size.
void nb_decode_scalar(const nb_matrix *w, size_t row, size_t c0, size_t n, float *y);

// ---- matrix times vectors -----------------------------------------------------------------------------------------------------

// The signature and contract of nb_matmul. Each takes only the types, layout and activations that its name tells.
typedef void nb_matmul_fn(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1);

nb_matmul_fn nb_matmul_any_f32_scalar;       // every type and layout, NB_ACT_F32
nb_matmul_fn nb_matmul_block32_q8_scalar;    // every type with blocks of 32, every layout, NB_ACT_Q8_32
nb_matmul_fn nb_matmul_block256_q8_scalar;   // every type with blocks of 256, NB_ACT_Q8_256

// ---- the rest -----------------------------------------------------------------------------------------------------------------

void nb_quantize_act_scalar(nb_act *a, const float *x);
void nb_rms_norm_scalar(float *y, const float *x, const float *w, size_t n, float eps);
void nb_add_scalar(float *y, const float *x, size_t n);
void nb_swiglu_scalar(float *gate, const float *up, size_t n);
void nb_softmax_scalar(float *x, size_t n);
void nb_rope_scalar(float *x, size_t n_heads, size_t head_dim, size_t n_rot, nb_rope_order order, const float *cos_sin);
void nb_f32_to_f16_row_scalar(uint16_t *y, const float *x, size_t n);
void nb_attention_scalar(float *out, const float *q, const uint16_t *k, const uint16_t *v, size_t kv_stride, size_t n_heads,
                         size_t n_kv_heads, size_t head_dim, size_t first, size_t n, float scale, float *scratch);

#endif
