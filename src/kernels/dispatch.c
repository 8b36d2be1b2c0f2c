// The only place that chooses a variant of a kernel: the fastest that the build has.
#include <assert.h>

#include "simd.h"
#include "variants.h"

#if defined(NB_SIMD128)
#define BEST(name) name##_simd128
#else
#define BEST(name) name##_scalar
#endif

#if defined(NB_RELAXED)
#define BEST_Q8(name, scalar) name##_relaxed
#elif defined(NB_SIMD128)
#define BEST_Q8(name, scalar) name##_simd128
#else
#define BEST_Q8(name, scalar) scalar
#endif

// In the packed layout there are two relaxed variants; which is the faster depends on the machine.
#if defined(NB_RELAXED)
static nb_matmul_fn *x8_kernel = nb_matmul_x8_relaxed;
#define BEST_X8(scalar) x8_kernel
#else
#define BEST_X8(scalar) BEST_Q8(nb_matmul_x8, scalar)
#endif

bool nb_matmul_sums_in_32(bool on) {
#if defined(NB_RELAXED)
  if (!nb_x8_relaxed_i32_works()) return false;
  x8_kernel = nb_matmul_x8_relaxed;
  if (on) {
    switch (nb_x8_relaxed_i32_bytes()) {
      case NB_X8_SIGNED_BYTES: x8_kernel = nb_matmul_x8_relaxed_i32_signed; break;
      case NB_X8_UNSIGNED_BYTES: x8_kernel = nb_matmul_x8_relaxed_i32_unsigned; break;
      case NB_X8_NO_BYTES: x8_kernel = nb_matmul_x8_relaxed_i32; break;
    }
  }
  return true;
#else
  (void)on;
  return false;
#endif
}

bool nb_matmul_sums_in_32_faster(void) {
#if defined(NB_RELAXED)
  return nb_x8_relaxed_i32_works() && nb_x8_relaxed_i32_bytes() != NB_X8_NO_BYTES;
#else
  return false;
#endif
}

static nb_matmul_fn *specification_of(nb_type type) {
  return nb_act_kind_of(type) == NB_ACT_Q8_32 ? nb_matmul_block32_q8_scalar : nb_matmul_block256_q8_scalar;
}

// Types times int8 activations in file order. Those with a packed layout are so only in matrices of less than 8 rows.
static nb_matmul_fn *rows_kernel_of(nb_type type) {
  switch (type) {
    case NB_TYPE_Q2_K: return BEST_Q8(nb_matmul_q2_k_q8, specification_of(type));
    case NB_TYPE_Q3_K: return BEST_Q8(nb_matmul_q3_k_q8, specification_of(type));
    default: return specification_of(type);
  }
}

void nb_matmul(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  assert(row0 <= row1 && row1 <= w->rows && (row0 % 8 == 0 || row0 == w->rows) && (row1 % 8 == 0 || row1 == w->rows));
  if (a->kind == NB_ACT_F32) {
    BEST(nb_matmul_any_f32)(w, a, y, ystride, row0, row1);
    return;
  }
  assert(a->kind == nb_act_kind_of(w->type));
  if (w->layout == NB_LAYOUT_ROWS) {
    rows_kernel_of(w->type)(w, a, y, ystride, row0, row1);
    return;
  }
  // The rows beyond the last group of 8 are in file order: up to 7 of a whole matrix, which the specification is fast enough for.
  const size_t grouped = w->rows / 8 * 8, end = row1 < grouped ? row1 : grouped;
  if (row0 < end) BEST_X8(specification_of(w->type))(w, a, y, ystride, row0, end);
  if (end < row1) specification_of(w->type)(w, a, y, ystride, row0 < end ? end : row0, row1);
}

void nb_dequantize_row(const nb_matrix *w, size_t row, float *y) { nb_decode_scalar(w, row, 0, w->cols, y); }

void nb_quantize_act(nb_act *a, const float *x) { BEST(nb_quantize_act)(a, x); }

void nb_rms_norm(float *y, const float *x, const float *w, size_t n, float eps) { BEST(nb_rms_norm)(y, x, w, n, eps); }

void nb_add(float *y, const float *x, size_t n) { BEST(nb_add)(y, x, n); }

void nb_swiglu(float *gate, const float *up, size_t n) { BEST(nb_swiglu)(gate, up, n); }

void nb_softmax(float *x, size_t n) { BEST(nb_softmax)(x, n); }

void nb_rope(float *x, size_t n_heads, size_t head_dim, size_t n_rot, nb_rope_order order, const float *cos_sin) {
  BEST(nb_rope)(x, n_heads, head_dim, n_rot, order, cos_sin);
}

void nb_f32_to_f16_row(uint16_t *y, const float *x, size_t n) { BEST(nb_f32_to_f16_row)(y, x, n); }

void nb_attention_unit(const nb_attention_call *c, size_t unit, float *scratch) { BEST(nb_attention_unit)(c, unit, scratch); }
