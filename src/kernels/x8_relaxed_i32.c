// Groups of 8 rows, relaxed SIMD with sums in 32 bits: one instruction for 16 products on machines with AVX-VNNI or arm64's DOTPROD, five
// on x64 without, where x8_relaxed.c is the faster. Operands as there; but where the instruction takes any byte, signed (DOTPROD) or not
// (AVX-VNNI), codes of 8 bits are one operand.
#include "x8_simd.h"

#ifdef NB_RELAXED

NB_INLINE nb_x8 spread(v128_t s) { return (nb_x8){wasm_i32x4_extend_low_i16x8(s), wasm_i32x4_extend_high_i16x8(s)}; }

NB_INLINE nb_x8 added(nb_x8 a, nb_x8 b) { return (nb_x8){wasm_i32x4_add(a.r0, b.r0), wasm_i32x4_add(a.r4, b.r4)}; }

NB_INLINE nb_x8 operand(nb_x8 codes, nb_x8_eight eight, const nb_x8_constants *k) {
  return eight == NB_BYTES ? (nb_x8){wasm_v128_xor(codes.r0, k->flip), wasm_v128_xor(codes.r4, k->flip)} : codes;
}

NB_INLINE v128_t dot_add(v128_t a, v128_t w, v128_t sums, nb_x8_eight eight, const nb_x8_constants *k) {
  return eight == NB_BYTES ? nb_relaxed_dot_add_bytes(a, w, sums, wasm_i8x16_extract_lane(k->flip, 0) != 0) : nb_relaxed_dot_add(a, w, sums);
}

// Adds the products of two words of codes (see nb_x8_codes). In the time that one instruction takes, ten can begin that do not wait for
// each other; so a single vector, which has sums for two only, gets two more for the second words.
NB_INLINE void add_step(const nb_x8_format *f, nb_x8_codes w, nb_x8_eight eight, const nb_x8_constants *k, const int8_t *const q[4], size_t nt, int g,
                        nb_x8 sums[4], nb_x8 *second) {
  const nb_x8 wa = operand(w.a, eight, k), wb = operand(w.b, eight, k);
  NB_UNROLL
  for (size_t t = 0; t < nt; t++) {
    const v128_t a = wasm_v128_load32_splat(q[t] + 4 * g);
    sums[t] = (nb_x8){dot_add(a, wa.r0, sums[t].r0, eight, k), dot_add(a, wa.r4, sums[t].r4, eight, k)};
  }
  NB_UNROLL
  for (size_t t = 0; t < nt; t++) {
    const v128_t b = wasm_v128_load32_splat(q[t] + f->span / 2 + 4 * g);
    nb_x8 *s = nt == 1 ? second : &sums[t];
    *s = (nb_x8){dot_add(b, wb.r0, s->r0, eight, k), dot_add(b, wb.r4, s->r4, eight, k)};
  }
}

NB_INLINE void stretch_sums_of(nb_x8_eight eight, const nb_x8_format *f, const nb_x8_constants *k, const uint8_t *stretch, const int8_t *const q[4],
                               size_t nt, nb_x8 scale, nb_x8 total[4]) {
  const v128_t zero = wasm_i32x4_const(0, 0, 0, 0);
  NB_UNROLL
  for (int plane = 0; plane < (f->bits == 8 && eight == NB_IN_PLANES ? 2 : 1); plane++) {
    const nb_x8_plane which = eight == NB_BYTES ? NB_WHOLE : plane ? NB_HIGH : NB_LOW;
    nb_x8 sums[4] = {{zero, zero}, {zero, zero}, {zero, zero}, {zero, zero}}, second = {zero, zero};
    if (f->bits == 6 || (f->bits == 5 && nt == 1)) {
      NB_UNROLL
      for (int g = 0; g < f->span / 8; g++) add_step(f, f->decode(stretch, g, which, k), eight, k, q, nt, g, sums, &second);
    } else {
      NB_ROLL
      for (int g = 0; g < f->span / 8; g++) add_step(f, f->decode(stretch, g, which, k), eight, k, q, nt, g, sums, &second);
    }
    if (nt == 1) sums[0] = added(sums[0], second);
    NB_UNROLL
    for (size_t t = 0; t < nt; t++) {
      if (plane) sums[t] = (nb_x8){wasm_i32x4_shl(sums[t].r0, 4), wasm_i32x4_shl(sums[t].r4, 4)};
      if (f->scales != NB_NO_SCALES) sums[t] = (nb_x8){wasm_i32x4_mul(sums[t].r0, scale.r0), wasm_i32x4_mul(sums[t].r4, scale.r4)};
      total[t] = added(total[t], sums[t]);
    }
  }
}

