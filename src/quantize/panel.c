#include "panel.h"

#include <string.h>

void *nb_cut(uint8_t **scratch, size_t bytes) {
  void *piece = *scratch;
  *scratch += (size_t)nb_cut_bytes(bytes);
  return piece;
}

void nb_panel_load(const float *x, size_t rows, size_t cols, const uint32_t *order, float *panel) {
  for (size_t j = 0; j < cols; j++) {
    const size_t col = order ? order[j] : j;
    for (size_t l = 0; l < rows; l++) panel[j * NB_LANES16 + l] = x[l * cols + col];
    for (size_t l = rows; l < NB_LANES16; l++) panel[j * NB_LANES16 + l] = 0;
  }
}

void nb_panel_rest(const nb_grid *grid, const float *w, const uint8_t *blocks, size_t rows, size_t cols, float *rest) {
  for (size_t l = 0; l < NB_LANES16; l++) {
    for (size_t b = 0; b < cols / grid->block; b++) {
      const size_t from = b * grid->block;
      if (l >= rows) {
        for (size_t i = from; i < from + grid->block; i++) rest[i * NB_LANES16 + l] = 0;
        continue;
      }
      nb_grid_block block;
      nb_grid_take(grid, blocks + (l * (cols / grid->block) + b) * grid->bytes, &block);
      for (size_t i = 0; i < grid->block; i++) {
        const size_t g = i / grid->size, at = (from + i) * NB_LANES16 + l;
        rest[at] = w[at] - (nb_grid_scale(&block, g) * nb_level_value(&grid->levels, block.q[i]) + nb_grid_shift(&block, g));
      }
    }
  }
}

// H is symmetric: what stands right of a strip's own block counts twice, and nothing left of it is looked at.
void nb_panel_errors(const float *w, const float *rest, size_t cols, const float *h, const float *cross, double *errors) {
  enum { AT_ONCE = 64 };
  for (int l = 0; l < NB_LANES16; l++) errors[l] = 0;
  for (size_t i = 0; i < cols; i += AT_ONCE) {
    const size_t n = cols - i < AT_ONCE ? cols - i : AT_ONCE, right = i + n;
    float own[AT_ONCE * NB_LANES16] = {0}, twice[AT_ONCE * NB_LANES16] = {0};
    const float *d = rest + i * NB_LANES16;
    if (h) {
      nb_madd16(own, h + i * cols + i, cols, d, n, n);
      nb_madd16(twice, h + i * cols + right, cols, rest + right * NB_LANES16, n, cols - right);
    } else {
      memcpy(own, d, n * NB_LANES16 * sizeof *d);
    }
    if (cross) nb_madd16(twice, cross + i * cols, cols, w, n, cols);
    for (size_t j = 0; j < n * NB_LANES16; j++) errors[j % NB_LANES16] += (double)d[j] * ((double)own[j] + 2 * (double)twice[j]);
  }
}
