#include "encode_32.h"

#include <assert.h>
#include <math.h>

#include "../kernels/unpack.h"
#include "blocks.h"

nb_levels nb_levels_32(nb_type type) {
  switch (type) {
    case NB_TYPE_Q4_0: return (nb_levels){.lo = -8, .hi = 7, .first = 3.5f, .last = 10, .step = 0.125f, .fine = 0.22f};
    case NB_TYPE_Q4_1: return (nb_levels){.lo = 0, .hi = 15, .first = -0.5f, .last = 3, .step = 0.5f};
    case NB_TYPE_Q5_0: return (nb_levels){.lo = -16, .hi = 15, .first = 9, .last = 18, .step = 0.125f, .fine = 0.12f};
    case NB_TYPE_Q5_1: return (nb_levels){.lo = 0, .hi = 31, .first = -0.5f, .last = 5, .step = 0.5f};
    case NB_TYPE_Q8_0: return (nb_levels){.lo = -127, .hi = 127, .first = 100, .last = 128, .step = 0.25f, .fine = 0.02f};
    case NB_TYPE_IQ4_NL: return (nb_levels){.lo = -127, .hi = 113, .table = true, .first = 60, .last = 158, .step = 2, .fine = 0.015f};
    default: assert(!"a type with blocks of 32"); return (nb_levels){0};
  }
}

// The scale that brings the number of largest magnitude to the lowest level (its sign is the scale's, but where levels are even), or the smallest
// number to the lowest level and the largest to the highest.
static nb_line plain_line(const nb_levels *levels, bool mins, const float *x) {
  float top = x[0], lo = x[0], hi = x[0];
  for (int i = 0; i < 32; i++) {
    top = fabsf(x[i]) > fabsf(top) ? x[i] : top;
    lo = x[i] < lo ? x[i] : lo;
    hi = x[i] > hi ? x[i] : hi;
  }
  if (mins) return (nb_line){nb_half_round((hi - lo) / levels->hi), nb_half_round(lo), 0};
  return (nb_line){nb_half_round(levels->lo == -levels->hi ? fabsf(top) / levels->hi : top / levels->lo), 0, 0};
}

static nb_line searched_line(const nb_levels *levels, bool mins, const float *x, const float *w) {
  if (mins) return nb_search_line(levels, x, w, 32, true, false);
  const nb_line plus = nb_search_scale(levels, x, w, 32, 1, true);
  if (levels->lo == -levels->hi) return plus;
  const nb_line minus = nb_search_scale(levels, x, w, 32, -1, true);
  return minus.error < plus.error ? minus : plus;
}

void nb_encode_32(nb_type type, bool search, const float *x, const float *w, void *block) {
  const nb_levels levels = nb_levels_32(type);
  const bool mins = nb_has_mins(type);
  const nb_line line = search ? searched_line(&levels, mins, x, w) : plain_line(&levels, mins, x);
  nb_codes32 codes = {.d = nb_half_bits(line.d), .m = nb_half_bits(line.m)};
  // Under a scale of 0 every level is the same: that of 0 is what other encoders write.
  const float inverse = line.d != 0 ? 1.0f / line.d : 0;
  for (int i = 0; i < 32; i++) codes.q[i] = nb_level_code(&levels, (x[i] - line.m) * inverse);
  nb_block_put_32(type, &codes, block);
}
