// One block of 32 weights: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL.
#ifndef NB_QUANTIZE_ENCODE_32_H
#define NB_QUANTIZE_ENCODE_32_H

#include <stdbool.h>

#include "../format/types.h"
#include "search.h"

// x [32] within +-NB_LARGEST, w [32] > 0; without `search` the plain way, which does not look at w.
void nb_encode_32(nb_type type, bool search, const float *x, const float *w, void *block);

// What the type's weights may be, and how its scales are searched.
nb_levels nb_levels_32(nb_type type);

#endif
