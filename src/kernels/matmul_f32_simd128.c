// Float activations: every type and layout. F32, F16 and BF16 weights are read directly; the others are decoded to floats first, by
// the scalar code: that path is for exact comparisons, not for speed.
#include <assert.h>

#include "lanes.h"
#include "simd.h"
#include "variants.h"

#ifdef NB_SIMD128

#define CHUNK 256  // columns decoded at a time: a multiple of every block size and of NB_LANES
#define VECTORS 4  // vectors that share one decoding

typedef struct lanes16 {
  v128_t s[4];
} lanes16;

// 16 floats from n weights on; nothing is read beyond them.
typedef struct floats16 {
  v128_t v[4];
} floats16;
typedef floats16 load16_fn(const uint8_t *weights);

NB_INLINE floats16 load_f32(const uint8_t *p) {
  return (floats16){{wasm_v128_load(p), wasm_v128_load(p + 16), wasm_v128_load(p + 32), wasm_v128_load(p + 48)}};
}

NB_INLINE floats16 load_f16(const uint8_t *p) {
  const v128_t a = wasm_v128_load(p), b = wasm_v128_load(p + 16);
  return (floats16){{nb_f32x4_of_halves_low(a), nb_f32x4_of_halves_high(a), nb_f32x4_of_halves_low(b), nb_f32x4_of_halves_high(b)}};
}

NB_INLINE floats16 load_bf16(const uint8_t *p) {
  const v128_t a = wasm_v128_load(p), b = wasm_v128_load(p + 16), z = wasm_i32x4_const(0, 0, 0, 0);
  return (floats16){{wasm_i16x8_shuffle(z, a, 0, 8, 0, 9, 0, 10, 0, 11), wasm_i16x8_shuffle(z, a, 0, 12, 0, 13, 0, 14, 0, 15),
                     wasm_i16x8_shuffle(z, b, 0, 8, 0, 9, 0, 10, 0, 11), wasm_i16x8_shuffle(z, b, 0, 12, 0, 13, 0, 14, 0, 15)}};
}

// Adds n products to 16 partial sums; n a multiple of 16.
NB_INLINE void add_products(lanes16 *lanes, load16_fn *load, size_t weight_bytes, const uint8_t *w, const float *x, size_t n) {
  lanes16 s = *lanes;
  for (size_t c = 0; c < n; c += NB_LANES) {
    const floats16 f = load(w + c * weight_bytes);
    for (int i = 0; i < 4; i++) s.s[i] = wasm_f32x4_add(s.s[i], wasm_f32x4_mul(f.v[i], wasm_v128_load(x + c + 4 * i)));
  }
  *lanes = s;
}

// The last columns, fewer than 16, one by one; then the sum.
static float finish(const lanes16 *lanes, const float *w, const float *x, size_t n) {
  if (n == 0) return nb_fold_f32x4(lanes->s[0], lanes->s[1], lanes->s[2], lanes->s[3]);
  float s[NB_LANES];
  for (int i = 0; i < 4; i++) wasm_v128_store(s + 4 * i, lanes->s[i]);
  for (size_t c = 0; c < n; c++) s[c] += w[c] * x[c];
  return nb_fold_lanes(s);
}

static const lanes16 zeros(void) {
  const v128_t z = wasm_f32x4_const(0, 0, 0, 0);
  return (lanes16){{z, z, z, z}};
}

// One vector: weights go straight from memory into the sums.
NB_INLINE void one_vector(load16_fn *load, const nb_matrix *w, const float *x, float *y, size_t row0, size_t row1) {
  const size_t whole = w->cols / NB_LANES * NB_LANES;
  for (size_t r = row0; r < row1; r++) {
    lanes16 s = zeros();
    add_products(&s, load, w->row_bytes / w->cols, w->data + r * w->row_bytes, x, whole);
    float rest[NB_LANES];
    if (whole < w->cols) nb_decode_scalar(w, r, whole, w->cols - whole, rest);
    y[r] = finish(&s, rest, x + whole, w->cols - whole);
  }
}

NB_INLINE void decode_chunk(load16_fn *load, const nb_matrix *w, size_t row, size_t c0, size_t n, float *out) {
  const size_t whole = n / NB_LANES * NB_LANES, weight_bytes = w->row_bytes / w->cols;
  const uint8_t *p = w->data + row * w->row_bytes + c0 * weight_bytes;
  for (size_t c = 0; c < whole; c += NB_LANES) {
    const floats16 f = load(p + c * weight_bytes);
    for (int i = 0; i < 4; i++) wasm_v128_store(out + c + 4 * i, f.v[i]);
  }
  if (whole < n) nb_decode_scalar(w, row, c0 + whole, n - whole, out + whole);
}

static void decode(const nb_matrix *w, size_t row, size_t c0, size_t n, float *out) {
  switch (w->type) {
    case NB_TYPE_F16: decode_chunk(load_f16, w, row, c0, n, out); return;
    case NB_TYPE_BF16: decode_chunk(load_bf16, w, row, c0, n, out); return;
    default: nb_decode_scalar(w, row, c0, n, out);
  }
}

// Several vectors share each decoded chunk.
static void vectors(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  float weights[CHUNK];
  for (size_t r = row0; r < row1; r++) {
    for (size_t t0 = 0; t0 < a->n; t0 += VECTORS) {
      const size_t nt = a->n - t0 < VECTORS ? a->n - t0 : VECTORS;
      lanes16 s[VECTORS];
      for (size_t t = 0; t < nt; t++) s[t] = zeros();
      for (size_t c0 = 0; c0 < w->cols; c0 += CHUNK) {
        const size_t n = w->cols - c0 < CHUNK ? w->cols - c0 : CHUNK, whole = n / NB_LANES * NB_LANES;
        decode(w, r, c0, n, weights);
        for (size_t t = 0; t < nt; t++) {
          const float *x = a->x + (t0 + t) * a->cols + c0;
          add_products(&s[t], load_f32, sizeof(float), (const uint8_t *)weights, x, whole);
          if (c0 + n == w->cols) y[(t0 + t) * ystride + r] = finish(&s[t], weights + whole, x + whole, n - whole);
        }
      }
    }
  }
}

void nb_matmul_any_f32_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  assert(a->kind == NB_ACT_F32 && a->cols == w->cols);
  if (a->n == 1 && w->type == NB_TYPE_F32) one_vector(load_f32, w, a->x, y, row0, row1);
  else if (a->n == 1 && w->type == NB_TYPE_F16) one_vector(load_f16, w, a->x, y, row0, row1);
  else if (a->n == 1 && w->type == NB_TYPE_BF16) one_vector(load_bf16, w, a->x, y, row0, row1);
  else vectors(w, a, y, ystride, row0, row1);
}

#else
typedef int nb_matmul_f32_simd128_unused;
#endif
