// WebAssembly's 128-bit SIMD: the real instructions in wasm builds; natively, where NB_SIMDE is 1, the same intrinsics out of
// SIMDe, so that sanitizers and debuggers see the very code that ships.
//
//   NB_SIMD128   the _simd128 variants exist in this build
//   NB_RELAXED   the _relaxed and _relaxed_i32 variants do too
#ifndef NB_KERNELS_SIMD_H
#define NB_KERNELS_SIMD_H

#if defined(__wasm_simd128__)

#include <wasm_simd128.h>
#define NB_SIMD128 1
#if defined(__wasm_relaxed_simd__)
#define NB_RELAXED 1
#endif

#elif defined(NB_SIMDE) && NB_SIMDE

#define SIMDE_ENABLE_NATIVE_ALIASES
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#endif
#include <simde/wasm/simd128.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
#define NB_SIMD128 1
#define NB_RELAXED 1

#endif

#ifdef NB_SIMD128

#include <stdbool.h>

#define NB_INLINE static inline __attribute__((always_inline))

// *constant in all lanes, for loops: V8 builds a constant it knows anew in every turn, with three instructions, so this one comes from
// memory, through a pointer that compilers know nothing about.
NB_INLINE v128_t nb_splat_from(const void *constant) {
  __asm__("" : "+r"(constant));
  return wasm_v128_load32_splat(constant);
}

#ifdef NB_RELAXED
// Products of 16 signed bytes `a` with 16 bytes `w` of 0..127, neighbours added: 8 sums of 16 bits. Machines differ in what they do
// with w >= 128 (signed or not) and with sums beyond 16 bits (wrapped or clamped), so kernels keep clear of both: then every
// machine gives the same, exact, result.
NB_INLINE v128_t nb_relaxed_dot(v128_t a, v128_t w) {
#if defined(__wasm_relaxed_simd__)
  return wasm_i16x8_relaxed_dot_i8x16_i7x16(a, w);
#else
  // Natively the two extremes can be chosen: NB_RELAXED_MODEL 0 takes w as signed and wraps, 1 takes it as unsigned and clamps.
#ifndef NB_RELAXED_MODEL
#define NB_RELAXED_MODEL 1
#endif
#if NB_RELAXED_MODEL == 0
  const v128_t low = wasm_i16x8_extmul_low_i8x16(a, w), high = wasm_i16x8_extmul_high_i8x16(a, w);
  return wasm_i16x8_add(wasm_i16x8_shuffle(low, high, 0, 2, 4, 6, 8, 10, 12, 14), wasm_i16x8_shuffle(low, high, 1, 3, 5, 7, 9, 11, 13, 15));
#else
  const v128_t low = wasm_i16x8_mul(wasm_i16x8_extend_low_i8x16(a), wasm_u16x8_extend_low_u8x16(w));
  const v128_t high = wasm_i16x8_mul(wasm_i16x8_extend_high_i8x16(a), wasm_u16x8_extend_high_u8x16(w));
  return wasm_i16x8_add_sat(wasm_i16x8_shuffle(low, high, 0, 2, 4, 6, 8, 10, 12, 14), wasm_i16x8_shuffle(low, high, 1, 3, 5, 7, 9, 11, 13, 15));
#endif
#endif
}
#endif

#ifdef NB_RELAXED
// The same products, 4 neighbours added to each of 4 sums of 32 bits.
NB_INLINE v128_t nb_relaxed_dot_add(v128_t a, v128_t w, v128_t sums) {
#if defined(__wasm_relaxed_simd__)
  return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(a, w, sums);
#else
  return wasm_i32x4_add(sums, wasm_i32x4_extadd_pairwise_i16x8(nb_relaxed_dot(a, w)));
#endif
}
#endif

#ifdef NB_RELAXED
// The same where w is any byte, for machines that take it as what `is_signed` says and do not clamp (nb_x8_relaxed_i32_bytes).
NB_INLINE v128_t nb_relaxed_dot_add_bytes(v128_t a, v128_t w, v128_t sums, bool is_signed) {
#if defined(__wasm_relaxed_simd__)
  (void)is_signed;
  return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(a, w, sums);
#else
  const v128_t w0 = is_signed ? wasm_i16x8_extend_low_i8x16(w) : wasm_u16x8_extend_low_u8x16(w);
  const v128_t w8 = is_signed ? wasm_i16x8_extend_high_i8x16(w) : wasm_u16x8_extend_high_u8x16(w);
  const v128_t s0 = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(a), w0), s8 = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(a), w8);
  return wasm_i32x4_add(sums, wasm_i32x4_add(wasm_i32x4_shuffle(s0, s8, 0, 2, 4, 6), wasm_i32x4_shuffle(s0, s8, 1, 3, 5, 7)));
#endif
}
#endif

