// The sweep of GPTQ over the columns of 16 rows.
#ifndef NB_QUANTIZE_SWEEP_H
#define NB_QUANTIZE_SWEEP_H

#include "encode.h"
#include "panel.h"

// H (divided by `unit`, damped, its columns in order) = U^T U. Columns are rounded from the last position to the first.
typedef struct nb_factor {
  size_t n;
  const float *u;         // [n, n]; only the upper triangle counts
  const uint32_t *order;  // [n] the column at a position
  float unit;
  bool groups;            // positions of a block are together, and scales are searched when the sweep comes to it
} nb_factor;

// What of the rows the sweep works on.
typedef struct nb_sweep {
  const nb_grid *grid;
  const nb_factor *factor;
  nb_encode_method scales;
  const float *importance;  // [n] in the order of columns
  const float *cross;       // as in gptq.h, or NULL
  float alpha;
} nb_sweep;

uint64_t nb_sweep_scratch_bytes(size_t n);

// w [rows, n], rows <= 16. blocks, rows of blocks: the scales to go by (not with factor.groups) on the way in, the new encoding on the way out.
void nb_sweep_rows(const nb_sweep *sweep, const float *w, size_t rows, uint8_t *blocks, uint8_t *scratch);

#endif
