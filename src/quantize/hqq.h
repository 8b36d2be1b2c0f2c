// HQQ: scales and minimums found without data, for errors of which a few may be large (a norm with exponent 0.7 in place of squares).
#ifndef NB_QUANTIZE_HQQ_H
#define NB_QUANTIZE_HQQ_H

#include <stddef.h>

#include "../format/types.h"

typedef struct nb_hqq_options {
  float p;         // the norm's exponent, 0 .. 1
  float beta;      // how strictly the two halves of the problem are held together, in units of a group's scale
  float kappa;     // beta grows by it with every step
  unsigned steps;
} nb_hqq_options;

// 0.7, 10, 1.01, 20
nb_hqq_options nb_hqq_defaults(void);

// Encodes one row [cols] to `out`, as nb_encode_row. Of a block's steps the one with the least sum of |x - decoded|^p stands. The types have blocks.
void nb_hqq_row(nb_type type, const nb_hqq_options *options, const float *x, size_t cols, void *out);

#endif
