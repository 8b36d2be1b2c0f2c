#include "search.h"

#include <math.h>

#include "../kernels/unpack.h"

enum { POLISH = 12 };  // rounds of "nearest levels, then the best scale for them"; two or three are usual

static const int8_t TABLE[16] = NB_IQ4_TABLE;
static const float MIDDLE[15] = {-115.5f, -93.5f, -74, -57, -42, -28.5f, -16, -4.5f, 7, 19, 31.5f, 45.5f, 61, 79, 101};  // between the entries

static inline float nearest_entry(float v) {
  float q = (float)TABLE[0];
  for (int k = 0; k < 15; k++) q += v > MIDDLE[k] ? (float)(TABLE[k + 1] - TABLE[k]) : 0.0f;
  return q;
}

uint8_t nb_level_code(const nb_levels *levels, float v) {
  if (!levels->table) return (uint8_t)(nb_round_within(v, levels->lo, levels->hi) - levels->lo);
  uint8_t code = 0;
  for (int k = 0; k < 15; k++) code = (uint8_t)(code + (v > MIDDLE[k]));
  return code;
}

float nb_level_value(const nb_levels *levels, uint8_t code) { return levels->table ? (float)TABLE[code] : levels->lo + (float)code; }

// ---- sums over a group: 4 partial sums (number i goes to i mod 4), folded (0+2)+(1+3) --------------------------------------------
// Written for compilers to make SIMD of: sizes are constants where these are called.

static inline float fold(const float s[4]) { return (s[0] + s[2]) + (s[1] + s[3]); }

static inline nb_sums sums_of(bool table, float lo, float hi, const float *x, const float *w, int n, float d, float m) {
  const float inverse = 1.0f / d;
  float level[32], rest[32];
  for (int i = 0; i < n; i++) {
    const float v = x[i] - m;
    level[i] = table ? nearest_entry(v * inverse) : nb_round_within(v * inverse, lo, hi);
    rest[i] = v - d * level[i];
  }
  float rr[4] = {0}, rq[4] = {0}, qq[4] = {0}, r[4] = {0}, q[4] = {0};
  for (int i = 0; i < n; i += 4) {
    for (int l = 0; l < 4; l++) {
      const float wr = w[i + l] * rest[i + l], wq = w[i + l] * level[i + l];
      rr[l] += wr * rest[i + l];
      rq[l] += wr * level[i + l];
      qq[l] += wq * level[i + l];
      r[l] += wr;
      q[l] += wq;
    }
  }
  return (nb_sums){fold(rr), fold(rq), fold(qq), fold(r), fold(q)};
}

nb_sums nb_sums_at(const nb_levels *levels, const float *x, const float *w, int n, float d, float m) {
  if (levels->table) return sums_of(true, levels->lo, levels->hi, x, w, 32, d, m);
  if (n == 16) return sums_of(false, levels->lo, levels->hi, x, w, 16, d, m);
  return sums_of(false, levels->lo, levels->hi, x, w, 32, d, m);
}

static inline float error_of(bool table, float lo, float hi, const float *x, const float *w, int n, float d, float m) {
  const float inverse = 1.0f / d;
  float rr[4] = {0};
  for (int i = 0; i < n; i += 4) {
    for (int l = 0; l < 4; l++) {
      const float v = x[i + l] - m, level = table ? nearest_entry(v * inverse) : nb_round_within(v * inverse, lo, hi), rest = v - d * level;
      rr[l] += w[i + l] * rest * rest;
    }
  }
  return fold(rr);
}

static float flat_error(const float *x, const float *w, int n, float m) {
  float rr[4] = {0};
  for (int i = 0; i < n; i++) rr[i % 4] += w[i] * (x[i] - m) * (x[i] - m);
  return fold(rr);
}

float nb_error_at(const nb_levels *levels, const float *x, const float *w, int n, float d, float m) {
  if (d == 0) return flat_error(x, w, n, m);
  if (levels->table) return error_of(true, levels->lo, levels->hi, x, w, 32, d, m);
  if (n == 16) return error_of(false, levels->lo, levels->hi, x, w, 16, d, m);
  return error_of(false, levels->lo, levels->hi, x, w, 32, d, m);
}

static float total(const float *w, int n) {
  float s[4] = {0};
  for (int i = 0; i < n; i++) s[i % 4] += w[i];
  return fold(s);
}

// ---- a scale --------------------------------------------------------------------------------------------------------------------

// The levels that are nearest under the scale d, then the scale that is best for these levels. Keeps it in *best where it is better.
static void try_scale(const nb_levels *levels, const float *x, const float *w, int n, float d, bool half, nb_line *best) {
  if (half) {
    const float nearest = nb_half_round(d);
    d = nearest != 0 ? nearest : d < 0 ? -NB_HALF_MIN : NB_HALF_MIN;
  }
  const nb_sums s = nb_sums_at(levels, x, w, n, d, 0);
  float step = s.qq > 0 ? s.rq / s.qq : 0;
  if (half) step = nb_half_round(d + step) - d;
  const float error = s.rr - 2 * step * s.rq + step * step * s.qq;
  if (error < best->error) *best = (nb_line){d + step, 0, error};
}

