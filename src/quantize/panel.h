// Rows of a matrix 16 side by side, as linalg.h wants them: number j of row l at [j * 16 + l]. Rows that are not there are 0.
#ifndef NB_QUANTIZE_PANEL_H
#define NB_QUANTIZE_PANEL_H

#include "grid.h"
#include "linalg.h"

// x [rows, cols] with rows <= 16. With `order` the number at position j is that of column order[j].
void nb_panel_load(const float *x, size_t rows, size_t cols, const uint32_t *order, float *panel);

// W - W' for the panel w of rows that blocks (in `rows` rows) decode to.
void nb_panel_rest(const nb_grid *grid, const float *w, const uint8_t *blocks, size_t rows, size_t cols, float *rest);

// errors[l] of error.h for 16 rows; h and cross may be NULL.
void nb_panel_errors(const float *w, const float *rest, size_t cols, const float *h, const float *cross, double *errors);

// A piece of a thread's share of scratch memory, which is cut off its front.
void *nb_cut(uint8_t **scratch, size_t bytes);
// What nb_cut takes for it.
static inline uint64_t nb_cut_bytes(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

#endif
