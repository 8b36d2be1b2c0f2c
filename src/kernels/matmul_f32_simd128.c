// Float activations: every type and layout. F32, F16 and BF16 weights are read directly; the others are decoded to floats first, by
// the scalar code: that path is for exact comparisons, not for speed.
#include <assert.h>
#include <stdbool.h>

#include "lanes.h"
#include "pack.h"
#include "simd.h"
#include "variants.h"

#ifdef NB_SIMD128

#define CHUNK 256  // columns decoded at a time: a multiple of every block size and of NB_LANES
#define VECTORS 16  // vectors that share one decoding

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

static __attribute__((noinline)) floats16 load_f16_with_specials(const uint8_t *p) {
  const v128_t a = wasm_v128_load(p), b = wasm_v128_load(p + 16);
  return (floats16){{nb_f32x4_of_halves_low(a), nb_f32x4_of_halves_high(a), nb_f32x4_of_halves_low(b), nb_f32x4_of_halves_high(b)}};
}

// 16 finite halves are moved to their places and multiplied by 2^112; subnormal ones cost what subnormal floats cost.
NB_INLINE floats16 load_f16(const uint8_t *p) {
  const v128_t a = wasm_v128_load(p), b = wasm_v128_load(p + 16), zero = wasm_i16x8_const(0, 0, 0, 0, 0, 0, 0, 0);
  const v128_t greatest = wasm_u16x8_max(wasm_i16x8_shl(a, 1), wasm_i16x8_shl(b, 1));
  if (wasm_v128_any_true(wasm_u16x8_ge(greatest, wasm_i16x8_splat((int16_t)0xf800)))) return load_f16_with_specials(p);
  const v128_t places = wasm_i32x4_splat((int32_t)0x8fffffff), scale = wasm_f32x4_splat(0x1p112f);
  const v128_t h[4] = {wasm_i16x8_shuffle(zero, a, 0, 8, 1, 9, 2, 10, 3, 11), wasm_i16x8_shuffle(zero, a, 4, 12, 5, 13, 6, 14, 7, 15),
                       wasm_i16x8_shuffle(zero, b, 0, 8, 1, 9, 2, 10, 3, 11), wasm_i16x8_shuffle(zero, b, 4, 12, 5, 13, 6, 14, 7, 15)};
  floats16 f;
  for (int i = 0; i < 4; i++) f.v[i] = wasm_f32x4_mul(wasm_v128_and(wasm_i32x4_shr(h[i], 3), places), scale);
  return f;
}