nb_line nb_search_scale(const nb_levels *levels, const float *x, const float *w, int n, float sign, bool half) {
  nb_line best = {0, 0, flat_error(x, w, n, 0)};
  float largest = 0;
  for (int i = 0; i < n; i++) largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
  if (largest < NB_SMALLEST) return best;
  // Where numbers that hardly count stand out, the others want a scale that is smaller by far.
  const float weights = total(w, n), rms = sqrtf(best.error / (weights > 0 ? weights : 1));
  float last = levels->last;
  if (largest > last * levels->fine * rms) {
    const float most = 1024 * last, finest = levels->fine * rms;
    last = finest * most > largest ? largest / finest : most;
  }
  for (float t = levels->first; t <= last; t = t < levels->last ? t + levels->step : t * 1.0625f) {
    try_scale(levels, x, w, n, sign * largest / t, half, &best);
  }
  for (int i = 0; i < POLISH && best.d != 0; i++) {
    const float before = best.error;
    try_scale(levels, x, w, n, best.d, half, &best);
    if (!(best.error < before)) break;
  }
  best.error = nb_error_at(levels, x, w, n, best.d, 0);
  return best;
}

// ---- a scale and a minimum ------------------------------------------------------------------------------------------------------

typedef struct line_search {
  const nb_levels *levels;
  const float *x, *w;
  int n;
  bool half, below;
  float weights;  // their sum
} line_search;

// As try_scale, for both parameters: the least squares of two unknowns. A half d comes first, then m is the best one for it.
static void try_line(const line_search *g, float d, float m, nb_line *best) {
  if (g->half) {
    d = nb_half_round(d);
    m = nb_half_round(m);
  }
  if (g->below && m > 0) m = 0;
  if (!(d >= NB_HALF_MIN)) d = NB_HALF_MIN;
  const nb_sums s = nb_sums_at(g->levels, g->x, g->w, g->n, d, m);
  const float det = s.qq * g->weights - s.q * s.q;
  float step = det > 1e-6f * s.qq * g->weights ? (s.rq * g->weights - s.r * s.q) / det : 0;
  if (!(d + step > 0)) step = 0;
  if (g->half) step = nb_half_round(d + step) - d;
  float shift = (s.r - step * s.q) / g->weights;
  if (g->half) shift = nb_half_round(m + shift) - m;
  if (g->below && m + shift > 0) {
    shift = -m;
    step = s.qq > 0 ? (s.rq - shift * s.q) / s.qq : 0;
    if (!(d + step > 0)) step = 0;
    if (g->half) step = nb_half_round(d + step) - d;
  }
  const float error = s.rr - 2 * (step * s.rq + shift * s.r) + step * step * s.qq + 2 * step * shift * s.q + shift * shift * g->weights;
  if (error < best->error) *best = (nb_line){d + step, m + shift, error};
}

nb_line nb_search_line(const nb_levels *levels, const float *x, const float *w, int n, bool half, bool below) {
  const float weights = total(w, n);
  const line_search g = {levels, x, w, n, half, below, weights > 0 ? weights : 1};
  float lo = x[0], hi = x[0], sum[4] = {0};
  for (int i = 0; i < n; i++) {
    lo = x[i] < lo ? x[i] : lo;
    hi = x[i] > hi ? x[i] : hi;
    sum[i % 4] += w[i] * x[i];
  }
  const float mean = fold(sum) / g.weights;
  float m = below && mean > 0 ? 0 : mean;
  if (half) m = nb_half_round(m);
  nb_line best = {0, m, flat_error(x, w, n, m)};
  const float spread = sqrtf(flat_error(x, w, n, mean) / g.weights);
  if (below) {
    lo = lo > 0 ? 0 : lo;
    hi = hi < lo ? lo : hi;
  }
  const float range = hi - lo;
  if (!(range >= NB_SMALLEST)) return best;
  for (float a = levels->first; a <= levels->last; a += levels->step) {
    for (float b = levels->first; b <= levels->last; b += levels->step) {
      const float d = range / (levels->hi + a + b);
      try_line(&g, d, lo + a * d, &best);
    }
  }
  // Where numbers that hardly count stand out, the range of the others.
  for (float k = 0.75f; k < 16; k *= 1.25f) {
    const float from = mean - k * spread > lo ? mean - k * spread : lo;
    for (float l = 0.75f; l < 16; l *= 1.25f) {
      const float to = mean + l * spread < hi ? mean + l * spread : hi;
      if (to - from > NB_SMALLEST) try_line(&g, (to - from) / levels->hi, from, &best);
      if (to == hi) break;
    }
    if (from == lo) break;
  }
  for (float reach = 0.04f; reach > 0.01f && best.d > 0; reach *= 0.5f) {
    const nb_line around = best;
    for (int k = -4; k <= 4; k++) {
      for (int j = -2; j <= 2; j++) try_line(&g, around.d * (1 + reach * (float)k), around.m + 6.25f * reach * (float)j * around.d, &best);
    }
  }
  for (int i = 0; i < POLISH && best.d > 0; i++) {
    const float before = best.error;
    try_line(&g, best.d, best.m, &best);
    if (!(best.error < before)) break;
  }
  best.error = nb_error_at(levels, x, w, n, best.d, best.m);
  return best;
}
