// The search within one group of numbers (16 or 32) that share a scale, or a scale and a minimum: which scale brings the decoded numbers closest.
// Shared by the encoders of all types. All arithmetic is plain float, in a fixed order; numbers are within +-NB_LARGEST, weights average about 1.
#ifndef NB_QUANTIZE_SEARCH_H
#define NB_QUANTIZE_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "../base/half.h"

#define NB_LARGEST 36028797018963968.0f  // 2^55: far more than any type decodes to, and weighted sums of its square stay finite
#define NB_SMALLEST 2.98023224e-8f       // 2^-25, half of the smallest scale: groups below decode to 0 at best
#define NB_HALF_MIN 5.96046448e-8f       // 2^-24, the smallest scale that is not 0

// What a number of a group may become, in units of its scale.
typedef struct nb_levels {
  float lo, hi;  // the whole numbers lo..hi; with `table` the 16 values of IQ4_NL, which go from lo to hi
  bool table;
  // Scales tried. Without minimum: max|x| / t, for t from `first` to `last` by `step` (and beyond, where the largest numbers weigh little).
  // With minimum: `first`..`last` levels too few, in steps of `step`, at either end of the range.
  float first, last, step;
  float fine;  // a scale of fine * (root mean square) is the smallest worth trying
} nb_levels;

// The nearest finite half.
static inline uint16_t nb_half_bits(float v) { return nb_f32_to_f16(v > 65504.0f ? 65504.0f : v < -65504.0f ? -65504.0f : v); }
static inline float nb_half_round(float v) { return nb_f16_to_f32(nb_half_bits(v)); }

// The whole number nearest to v, within lo..hi (ties to even). Adding and taking away 1.5 * 2^23 leaves no bits for a fraction.
static inline float nb_round_within(float v, float lo, float hi) {
  v = v < lo ? lo : v;
  v = v > hi ? hi : v;
  return (v + 12582912.0f) - 12582912.0f;
}

// The code of the level nearest to v: 0 for the lowest.
uint8_t nb_level_code(const nb_levels *levels, float v);
float nb_level_value(const nb_levels *levels, uint8_t code);

// The sums of w * r * r, w * r * q, w * q * q, w * r, w * q, for the levels q nearest to (x - m) / d and what they leave, r = x - m - d * q. d is not 0.
typedef struct nb_sums {
  float rr, rq, qq, r, q;
} nb_sums;
nb_sums nb_sums_at(const nb_levels *levels, const float *x, const float *w, int n, float d, float m);

// The sum of w * r * r alone; for d = 0 of w * (x - m)^2.
float nb_error_at(const nb_levels *levels, const float *x, const float *w, int n, float d, float m);

// x is about d * q + m, with that error.
typedef struct nb_line {
  float d, m, error;
} nb_line;

// The best scale of one sign (1 or -1; 0 if nothing beats it) without a minimum. With `half` d is a finite half.
nb_line nb_search_scale(const nb_levels *levels, const float *x, const float *w, int n, float sign, bool half);

// The best scale >= 0 with the best m. With `half` both are finite halves; with `below` m <= 0.
nb_line nb_search_line(const nb_levels *levels, const float *x, const float *w, int n, bool half, bool below);

#endif
