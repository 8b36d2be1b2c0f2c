// Every variant of every kernel. dispatch.c chooses among them; the tests call them side by side. Contracts stand in kernels.h.
//
// A name ends in the variant: _scalar is the specification, _simd128 strict SIMD, _relaxed and _relaxed_i32 use relaxed SIMD with sums of
// products in 16 or in 32 bits, which changes speed and never results. In builds without SIMD only the scalar ones exist.
#ifndef NB_KERNELS_VARIANTS_H
#define NB_KERNELS_VARIANTS_H

#include "kernels.h"

// ---- weights to floats --------------------------------------------------------------------------------------------------------

// y[0 .. n-1] = columns c0 .. c0 + n - 1 of a row; c0 and n are multiples of the type's block size.
void nb_decode_scalar(const nb_matrix *w, size_t row, size_t c0, size_t n, float *y);

// ---- matrix times vectors -----------------------------------------------------------------------------------------------------

// The signature and contract of nb_matmul. Each takes only the types, layout and activations that its name tells.
typedef void nb_matmul_fn(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1);

nb_matmul_fn nb_matmul_any_f32_scalar;      // every type and layout, NB_ACT_F32
nb_matmul_fn nb_matmul_block32_q8_scalar;   // every type with blocks of 32, every layout, NB_ACT_Q8_32
nb_matmul_fn nb_matmul_block256_q8_scalar;  // every type with blocks of 256, every layout, NB_ACT_Q8_256

nb_matmul_fn nb_matmul_any_f32_simd128;

// NB_LAYOUT_ROWS, of the types that have no other
nb_matmul_fn nb_matmul_q2_k_q8_simd128, nb_matmul_q2_k_q8_relaxed;
nb_matmul_fn nb_matmul_q3_k_q8_simd128, nb_matmul_q3_k_q8_relaxed;

// NB_LAYOUT_X8: every type that has it, with the activations of the type; whole groups of rows only
nb_matmul_fn nb_matmul_x8_simd128, nb_matmul_x8_relaxed, nb_matmul_x8_relaxed_i32;
// The last with codes of 8 bits as one operand; for machines of this sort.
nb_matmul_fn nb_matmul_x8_relaxed_i32_signed, nb_matmul_x8_relaxed_i32_unsigned;

// Whether the engine computes the instruction of nb_matmul_x8_relaxed_i32 as it must. V8 did not while relaxed SIMD was an experiment
// (seen in Node 20).
bool nb_x8_relaxed_i32_works(void);
// What it does with bytes of 128 and more as its second operand, which WebAssembly leaves to the machine, the same in all of an
// environment: x64 with AVX-VNNI takes them as they are, arm64 as signed; x64 without clamps sums of two to 16 bits on the way, so that
// there is no use for them.
typedef enum nb_relaxed_bytes { NB_X8_NO_BYTES, NB_X8_SIGNED_BYTES, NB_X8_UNSIGNED_BYTES } nb_relaxed_bytes;
nb_relaxed_bytes nb_x8_relaxed_i32_bytes(void);

// ---- the rest -----------------------------------------------------------------------------------------------------------------

void nb_quantize_act_scalar(nb_act *a, const float *x);
void nb_rms_norm_scalar(float *y, const float *x, const float *w, size_t n, float eps);
void nb_add_scalar(float *y, const float *x, size_t n);
void nb_swiglu_scalar(float *gate, const float *up, size_t n);
void nb_softmax_scalar(float *x, size_t n);
void nb_rope_scalar(float *x, size_t n_heads, size_t head_dim, size_t n_rot, nb_rope_order order, const float *cos_sin);
void nb_f32_to_f16_row_scalar(uint16_t *y, const float *x, size_t n);
void nb_attention_unit_scalar(const nb_attention_call *c, size_t unit, float *scratch);

void nb_quantize_act_simd128(nb_act *a, const float *x);
void nb_rms_norm_simd128(float *y, const float *x, const float *w, size_t n, float eps);
void nb_add_simd128(float *y, const float *x, size_t n);
void nb_swiglu_simd128(float *gate, const float *up, size_t n);
void nb_softmax_simd128(float *x, size_t n);
void nb_rope_simd128(float *x, size_t n_heads, size_t head_dim, size_t n_rot, nb_rope_order order, const float *cos_sin);
void nb_f32_to_f16_row_simd128(uint16_t *y, const float *x, size_t n);
void nb_attention_unit_simd128(const nb_attention_call *c, size_t unit, float *scratch);

#endif
