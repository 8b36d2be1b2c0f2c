// Norm, activation function, softmax, rotation, conversion of rows, strict SIMD. The numbers that do not fill a vector at the end of
// a row go through a padded one, or through the scalar code.
#include <assert.h>
#include <math.h>

#include "exp_simd.h"
#include "lanes.h"
#include "variants.h"

#ifdef NB_SIMD128

// Folds the partial sums of n / 16 * 16 numbers after adding those of the last ones: rest[i] belongs to sum i.
static float fold_with_rest(const v128_t s[4], const float *rest, size_t n) {
  if (n == 0) return nb_fold_f32x4(s[0], s[1], s[2], s[3]);
  float lanes[NB_LANES];
  for (int i = 0; i < 4; i++) wasm_v128_store(lanes + 4 * i, s[i]);
  for (size_t i = 0; i < n; i++) lanes[i] += rest[i];
  return nb_fold_lanes(lanes);
}

void nb_rms_norm_simd128(float *y, const float *x, const float *w, size_t n, float eps) {
  const v128_t zero = wasm_f32x4_const(0, 0, 0, 0);
  v128_t s[4] = {zero, zero, zero, zero};
  const size_t whole = n / NB_LANES * NB_LANES;
  for (size_t i = 0; i < whole; i += NB_LANES) {
    for (int j = 0; j < 4; j++) {
      const v128_t v = wasm_v128_load(x + i + 4 * j);
      s[j] = wasm_f32x4_add(s[j], wasm_f32x4_mul(v, v));
    }
  }
  float rest[NB_LANES] = {0};
  for (size_t i = whole; i < n; i++) rest[i - whole] = x[i] * x[i];
  const float scale = 1.0f / sqrtf(fold_with_rest(s, rest, n - whole) / (float)n + eps);
  const v128_t scales = wasm_f32x4_splat(scale);
  size_t i = 0;
  for (; i + 4 <= n; i += 4) wasm_v128_store(y + i, wasm_f32x4_mul(wasm_f32x4_mul(wasm_v128_load(x + i), scales), wasm_v128_load(w + i)));
  for (; i < n; i++) y[i] = x[i] * scale * w[i];
}

void nb_add_simd128(float *y, const float *x, size_t n) {
  size_t i = 0;
  for (; i + 4 <= n; i += 4) wasm_v128_store(y + i, wasm_f32x4_add(wasm_v128_load(y + i), wasm_v128_load(x + i)));
  for (; i < n; i++) y[i] += x[i];
}

void nb_swiglu_simd128(float *gate, const float *up, size_t n) {
  const v128_t one = wasm_f32x4_splat(1.0f);
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const v128_t g = wasm_v128_load(gate + i);
    const v128_t silu = wasm_f32x4_div(g, wasm_f32x4_add(one, nb_exp_f32x4(wasm_f32x4_neg(g))));
    wasm_v128_store(gate + i, wasm_f32x4_mul(silu, wasm_v128_load(up + i)));
  }
  nb_swiglu_scalar(gate + i, up + i, n - i);
}

void nb_softmax_simd128(float *x, size_t n) {
  v128_t tops = wasm_f32x4_splat(x[0]);
  size_t i = 0;
  for (; i + 4 <= n; i += 4) tops = wasm_f32x4_pmax(tops, wasm_v128_load(x + i));
  float top[4], max = x[0];
  wasm_v128_store(top, tops);
  for (int j = 0; j < 4; j++) max = max < top[j] ? top[j] : max;
  for (; i < n; i++) max = max < x[i] ? x[i] : max;

  const v128_t zero = wasm_f32x4_const(0, 0, 0, 0), maxes = wasm_f32x4_splat(max);
  v128_t s[4] = {zero, zero, zero, zero};
  const size_t whole = n / NB_LANES * NB_LANES;
  for (i = 0; i < whole; i += NB_LANES) {
    for (int j = 0; j < 4; j++) {
      const v128_t e = nb_exp_f32x4(wasm_f32x4_sub(wasm_v128_load(x + i + 4 * j), maxes));
      wasm_v128_store(x + i + 4 * j, e);
      s[j] = wasm_f32x4_add(s[j], e);
    }
  }
  for (; i < n; i++) x[i] = nb_exp_inline(x[i] - max);
  const float inverse = 1.0f / fold_with_rest(s, x + whole, n - whole);
  const v128_t inverses = wasm_f32x4_splat(inverse);
  for (i = 0; i + 4 <= n; i += 4) wasm_v128_store(x + i, wasm_f32x4_mul(wasm_v128_load(x + i), inverses));
  for (; i < n; i++) x[i] *= inverse;
}

