// The library's exp against the C library's in doubles, over its whole range.
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

int main(void) {
  exp_is_within_2_ulp();
  exp_is_within_2_ulp_where_the_exponent_changes();
  exp_has_its_ends();
  exp_never_falls();
  return check_result();
}
