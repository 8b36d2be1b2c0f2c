// Super-blocks: 256 weights in groups of 16 or 32, whose scales (and minimums) are codes of a few bits under one half scale (or two). The searches
// look for the half scales and the codes together, since the codes' grid is what the decoder sees.
#ifndef NB_QUANTIZE_SUPER_H
#define NB_QUANTIZE_SUPER_H

#include "search.h"

enum { NB_GROUPS = 16 };  // at most

typedef struct nb_super_shape {
  nb_levels levels;
  int size;          // weights of a group; there are 256 / size groups
  int s_min, s_max;  // the codes of scales
  int m_max;         // of minimums, from 0; 0 where the format has none
  // Half scales tried: those that bring the greatest group scale to these codes, up to the first 0. Smaller codes leave finer ones to choose from;
  // larger ones are out of range: the group that wants them gets less than it wants, and the others a finer grid.
  float reach[12];
  // The codes tried in the thorough pass, as parts of the code nearest to a group's own best scale; minimums as so many steps to either side.
  float from, to;
  int around;
} nb_super_shape;

// Weight i of group j decodes to d * s[j] * level - dmin * m[j].
typedef struct nb_super_plan {
  float d, dmin;  // finite halves
  int s[NB_GROUPS], m[NB_GROUPS];
  float error;
} nb_super_plan;

// x [256] within +-NB_LARGEST, w [256] > 0.
nb_super_plan nb_search_signed(const nb_super_shape *shape, const float *x, const float *w);  // for formats without minimums
nb_super_plan nb_search_mins(const nb_super_shape *shape, const float *x, const float *w);    // for those with

// The half scale nearest to v, but 0 only for 0: v has the sign of the result.
static inline float nb_half_scale(float v) {
  const float d = nb_half_round(v);
  return d != 0 || v == 0 ? d : v < 0 ? -NB_HALF_MIN : NB_HALF_MIN;
}

#endif
