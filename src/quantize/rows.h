// Rows of one type to rows of another, by a team of threads, with what that costs in accuracy.
#ifndef NB_QUANTIZE_ROWS_H
#define NB_QUANTIZE_ROWS_H

#include "../base/team.h"
#include "encode.h"

// Of all rows together. Each row is summed by itself and rows in their order, so the figures do not depend on the threads.
typedef struct nb_rows_result {
  double error, norm;                    // sum of (x - decoded)^2, of x^2
  double weighted_error, weighted_norm;  // the same, each column times its importance (as the above where there is none)
  bool finite;                           // otherwise the first NaN or infinity is at row, col, and the output is worth nothing
  size_t row, col;
} nb_rows_result;

typedef struct nb_rows_call {
  nb_type from, to;  // with block sizes that divide cols; aligned as kernels.h and encode.h say
  nb_encode_method method;
  bool hqq;          // in place of the method where `to` has blocks, see hqq.h; importance is not looked at then
  const uint8_t *in;
  uint8_t *out;
  size_t rows, cols;
  const float *importance;  // [cols] or NULL; see nb_encode_row
  void *scratch;            // nb_rows_scratch bytes, aligned to 16
} nb_rows_call;

size_t nb_rows_scratch(size_t rows, size_t cols, unsigned n_threads);
void nb_requantize_rows(nb_team *team, const nb_rows_call *call, nb_rows_result *result);  // team: NULL for this thread alone

#endif
