// The library's exp against the C library's in doubles, over its whole range.
#include "../../src/kernels/exp_simd.h"
#include "../../src/kernels/variants.h"
#include "check.h"
#include "kernels_util.h"

// Distance in units of the last place of a float near `want`; those of subnormals are 2^-149.
static double ulps_off(float got, double want) {
  int exponent;
  frexp(want, &exponent);
  return fabs(got - want) / ldexp(1, exponent - 24 < -149 ? -149 : exponent - 24);
}

static double worst_between(float from, float to, int steps) {
  double worst = 0;
  for (int i = 0; i <= steps; i++) {
    const float x = from + (to - from) * (float)i / (float)steps;
    worst = fmax(worst, ulps_off(nb_exp(x), exp(x)));
  }
  return worst;
}

static void exp_is_within_2_ulp(void) {
  const double large = worst_between(-87.0f, 88.7f, 300000), small = worst_between(-1.0f, 1.0f, 200000), subnormal = worst_between(-104.0f, -87.0f, 100000);
  printf("exp: worst error %.3f ulp, %.3f in -1 .. 1, %.3f where results are subnormal\n", large, small, subnormal);
  CHECK(large <= 2 && small <= 2 && subnormal <= 2);
}

// Around every multiple of ln 2 / 2, where the exponent changes, float by float.
static void exp_is_within_2_ulp_where_the_exponent_changes(void) {
  for (int k = -300; k <= 255; k++) {
    float x = (float)(k * 0.34657359027997264);
    for (int i = 0; i < 20; i++) x = nextafterf(x, -INFINITY);
    for (int i = 0; i < 40; i++, x = nextafterf(x, INFINITY)) CHECK(ulps_off(nb_exp(x), exp(x)) <= 2);
  }
}

static void exp_has_its_ends(void) {
  CHECK(nb_exp(0.0f) == 1 && nb_exp(-0.0f) == 1);
  CHECK(nb_exp(1e-45f) == 1 && nb_exp(-1e-45f) == 1);
  CHECK(nb_exp(-INFINITY) == 0 && nb_exp(-1e30f) == 0 && nb_exp(-104.01f) == 0);
  CHECK(nb_exp(-103.0f) > 0);
  CHECK(isfinite(nb_exp(88.72f)));
  CHECK(isinf(nb_exp(88.8f)) && isinf(nb_exp(1e30f)) && isinf(nb_exp(INFINITY)));
  CHECK(isnan(nb_exp(NAN)) && isnan(nb_exp(-NAN)));
}

static void exp_never_falls(void) {
  float last = 0;
  for (int i = 0; i <= 400000; i++) {
    const float y = nb_exp(-104.5f + 194.0f * (float)i / 400000.0f);
    CHECK(y >= last);
    last = y;
  }
}

// Weights of attention: exp for x <= 0, but for results that would be subnormal; vectors the same bits, every 97th float of them.
static void weights_are_exp_without_subnormals(void) {
  CHECK(nb_exp_weight(0) == 1 && nb_exp_weight(-87) == nb_exp(-87) && nb_exp_weight(-87.00001f) == 0 && nb_exp_weight(-INFINITY) == 0 && isnan(nb_exp_weight(NAN)));
#ifdef NB_SIMD128
  float x[16], got[16];
  uint32_t bits = 0x80000000u, wrong = 0;
  for (bool last = false; !last;) {
    for (int i = 0; i < 16; i++, bits += 97) x[i] = nb_bits_f32(bits > 0xff800000u ? 0x7fc00000u : bits);  // NaN after -infinity
    last = bits > 0xff800000u;
    v128_t v[4];
    for (int j = 0; j < 4; j++) v[j] = wasm_v128_load(x + 4 * j);
    nb_exp_weights(v);
    for (int j = 0; j < 4; j++) wasm_v128_store(got + 4 * j, v[j]);
    for (int i = 0; i < 16; i++) wrong += !same_float(got[i], nb_exp_weight(x[i]));
  }
  CHECK(wrong == 0);
#endif
}

int main(void) {
  exp_is_within_2_ulp();
  exp_is_within_2_ulp_where_the_exponent_changes();
  exp_has_its_ends();
  exp_never_falls();
  weights_are_exp_without_subnormals();
  return check_result();
}