// a * c - b * s and a * s + b * c for 4 pairs.
typedef struct pairs {
  v128_t a, b;
} pairs;

NB_INLINE pairs rotate(pairs p, const float *cos_sin) {
  const v128_t t0 = wasm_v128_load(cos_sin), t1 = wasm_v128_load(cos_sin + 4);
  const v128_t c = wasm_i32x4_shuffle(t0, t1, 0, 2, 4, 6), s = wasm_i32x4_shuffle(t0, t1, 1, 3, 5, 7);
  return (pairs){wasm_f32x4_sub(wasm_f32x4_mul(p.a, c), wasm_f32x4_mul(p.b, s)), wasm_f32x4_add(wasm_f32x4_mul(p.a, s), wasm_f32x4_mul(p.b, c))};
}

void nb_rope_simd128(float *x, size_t n_heads, size_t head_dim, size_t n_rot, nb_rope_order order, const float *cos_sin) {
  assert(n_rot % 2 == 0 && n_rot <= head_dim);
  const size_t n_pairs = n_rot / 2;
  if (n_pairs % 4 != 0) {
    nb_rope_scalar(x, n_heads, head_dim, n_rot, order, cos_sin);
    return;
  }
  for (size_t h = 0; h < n_heads; h++, x += head_dim) {
    for (size_t i = 0; i < n_pairs; i += 4) {
      if (order == NB_ROPE_NEOX) {
        const pairs p = rotate((pairs){wasm_v128_load(x + i), wasm_v128_load(x + n_pairs + i)}, cos_sin + 2 * i);
        wasm_v128_store(x + i, p.a);
        wasm_v128_store(x + n_pairs + i, p.b);
      } else {
        float *v = x + 2 * i;
        const v128_t v0 = wasm_v128_load(v), v1 = wasm_v128_load(v + 4);
        const pairs p = rotate((pairs){wasm_i32x4_shuffle(v0, v1, 0, 2, 4, 6), wasm_i32x4_shuffle(v0, v1, 1, 3, 5, 7)}, cos_sin + 2 * i);
        wasm_v128_store(v, wasm_i32x4_shuffle(p.a, p.b, 0, 4, 1, 5));
        wasm_v128_store(v + 4, wasm_i32x4_shuffle(p.a, p.b, 2, 6, 3, 7));
      }
    }
  }
}

// Four halves in the low 16 bits of the lanes: the three cases of nb_f32_to_f16 side by side, then the right one.
NB_INLINE v128_t halves_of_f32x4(v128_t f) {
  const v128_t magnitude = wasm_v128_and(f, wasm_i32x4_splat(0x7fffffff)), sign = wasm_v128_and(wasm_u32x4_shr(f, 16), wasm_i32x4_splat(0x8000));
  const v128_t odd = wasm_v128_and(wasm_u32x4_shr(magnitude, 13), wasm_i32x4_splat(1));
  const v128_t normal = wasm_u32x4_shr(wasm_i32x4_add(wasm_i32x4_sub(magnitude, wasm_i32x4_splat(0x38000000 - 0xfff)), odd), 13);
  const v128_t half = wasm_f32x4_splat(0.5f), subnormal = wasm_i32x4_sub(wasm_f32x4_add(magnitude, half), half);
  const v128_t nan = wasm_v128_or(wasm_i32x4_splat(0x7e00), wasm_v128_and(wasm_u32x4_shr(magnitude, 13), wasm_i32x4_splat(0x3ff)));
  v128_t h = wasm_v128_bitselect(subnormal, normal, wasm_i32x4_lt(magnitude, wasm_i32x4_splat(0x38800000)));
  h = wasm_v128_bitselect(wasm_i32x4_splat(0x7c00), h, wasm_i32x4_ge(magnitude, wasm_i32x4_splat(0x477ff000)));
  h = wasm_v128_bitselect(nan, h, wasm_i32x4_gt(magnitude, wasm_i32x4_splat(0x7f800000)));
  return wasm_v128_or(h, sign);
}

void nb_f32_to_f16_row_simd128(uint16_t *y, const float *x, size_t n) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    wasm_v128_store(y + i, wasm_u16x8_narrow_i32x4(halves_of_f32x4(wasm_v128_load(x + i)), halves_of_f32x4(wasm_v128_load(x + i + 4))));
  }
  nb_f32_to_f16_row_scalar(y + i, x + i, n - i);
}

#else
typedef int nb_rows_simd128_unused;
#endif
