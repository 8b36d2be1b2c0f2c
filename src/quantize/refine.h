// Descent on an encoding: block by block its scales, then its codes one by one, each set to the value that lowers the output's error most while
// everything else stays.
#ifndef NB_QUANTIZE_REFINE_H
#define NB_QUANTIZE_REFINE_H

#include "panel.h"

// Buffers for one block of 16 rows.
typedef struct nb_refine_room {
  nb_grid_block blocks[NB_LANES16];
  float h[256 * 256];               // the block's part of H, so that it stands together
  float gradient[256 * NB_LANES16];
  float value[256 * NB_LANES16], level[256 * NB_LANES16], move[256 * NB_LANES16], product[256 * NB_LANES16], second[256 * NB_LANES16];
} nb_refine_room;

// One pass. w, rest = W - W': panels [n, 16]; blocks: `rows` rows of blocks; h [n, n]; cross as in gptq.h, or NULL.
// rest and blocks go along with each other.
void nb_refine_rows(const nb_grid *grid, size_t n, const float *h, const float *cross, const float *w, float *rest, uint8_t *blocks, size_t rows,
                    nb_refine_room *room);

#endif
