// exp(x) for floats, in plain multiplications and additions that every variant repeats in the same order.
//
// exp(x) = 2^k * exp(r), k = round(x / ln 2), |r| <= ln(2) / 2; ln 2 in two parts, the first with few enough bits that k times it
// is exact; exp(r) by a polynomial of degree 7 (the Taylor series, whose error at |r| <= 0.347 is below 6e-9, a tenth of an ulp).
// 2^k is applied in two factors, so that subnormal results are rounded once and too large ones become infinity.
#ifndef NB_KERNELS_EXP_H
#define NB_KERNELS_EXP_H

#include <stdint.h>

#include "../base/half.h"

#define NB_EXP_MIN -104.0f             // below: 0
#define NB_EXP_MAX 89.0f               // above 88.73: infinity
#define NB_EXP_LOG2E 1.44269504f
#define NB_EXP_ROUND 12582912.0f       // 1.5 * 2^23: adding it leaves the nearest integer in the low bits of the float
#define NB_EXP_ROUND_BITS 0x4b400000
#define NB_EXP_LN2_HIGH 0.693145752f   // 15 bits (0x3f317200)
#define NB_EXP_LN2_LOW 1.42860677e-6f  // ln 2 - the above
#define NB_EXP_C2 0.5f
#define NB_EXP_C3 0.166666667f
#define NB_EXP_C4 0.0416666667f
#define NB_EXP_C5 0.00833333333f
#define NB_EXP_C6 0.00138888889f
#define NB_EXP_C7 0.000198412698f

// NaN gives NaN.
static inline float nb_exp_inline(float x) {
  x = NB_EXP_MAX < x ? NB_EXP_MAX : x;
  x = x < NB_EXP_MIN ? NB_EXP_MIN : x;
  const float t = x * NB_EXP_LOG2E + NB_EXP_ROUND;
  const float k = t - NB_EXP_ROUND;
  const float r = (x - k * NB_EXP_LN2_HIGH) - k * NB_EXP_LN2_LOW;
  float p = NB_EXP_C7;
  p = p * r + NB_EXP_C6;
  p = p * r + NB_EXP_C5;
  p = p * r + NB_EXP_C4;
  p = p * r + NB_EXP_C3;
  p = p * r + NB_EXP_C2;
  p = (p * (r * r) + r) + 1.0f;
  const int32_t ki = (int32_t)(nb_f32_bits(t) - NB_EXP_ROUND_BITS);
  const int32_t k1 = ki >> 1, k2 = ki - k1;  // arithmetic shift on every compiler this is built with
  const float s1 = nb_bits_f32((uint32_t)(k1 + 127) << 23), s2 = nb_bits_f32((uint32_t)(k2 + 127) << 23);
  return p * s1 * s2;
}

// exp(x) for x <= 0 as attention's weights need it: 0 below -87, so that no result is subnormal and 2^k is a sum of exponents. NaN of NaN.
#define NB_EXP_WEIGHT_MIN -87.0f
static inline float nb_exp_weight(float x) { return x < NB_EXP_WEIGHT_MIN ? 0 : nb_exp_inline(x); }

#endif