NB_INLINE void stretch_sums(const nb_x8_format *f, const nb_x8_constants *k, const uint8_t *stretch, const int8_t *const q[4], size_t nt, nb_x8 scale,
                            nb_x8 total[4]) {
  stretch_sums_of(NB_IN_PLANES, f, k, stretch, q, nt, scale, total);
}

NB_INLINE void stretch_sums_bytes(const nb_x8_format *f, const nb_x8_constants *k, const uint8_t *stretch, const int8_t *const q[4], size_t nt,
                                  nb_x8 scale, nb_x8 total[4]) {
  stretch_sums_of(NB_BYTES, f, k, stretch, q, nt, scale, total);
}

// ---- what the engine's instruction does -----------------------------------------------------------------------------------------

// Whether it gives a[i] * w[i], summed by four.
static bool gives(const int8_t a[16], const uint8_t bytes[16], const int w[16]) {
  int32_t sums[4] = {1 << 20, -3, 0, 77}, got[4];
  const int8_t *volatile pa = a;  // nothing is computed beforehand
  wasm_v128_store(got, nb_relaxed_dot_add(wasm_v128_load(pa), wasm_v128_load(bytes), wasm_v128_load(sums)));
  for (int i = 0; i < 16; i++) sums[i / 4] += a[i] * w[i];
  return got[0] == sums[0] && got[1] == sums[1] && got[2] == sums[2] && got[3] == sums[3];
}

bool nb_x8_relaxed_i32_works(void) {
  int8_t a[16];
  uint8_t bytes[16];
  int w[16];
  for (int i = 0; i < 16; i++) {
    a[i] = (int8_t)(i % 3 ? 127 - 9 * i : -127);
    w[i] = bytes[i] = (uint8_t)(i < 8 ? 127 : 5 * i);
  }
  return gives(a, bytes, w);
}

nb_relaxed_bytes nb_x8_relaxed_i32_bytes(void) {
  static const uint8_t bytes[16] = {255, 255, 255, 255, 128, 128, 128, 128, 129, 254, 127, 0, 200, 255, 1, 170};
  bool as_signed = true, as_unsigned = true;
  for (int sign = 0; sign < 4; sign++) {
    int8_t a[16];
    int s[16], u[16];
    for (int i = 0; i < 16; i++) {
      a[i] = (int8_t)((sign >> i % 2 & 1) ? -127 : 127);
      s[i] = (int8_t)bytes[i];
      u[i] = bytes[i];
    }
    as_signed = as_signed && gives(a, bytes, s);
    as_unsigned = as_unsigned && gives(a, bytes, u);
  }
  return as_signed ? NB_X8_SIGNED_BYTES : as_unsigned ? NB_X8_UNSIGNED_BYTES : NB_X8_NO_BYTES;
}

// ---- for all types ----------------------------------------------------------------------------------------------------------------

#define VARIANT ((nb_x8_variant){stretch_sums, spread, NB_IN_PLANES})
NB_X8_MATMUL(nb_matmul_x8_relaxed_i32, VARIANT)

#define BYTES_VARIANT ((nb_x8_variant){stretch_sums_bytes, spread, NB_BYTES})

NB_APART void bytes(bool is_signed, const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  switch (w->type) {
    case NB_TYPE_Q8_0: nb_x8_matmul(BYTES_VARIANT, NB_X8_Q8_0, is_signed, w, a, y, ystride, row0, row1); break;
    case NB_TYPE_IQ4_NL: nb_x8_matmul(BYTES_VARIANT, NB_X8_IQ4_NL, is_signed, w, a, y, ystride, row0, row1); break;
    case NB_TYPE_IQ4_XS: nb_x8_matmul(BYTES_VARIANT, NB_X8_IQ4_XS, is_signed, w, a, y, ystride, row0, row1); break;
    default: nb_matmul_x8_relaxed_i32(w, a, y, ystride, row0, row1);
  }
}

void nb_matmul_x8_relaxed_i32_signed(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  bytes(true, w, a, y, ystride, row0, row1);
}

void nb_matmul_x8_relaxed_i32_unsigned(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  bytes(false, w, a, y, ystride, row0, row1);
}

#else
typedef int nb_x8_relaxed_i32_unused;
#endif
