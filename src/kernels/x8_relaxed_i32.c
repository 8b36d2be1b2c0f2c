// Groups of 8 rows, relaxed SIMD with sums in 32 bits: one instruction for 16 products on machines with AVX-VNNI or arm64's DOTPROD, five
// on x64 without, where x8_relaxed.c is the faster. Operands as there.
#include "x8_simd.h"

#ifdef NB_RELAXED

NB_INLINE nb_x8 spread(v128_t s) { return (nb_x8){wasm_i32x4_extend_low_i16x8(s), wasm_i32x4_extend_high_i16x8(s)}; }

// Adds the products of two words of codes (see nb_x8_codes).
NB_INLINE void add_step(const nb_x8_format *f, nb_x8_codes w, const int8_t *const q[4], size_t nt, int g, nb_x8 sums[4]) {
  NB_UNROLL
  for (size_t t = 0; t < nt; t++) {
    const v128_t a = wasm_v128_load32_splat(q[t] + 4 * g), b = wasm_v128_load32_splat(q[t] + f->span / 2 + 4 * g);
    sums[t].r0 = nb_relaxed_dot_add(b, w.b.r0, nb_relaxed_dot_add(a, w.a.r0, sums[t].r0));
    sums[t].r4 = nb_relaxed_dot_add(b, w.b.r4, nb_relaxed_dot_add(a, w.a.r4, sums[t].r4));
  }
}

NB_INLINE void stretch_sums(const nb_x8_format *f, const nb_x8_constants *k, const uint8_t *stretch, const int8_t *const q[4], size_t nt, nb_x8 scale,
                            nb_x8 total[4]) {
  const v128_t zero = wasm_i32x4_const(0, 0, 0, 0);
  NB_UNROLL
  for (int plane = 0; plane < (f->bits == 8 ? 2 : 1); plane++) {
    nb_x8 sums[4] = {{zero, zero}, {zero, zero}, {zero, zero}, {zero, zero}};
    if (nt == 1 || f->bits == 6) {
      NB_UNROLL
      for (int g = 0; g < f->span / 8; g++) add_step(f, f->decode(stretch, g, plane ? NB_HIGH : NB_LOW, k), q, nt, g, sums);
    } else {
      NB_ROLL
      for (int g = 0; g < f->span / 8; g++) add_step(f, f->decode(stretch, g, plane ? NB_HIGH : NB_LOW, k), q, nt, g, sums);
    }
    NB_UNROLL
    for (size_t t = 0; t < nt; t++) {
      if (plane) sums[t] = (nb_x8){wasm_i32x4_shl(sums[t].r0, 4), wasm_i32x4_shl(sums[t].r4, 4)};
      if (f->scales != NB_NO_SCALES) sums[t] = (nb_x8){wasm_i32x4_mul(sums[t].r0, scale.r0), wasm_i32x4_mul(sums[t].r4, scale.r4)};
      total[t] = (nb_x8){wasm_i32x4_add(total[t].r0, sums[t].r0), wasm_i32x4_add(total[t].r4, sums[t].r4)};
    }
  }
}

bool nb_x8_relaxed_i32_works(void) {
  int8_t a[16], w[16];
  int32_t sums[4] = {1 << 20, -3, 0, 77}, got[4];
  for (int i = 0; i < 16; i++) {
    a[i] = (int8_t)(i % 3 ? 127 - 9 * i : -127);
    w[i] = (int8_t)(i < 8 ? 127 : 5 * i);
  }
  const int8_t *volatile pa = a;
  wasm_v128_store(got, nb_relaxed_dot_add(wasm_v128_load(pa), wasm_v128_load(w), wasm_v128_load(sums)));
  bool right = true;
  for (int i = 0; i < 16; i++) sums[i / 4] += a[i] * w[i];
  for (int i = 0; i < 4; i++) right = right && got[i] == sums[i];
  return right;
}

int32_t nb_x8_relaxed_work(bool sums_in_32, uint32_t n) {
  static const uint8_t codes[8][16] = {{1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}};
  const uint8_t (*volatile any)[16] = codes;  // nothing is computed beforehand
  const uint8_t (*w)[16] = any;
  const v128_t one = wasm_i8x16_splat(1);
  v128_t a = one, sums[8];
  for (int i = 0; i < 8; i++) sums[i] = one;
  if (sums_in_32) {
    for (; n > 0; n--, a = wasm_i8x16_add(a, one)) {
      NB_UNROLL
      for (int i = 0; i < 8; i++) sums[i] = nb_relaxed_dot_add(a, wasm_v128_load(w[i]), sums[i]);
    }
  } else {
    for (; n > 0; n--, a = wasm_i8x16_add(a, one)) {
      NB_UNROLL
      for (int i = 0; i < 8; i++) sums[i] = wasm_i16x8_add(sums[i], nb_relaxed_dot(a, wasm_v128_load(w[i])));
    }
  }
  for (int i = 1; i < 8; i++) sums[0] = wasm_v128_xor(sums[0], sums[i]);
  return wasm_i32x4_extract_lane(sums[0], 0);
}

#define VARIANT ((nb_x8_variant){stretch_sums, spread, true})
NB_X8_MATMUL(nb_matmul_x8_relaxed_i32, VARIANT)

#else
typedef int nb_x8_relaxed_i32_unused;
#endif