NB_INLINE floats16 load_bf16(const uint8_t *p) {
  const v128_t a = wasm_v128_load(p), b = wasm_v128_load(p + 16), z = wasm_i32x4_const(0, 0, 0, 0);
  return (floats16){{wasm_i16x8_shuffle(z, a, 0, 8, 1, 9, 2, 10, 3, 11), wasm_i16x8_shuffle(z, a, 4, 12, 5, 13, 6, 14, 7, 15),
                     wasm_i16x8_shuffle(z, b, 0, 8, 1, 9, 2, 10, 3, 11), wasm_i16x8_shuffle(z, b, 4, 12, 5, 13, 6, 14, 7, 15)}};
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

NB_INLINE lanes16 zeros(void) {
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

// F16 below 128 times one vector. Widening a number means moving its bits and multiplying by 2^102 (pack.h); here the vector is multiplied
// instead, once for all rows, and every product stays the same number, for activations below 2^25. Chunks of the vector with a greater one
// in them, or with a NaN, take the plain way.
#define F16_CHUNK 4096  // columns
#define F16_ROWS 32     // rows that share a chunk of the vector, their partial sums put aside from one chunk to the next

NB_INLINE v128_t moved_mask(void) {
  static const uint16_t masks[8] = {0x8fff, 0x8fff, 0x8fff, 0x8fff, 0x8fff, 0x8fff, 0x8fff, 0x8fff};
  const void *mask = masks;
  __asm__("" : "+r"(mask));  // loaded, the constant stays in a register: V8 builds others anew at every use
  return wasm_v128_load(mask);
}

// 8 numbers at the place they have in a float.
typedef struct moved8 {
  v128_t v[2];
} moved8;

NB_INLINE moved8 moved(v128_t h, v128_t mask) {
  const v128_t high = wasm_v128_and(wasm_i16x8_shr(h, 3), mask), low = wasm_i16x8_shl(h, 13);
  return (moved8){{wasm_i16x8_shuffle(low, high, 0, 8, 1, 9, 2, 10, 3, 11), wasm_i16x8_shuffle(low, high, 4, 12, 5, 13, 6, 14, 7, 15)}};
}

// Adds the products of n columns, a multiple of 16, of a pair of rows.
NB_INLINE void add_products_below_128(lanes16 sums[2], const uint8_t *pair, const float *scaled, size_t n) {
  const v128_t mask = moved_mask();
  lanes16 s = sums[0], t = sums[1];
  for (size_t c = 0; c < n; c += NB_LANES) {
    for (size_t half = 0; half < 2; half++) {
      const uint8_t *at = pair + 4 * c + 32 * half;
      const moved8 p = moved(wasm_v128_load(at), mask), q = moved(wasm_v128_load(at + 16), mask);
      for (size_t i = 0; i < 2; i++) {
        const v128_t x = wasm_v128_load(scaled + c + 8 * half + 4 * i);
        s.s[2 * half + i] = wasm_f32x4_add(s.s[2 * half + i], wasm_f32x4_mul(p.v[i], x));
        t.s[2 * half + i] = wasm_f32x4_add(t.s[2 * half + i], wasm_f32x4_mul(q.v[i], x));
      }
    }
  }
  sums[0] = s;
  sums[1] = t;
}

// out = x * 2^102. False where that may not be finite.
static bool scale_vector(const float *x, float *out, size_t n) {
  const v128_t magnitude = wasm_i32x4_splat(0x7fffffff), factor = wasm_f32x4_splat(NB_BELOW_128_FACTOR);
  v128_t greatest = wasm_i32x4_const(0, 0, 0, 0);
  for (size_t c = 0; c < n; c += 4) {
    const v128_t v = wasm_v128_load(x + c);
    greatest = wasm_i32x4_max(greatest, wasm_v128_and(v, magnitude));
    wasm_v128_store(out + c, wasm_f32x4_mul(v, factor));
  }
  return !wasm_v128_any_true(wasm_i32x4_ge(greatest, wasm_i32x4_splat(0x4c000000)));  // the bits of 2^25
}

static void one_vector_below_128(const nb_matrix *w, const float *x, float *y, size_t row0, size_t row1) {
  const size_t whole = w->cols / NB_LANES * NB_LANES, rest_n = w->cols - whole;
  float scaled[F16_CHUNK], floats[F16_CHUNK];
  bool scaled_fits = false;
  for (size_t r0 = row0; r0 < row1; r0 += F16_ROWS) {
    const size_t nr = row1 - r0 < F16_ROWS ? row1 - r0 : F16_ROWS, pairs = r0 + nr <= w->rows / 2 * 2 ? nr : nr - 1;
    lanes16 sums[F16_ROWS];
    for (size_t i = 0; i < nr; i++) sums[i] = zeros();
    for (size_t c0 = 0; c0 < whole; c0 += F16_CHUNK) {
      const size_t n = whole - c0 < F16_CHUNK ? whole - c0 : F16_CHUNK;
      if (r0 == row0 || whole > F16_CHUNK) scaled_fits = scale_vector(x + c0, scaled, n);
      size_t i = 0;
      for (; scaled_fits && i < pairs; i += 2) add_products_below_128(sums + i, w->data + (r0 + i) * w->row_bytes + 4 * c0, scaled, n);
      for (; i < nr; i++) {
        nb_decode_scalar(w, r0 + i, c0, n, floats);
        add_products(&sums[i], load_f32, 4, (const uint8_t *)floats, x + c0, n);
      }
    }
    for (size_t i = 0; i < nr; i++) {
      float rest[NB_LANES];
      if (rest_n > 0) nb_decode_scalar(w, r0 + i, whole, rest_n, rest);
      y[r0 + i] = finish(&sums[i], rest, x + whole, rest_n);
    }
  }
}

// Columns c0 .. c0 + n - 1 of one row of a pair; c0 a multiple of 16.
static void decode_below_128(const nb_matrix *w, size_t row, size_t c0, size_t n, float *out) {
  const v128_t mask = moved_mask(), factor = wasm_f32x4_splat(NB_BELOW_128_FACTOR);
  const uint8_t *p = w->data + row / 2 * 2 * w->row_bytes + 4 * c0 + row % 2 * 16;
  const size_t whole = n / NB_LANES * NB_LANES;
  for (size_t c = 0; c < whole; c += NB_BELOW_128_COLS) {
    const moved8 f = moved(wasm_v128_load(p + 4 * c), mask);
    for (int i = 0; i < 2; i++) wasm_v128_store(out + c + 4 * i, wasm_f32x4_mul(f.v[i], factor));
  }
  if (whole < n) nb_decode_scalar(w, row, c0 + whole, n - whole, out + whole);
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
    case NB_TYPE_F16:
      if (w->layout == NB_LAYOUT_ROWS || row >= w->rows / 2 * 2) decode_chunk(load_f16, w, row, c0, n, out);
      else decode_below_128(w, row, c0, n, out);
      return;
    case NB_TYPE_BF16: decode_chunk(load_bf16, w, row, c0, n, out); return;
    default: nb_decode_scalar(w, row, c0, n, out);
  }
}

// Sums of a tile of TILE_ROWS rows and two vectors. The 16 partial sums of a row and a vector are 4 registers, of which a tile would need 32; so the
// columns are gone through four times, each time with those that go to one register of every sum: column 4i .. 4i+3 of every 16.
//
//               x0   x1
//     row 0     s0   s4
//     row 1     s1   s5       a step: 4 loads of weights, 2 of vectors, 8 products
//     row 2     s2   s6
//     row 3     s3   s7
#define TILE_ROWS 4

NB_INLINE void add_products_of_tile(v128_t *sums[TILE_ROWS][2], const float *w, const float *x0, const float *x1, size_t n) {
#if defined(__clang__)
#pragma clang loop unroll(disable)
#endif
  for (size_t i = 0; i < 4; i++) {
    v128_t s[2 * TILE_ROWS];
    for (int r = 0; r < TILE_ROWS; r++) s[r] = sums[r][0][i], s[TILE_ROWS + r] = sums[r][1][i];
    for (size_t c = 4 * i; c < n; c += NB_LANES) {
      const v128_t v0 = wasm_v128_load(x0 + c), v1 = wasm_v128_load(x1 + c);
      for (int r = 0; r < TILE_ROWS; r++) {
        const v128_t f = wasm_v128_load(w + r * CHUNK + c);
        s[r] = wasm_f32x4_add(s[r], wasm_f32x4_mul(f, v0));
        s[TILE_ROWS + r] = wasm_f32x4_add(s[TILE_ROWS + r], wasm_f32x4_mul(f, v1));
      }
    }
    for (int r = 0; r < TILE_ROWS; r++) sums[r][0][i] = s[r], sums[r][1][i] = s[TILE_ROWS + r];
  }
}

// Several vectors share each decoded chunk of TILE_ROWS rows. At the end fewer rows may be left: the others of their tile are not looked at.
static void vectors(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  float weights[TILE_ROWS * CHUNK] = {0};
  for (size_t r0 = row0; r0 < row1; r0 += TILE_ROWS) {
    const size_t nr = row1 - r0 < TILE_ROWS ? row1 - r0 : TILE_ROWS;
    for (size_t t0 = 0; t0 < a->n; t0 += VECTORS) {
      const size_t nt = a->n - t0 < VECTORS ? a->n - t0 : VECTORS;
      lanes16 s[TILE_ROWS][VECTORS + 1];  // one more: an odd last vector goes with itself
      for (size_t r = 0; r < TILE_ROWS; r++)
        for (size_t t = 0; t <= nt; t++) s[r][t] = zeros();
      for (size_t c0 = 0; c0 < w->cols; c0 += CHUNK) {
        const size_t n = w->cols - c0 < CHUNK ? w->cols - c0 : CHUNK, whole = n / NB_LANES * NB_LANES;
        for (size_t r = 0; r < nr; r++) decode(w, r0 + r, c0, n, weights + r * CHUNK);
        for (size_t t = 0; t < nt; t += 2) {
          const float *x = a->x + (t0 + t) * a->cols + c0;
          v128_t *sums[TILE_ROWS][2];
          for (size_t r = 0; r < TILE_ROWS; r++) sums[r][0] = s[r][t].s, sums[r][1] = s[r][t + 1].s;
          add_products_of_tile(sums, weights, x, t + 1 < nt ? x + a->cols : x, whole);
        }
        if (c0 + n < w->cols) continue;
        for (size_t r = 0; r < nr; r++) {
          for (size_t t = 0; t < nt; t++)
            y[(t0 + t) * ystride + r0 + r] = finish(&s[r][t], weights + r * CHUNK + whole, a->x + (t0 + t) * a->cols + c0 + whole, n - whole);
        }
      }
    }
  }
}

void nb_matmul_any_f32_simd128(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  assert(a->kind == NB_ACT_F32 && a->cols == w->cols);
  if (a->n == 1 && w->type == NB_TYPE_F32) one_vector(load_f32, w, a->x, y, row0, row1);
  else if (a->n == 1 && w->type == NB_TYPE_F16 && w->layout == NB_LAYOUT_ROWS) one_vector(load_f16, w, a->x, y, row0, row1);
  else if (a->n == 1 && w->type == NB_TYPE_F16) one_vector_below_128(w, a->x, y, row0, row1);
  else if (a->n == 1 && w->type == NB_TYPE_BF16) one_vector(load_bf16, w, a->x, y, row0, row1);
  else vectors(w, a, y, ystride, row0, row1);
}

#else
typedef int nb_matmul_f32_simd128_unused;
#endif
