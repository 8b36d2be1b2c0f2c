// Rows of floats to blocks of a GGUF type: the encoders of the quantizer. The decoders are in kernels; what a block decodes to is defined there.
#ifndef NB_QUANTIZE_ENCODE_H
#define NB_QUANTIZE_ENCODE_H

#include <stddef.h>

#include "../format/types.h"

typedef enum nb_encode_method {
  // The plain way: scales from the largest magnitude (or the smallest and the largest number) of a group, then the nearest values. Importance is
  // not looked at.
  NB_ENCODE_RTN = 0,
  // Scales, minimums and their codes are searched for the least sum of importance_j * (x_j - decoded_j)^2.
  NB_ENCODE_SEARCH = 1,
  // As SEARCH, with the weights importance_j * sqrt(2 * mean(x^2 of the row) + x_j^2): errors of large numbers count for more. Importance measured on
  // few samples is uncertain, and the large numbers of a row are the likelier ones to matter.
  NB_ENCODE_SEARCH_LARGE = 2,
} nb_encode_method;

// Encodes one row. Allocates nothing and cannot fail; the same bits on every target.
//   type        any type with a block size (format/types.h); F32, F16 and BF16 are rounded to nearest whatever the method
//   x           [cols] finite numbers; cols is a multiple of the type's block size
//   importance  [cols] finite, >= 0, or NULL for 1 everywhere. Only ratios within a block count; where all of a block are 0 they count as equal
//   out         [cols / block size] blocks as in the file; aligned to 2 bytes (F32: 4)
// Numbers beyond what a type can hold become the largest that it can. For every block, the sum that a search minimises is at most that of RTN.
void nb_encode_row(nb_type type, nb_encode_method method, const float *x, const float *importance, size_t cols, void *out);

#endif
