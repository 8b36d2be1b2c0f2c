// Half-precision conversions: all 65536 halves to float and back, and floats around every rounding boundary.
#include "../../src/base/half.h"

#include <math.h>

#include "check.h"

// The value of a half by its definition, in double arithmetic.
static double half_value(uint16_t h) {
  const int exponent = h >> 10 & 31, mantissa = h & 1023;
  const double sign = h & 0x8000 ? -1 : 1;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  return sign * (exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25));
}

static void every_half_becomes_its_value_and_comes_back(void) {
  for (uint32_t h = 0; h < 0x10000; h++) {
    const float f = nb_f16_to_f32((uint16_t)h);
    const double want = half_value((uint16_t)h);
    CHECK((isnan(want) && isnan(f)) || (double)f == want);
    CHECK((nb_f32_bits(f) >> 31) == h >> 15);
    const uint16_t back = nb_f32_to_f16(f);
    if (isnan(want)) CHECK((back & 0x7c00) == 0x7c00 && (back & 0x3ff) != 0 && back >> 15 == h >> 15);
    else CHECK(back == h);
  }
}

// Between two neighbouring halves: below the middle goes down, above goes up, the middle goes to the even one.
static void floats_round_to_nearest_even(void) {
  for (uint32_t h = 0; h < 0x7bff; h++) {
    const double low = half_value((uint16_t)h), high = half_value((uint16_t)(h + 1));
    const float middle = (float)((low + high) / 2);
    CHECK((double)middle == (low + high) / 2);
    const uint16_t even = (uint16_t)(h & 1 ? h + 1 : h);
    CHECK(nb_f32_to_f16(middle) == even);
    CHECK(nb_f32_to_f16(nextafterf(middle, 0)) == h);
    CHECK(nb_f32_to_f16(nextafterf(middle, INFINITY)) == h + 1);
    CHECK(nb_f32_to_f16(-middle) == (even | 0x8000));
    CHECK(nb_f32_to_f16(-nextafterf(middle, 0)) == (h | 0x8000));
    CHECK(nb_f32_to_f16(-nextafterf(middle, INFINITY)) == ((h + 1) | 0x8000));
  }
}

static void the_ends_of_the_range(void) {
  CHECK(nb_f32_to_f16(65504.0f) == 0x7bff);
  CHECK(nb_f32_to_f16(nextafterf(65520.0f, 0)) == 0x7bff);
  CHECK(nb_f32_to_f16(65520.0f) == 0x7c00);
  CHECK(nb_f32_to_f16(3e38f) == 0x7c00);
  CHECK(nb_f32_to_f16(-INFINITY) == 0xfc00);
  CHECK(nb_f32_to_f16(nb_bits_f32(1)) == 0);
  CHECK(nb_f32_to_f16(nb_bits_f32(0x80000001u)) == 0x8000);
  CHECK(nb_f32_to_f16(nb_bits_f32(0x7f800001u)) > 0x7c00);
  CHECK(nb_f32_to_f16(nb_bits_f32(0xffffffffu)) > 0xfc00);
}

static void bfloat16_is_the_upper_half_of_a_float(void) {
  for (uint32_t h = 0; h < 0x10000; h++) CHECK(nb_f32_bits(nb_bf16_to_f32((uint16_t)h)) == h << 16 || (h & 0x7fff) > 0x7f80);
  CHECK(nb_bf16_to_f32(0x3f80) == 1.0f && nb_bf16_to_f32(0xc000) == -2.0f);
}

int main(void) {
  every_half_becomes_its_value_and_comes_back();
  floats_round_to_nearest_even();
  the_ends_of_the_range();
  bfloat16_is_the_upper_half_of_a_float();
  return check_result();
}