// ---- sums and conversions -------------------------------------------------------------------------------------------------------

// The sums over the lanes of four vectors, in the lanes of one. Integers.
NB_INLINE v128_t nb_sum4_i32(v128_t a, v128_t b, v128_t c, v128_t d) {
  const v128_t ab = wasm_i32x4_add(wasm_i32x4_shuffle(a, b, 0, 4, 1, 5), wasm_i32x4_shuffle(a, b, 2, 6, 3, 7));
  const v128_t cd = wasm_i32x4_add(wasm_i32x4_shuffle(c, d, 0, 4, 1, 5), wasm_i32x4_shuffle(c, d, 2, 6, 3, 7));
  return wasm_i32x4_add(wasm_i64x2_shuffle(ab, cd, 0, 2), wasm_i64x2_shuffle(ab, cd, 1, 3));
}

// As nb_sum4_i32; a lane's sum is (0+2)+(1+3).
NB_INLINE v128_t nb_sum4_f32(v128_t a, v128_t b, v128_t c, v128_t d) {
  const v128_t ab = wasm_f32x4_add(wasm_i32x4_shuffle(a, b, 0, 4, 1, 5), wasm_i32x4_shuffle(a, b, 2, 6, 3, 7));
  const v128_t cd = wasm_f32x4_add(wasm_i32x4_shuffle(c, d, 0, 4, 1, 5), wasm_i32x4_shuffle(c, d, 2, 6, 3, 7));
  return wasm_f32x4_add(wasm_i64x2_shuffle(ab, cd, 0, 2), wasm_i64x2_shuffle(ab, cd, 1, 3));
}

// Folds 16 partial sums as lanes.h says: s0 holds the sums 0..3, s1 4..7, and so on.
NB_INLINE float nb_fold_f32x4(v128_t s0, v128_t s1, v128_t s2, v128_t s3) {
  const v128_t t = wasm_f32x4_add(wasm_f32x4_add(s0, s2), wasm_f32x4_add(s1, s3));
  const v128_t u = wasm_f32x4_add(t, wasm_i64x2_shuffle(t, t, 1, 1));
  return wasm_f32x4_extract_lane(u, 0) + wasm_f32x4_extract_lane(u, 1);
}

// Halves to floats, as nb_f16_to_f32 in half.h. Moving a half's exponent and mantissa to their places in a float leaves the exponent 112
// too small; adding 112 corrects it for normal halves. Subnormal ones (magnitude below 0x400) are multiples of 2^-24. They must not become
// subnormal floats on the way: this is what processors are slow with, in a model's small scales and weights as in anything else.

// Four halves, each in the upper 16 bits of a lane.
NB_INLINE v128_t nb_f32x4_of_high_halves(v128_t h) {
  const v128_t sign = wasm_v128_and(h, wasm_i32x4_splat((int32_t)0x80000000)), magnitude = wasm_v128_xor(h, sign);
  const v128_t bias = wasm_i32x4_splat(112 << 23), special = wasm_i32x4_ge(magnitude, wasm_i32x4_splat(0x7c000000));  // infinity, NaN
  const v128_t normal = wasm_i32x4_add(wasm_i32x4_add(wasm_u32x4_shr(magnitude, 3), bias), wasm_v128_and(special, bias));
  const v128_t small = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(magnitude), wasm_f32x4_splat(0x1p-40f));
  return wasm_v128_or(wasm_v128_bitselect(small, normal, wasm_i32x4_lt(magnitude, wasm_i32x4_splat(0x04000000))), sign);
}

// Halves 0..3 and 4..7 of a vector of 8.
NB_INLINE v128_t nb_f32x4_of_halves_low(v128_t h) {
  return nb_f32x4_of_high_halves(wasm_i16x8_shuffle(wasm_i16x8_const(0, 0, 0, 0, 0, 0, 0, 0), h, 0, 8, 1, 9, 2, 10, 3, 11));
}

NB_INLINE v128_t nb_f32x4_of_halves_high(v128_t h) {
  return nb_f32x4_of_high_halves(wasm_i16x8_shuffle(wasm_i16x8_const(0, 0, 0, 0, 0, 0, 0, 0), h, 4, 12, 5, 13, 6, 14, 7, 15));
}

// One half scale from each of four places.
NB_INLINE v128_t nb_f32x4_of_4_halves(const uint8_t *p0, const uint8_t *p1, const uint8_t *p2, const uint8_t *p3) {
  v128_t h = wasm_i32x4_const(0, 0, 0, 0);
  h = wasm_v128_load16_lane(p0, h, 1);
  h = wasm_v128_load16_lane(p1, h, 3);
  h = wasm_v128_load16_lane(p2, h, 5);
  h = wasm_v128_load16_lane(p3, h, 7);
  return nb_f32x4_of_high_halves(h);
}

#endif
#endif
