// One super-block of 256 weights: Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_XS.
#ifndef NB_QUANTIZE_ENCODE_256_H
#define NB_QUANTIZE_ENCODE_256_H

#include <stdbool.h>

#include "../format/types.h"
#include "super.h"

// x [256] within +-NB_LARGEST, w [256] > 0; without `search` the plain way, which does not look at w.
void nb_encode_256(nb_type type, bool search, const float *x, const float *w, void *block);

// What the type's weights and scales may be, and how they are searched.
nb_super_shape nb_shape_256(nb_type type);

#endif
