// The only place that chooses a variant of a kernel.
#include <assert.h>

#include "variants.h"

void nb_dequantize_row(const nb_matrix *w, size_t row, float *y) { nb_decode_scalar(w, row, 0, w->cols, y); }

void nb_quantize_act(nb_act *a, const float *x) { nb_quantize_act_scalar(a, x); }

static nb_matmul_fn *matmul_of(nb_type type, nb_layout layout, nb_act_kind act) {
  (void)type;
  (void)layout;
  switch (act) {
    case NB_ACT_Q8_32: return nb_matmul_block32_q8_scalar;
    case NB_ACT_Q8_256: return nb_matmul_block256_q8_scalar;
    case NB_ACT_F32: break;
  }
  return nb_matmul_any_f32_scalar;
}

void nb_matmul(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  assert(a->kind == NB_ACT_F32 || a->kind == nb_act_kind_of(w->type));
  assert(row0 <= row1 && row1 <= w->rows && (row0 % 8 == 0 || row0 == w->rows) && (row1 % 8 == 0 || row1 == w->rows));
  matmul_of(w->type, w->layout, a->kind)(w, a, y, ystride, row0, row1);
}

void nb_rms_norm(float *y, const float *x, const float *w, size_t n, float eps) { nb_rms_norm_scalar(y, x, w, n, eps); }

void nb_add(float *y, const float *x, size_t n) { nb_add_scalar(y, x, n); }

void nb_swiglu(float *gate, const float *up, size_t n) { nb_swiglu_scalar(gate, up, n); }

void nb_softmax(float *x, size_t n) { nb_softmax_scalar(x, n); }

void nb_rope(float *x, size_t n_heads, size_t head_dim, size_t n_rot, nb_rope_order order, const float *cos_sin) {
  nb_rope_scalar(x, n_heads, head_dim, n_rot, order, cos_sin);
}

void nb_f32_to_f16_row(uint16_t *y, const float *x, size_t n) { nb_f32_to_f16_row_scalar(y, x, n); }

void nb_attention(float *out, const float *q, const uint16_t *k, const uint16_t *v, size_t kv_stride, size_t n_heads, size_t n_kv_heads,
                  size_t head_dim, size_t first, size_t n, float scale, float *scratch) {
  nb_attention_scalar(out, q, k, v, kv_stride, n_heads, n_kv_heads, head_dim, first, n, scale, scratch);
}
