// The fixed order of float sums that all variants follow: 16 partial sums, the number at index i goes to sum i mod 16, folded by
// halves at the end. Four vectors of 4 lanes hold them.
#ifndef NB_KERNELS_LANES_H
#define NB_KERNELS_LANES_H

#include <stddef.h>

#define NB_LANES 16

static inline float nb_fold_lanes(const float s[NB_LANES]) {
  float t[4];
  for (int i = 0; i < 4; i++) t[i] = (s[i] + s[i + 8]) + (s[i + 4] + s[i + 12]);
  return (t[0] + t[2]) + (t[1] + t[3]);
}

#endif
