// Columns of a matrix that go, for good: those without which its outputs change least, for the inputs it was seen with.
#ifndef NB_QUANTIZE_COLUMNS_H
#define NB_QUANTIZE_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>

#include "../base/status.h"
#include "../base/team.h"

typedef struct nb_columns_options {
  size_t keep;      // columns that stay, 1 .. cols
  bool compensate;  // those that stay make up for the others, by least squares
  float damping;    // part of the mean of H's diagonal that is added to it
} nb_columns_options;

typedef struct nb_columns_report {
  double damping;  // that was used: more than asked for where H was too near to a singular one
} nb_columns_report;

uint64_t nb_columns_scratch_bytes(size_t rows, size_t cols, bool compensate);  // UINT64_MAX where that is beyond counting

// Chooses the columns of w [rows, cols] that stay, given the second moments h [cols, cols] of its inputs, and sets the others to 0.
// Without compensation the columns with the least |W_j|^2 H_jj go. With it they go one by one: each time the one that the rest can best make up for,
// which has the least |W_j|^2 / P_jj with P = H^-1; the rest becomes W_k - W_j P_jk / P_jj, and P loses the column likewise.
//   kept  [cols] set to 1 for columns that stay and 0 for the others
// The same bits for any number of threads.
nb_status nb_prune_columns(nb_team *team, const nb_columns_options *o, float *w, size_t rows, size_t cols, const float *h, uint8_t *kept,
                           nb_columns_report *report, void *scratch, nb_error *err);

#endif
