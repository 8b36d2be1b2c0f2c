#include "sweep.h"

#include <math.h>
#include <string.h>

// Positions between two updates of all that is still to come: they share what is loaded of the work to be done.
enum { CHUNK = 256, PIECE = 32 };

typedef struct state {
  const nb_sweep *sweep;
  const nb_grid *grid;
  const float *u;
  size_t n, rows;
  float *w, *rest, *owed;  // [n, 16] by position: W, W - W', and S: what the positions after one have left for it to make up for
  nb_lines16 *lines;       // [n / size] by group, in the order of columns
  uint8_t *codes;          // [n, 16] in the order of columns
  uint8_t *blocks;
  float spread[NB_LANES16];  // twice the mean square of a row
} state;

uint64_t nb_sweep_scratch_bytes(size_t n) {
  return 3 * nb_cut_bytes(n * NB_LANES16 * sizeof(float)) + nb_cut_bytes(n / 16 * sizeof(nb_lines16)) + nb_cut_bytes(n * NB_LANES16);
}

// S at the start: with `cross`, Z with Z U = alpha * W cross^T, what the inputs themselves owe.
static void start(state *s) {
  memset(s->owed, 0, s->n * NB_LANES16 * sizeof(float));
  const nb_sweep *sweep = s->sweep;
  if (!sweep->cross || sweep->alpha == 0) return;
  float *by_column = s->rest, row[NB_LANES16];  // `rest` is not in use yet
  for (size_t i = 0; i < s->n; i++) memcpy(by_column + sweep->factor->order[i] * NB_LANES16, s->w + i * NB_LANES16, sizeof row);
  const float part = sweep->alpha / sweep->factor->unit;
  for (size_t i = 0; i < s->n; i++) {
    float *owed = s->owed + i * NB_LANES16;
    nb_madd16(owed, sweep->cross + sweep->factor->order[i] * s->n, s->n, by_column, 1, s->n);
    for (int l = 0; l < NB_LANES16; l++) owed[l] *= part;
  }
  nb_solve_upper16(s->u, s->n, s->owed);
}

// The scales of the block at positions first .. first + grid.block, of which S is complete but for the block itself: for the real numbers V that would
// make up for everything, V U = W U + S within the block.
static void search_block(state *s, size_t first) {
  const nb_grid *grid = s->grid;
  const uint32_t *order = s->sweep->factor->order + first;
  const size_t block = order[0] / grid->block, n = grid->block;
  float shift[256 * NB_LANES16];
  for (size_t i = n; i-- > 0;) {
    const float *u = s->u + (first + i) * s->n + first;
    float sum[NB_LANES16] = {0};
    nb_madd16(sum, u + i + 1, s->n, shift + (i + 1) * NB_LANES16, 1, n - 1 - i);
    const float inverse = 1.0f / u[i];
    for (int l = 0; l < NB_LANES16; l++) shift[i * NB_LANES16 + l] = (s->owed[(first + i) * NB_LANES16 + l] - sum[l]) * inverse;
  }
  for (size_t l = 0; l < s->rows; l++) {
    float v[256], importance[256];
    for (size_t i = 0; i < n; i++) {
      const size_t col = order[i] - block * n;
      v[col] = s->w[(first + i) * NB_LANES16 + l] + shift[i * NB_LANES16 + l];
      importance[col] = s->sweep->importance[order[i]];
      // The row's own spread, which the encoder cannot know from one block.
      if (s->sweep->scales == NB_ENCODE_SEARCH_LARGE) importance[col] *= sqrtf(s->spread[l] + v[col] * v[col]);
    }
    uint16_t encoded[128];
    nb_encode_row(grid->type, s->sweep->scales == NB_ENCODE_RTN ? NB_ENCODE_RTN : NB_ENCODE_SEARCH, v, importance, n, encoded);
    memcpy(s->blocks + (l * (s->n / n) + block) * grid->bytes, encoded, grid->bytes);
    nb_grid_block taken;
    nb_grid_take(grid, encoded, &taken);
    nb_grid_lines(grid, &taken, l, s->lines + block * grid->groups);
  }
}

// Rounds the positions first .. last, the last one first. What positions beyond `last` owe is in S already.
static void round_positions(state *s, size_t first, size_t last) {
  for (size_t i = last; i-- > first;) {
    const float *u = s->u + i * s->n;
    const size_t at = i * NB_LANES16, col = s->sweep->factor->order[i];
    float *owed = s->owed + at, v[NB_LANES16], value[NB_LANES16], level[NB_LANES16];
    nb_madd16(owed, u + i + 1, s->n, s->rest + at + NB_LANES16, 1, last - 1 - i);
    const float inverse = 1.0f / u[i];
    for (int l = 0; l < NB_LANES16; l++) v[l] = s->w[at + l] + owed[l] * inverse;
    nb_grid_round16(&s->grid->levels, s->lines + col / s->grid->size, v, value, level, s->codes + col * NB_LANES16);
    for (int l = 0; l < NB_LANES16; l++) s->rest[at + l] = s->w[at + l] - value[l];
  }
}

static void sweep_all(state *s) {
  const size_t n = s->n, piece = s->sweep->factor->groups ? s->grid->block : PIECE;
  for (size_t end = n, begin; end > 0; end = begin) {
    begin = end > CHUNK ? end - CHUNK : 0;
    for (size_t last = end, first; last > begin; last = first) {
      first = last - piece;
      nb_madd16(s->owed + first * NB_LANES16, s->u + first * n + last, n, s->rest + last * NB_LANES16, piece, end - last);
      if (s->sweep->factor->groups) search_block(s, first);
      round_positions(s, first, last);
    }
    nb_madd16(s->owed, s->u + begin, n, s->rest + begin * NB_LANES16, begin, end - begin);
  }
}

void nb_sweep_rows(const nb_sweep *sweep, const float *w, size_t rows, uint8_t *blocks, uint8_t *scratch) {
  const nb_grid *grid = sweep->grid;
  const size_t n = sweep->factor->n, per_row = n / grid->block;
  state s = {.sweep = sweep, .grid = grid, .u = sweep->factor->u, .n = n, .rows = rows, .blocks = blocks};
  s.w = nb_cut(&scratch, n * NB_LANES16 * sizeof(float));
  s.rest = nb_cut(&scratch, n * NB_LANES16 * sizeof(float));
  s.owed = nb_cut(&scratch, n * NB_LANES16 * sizeof(float));
  s.lines = nb_cut(&scratch, n / 16 * sizeof(nb_lines16));
  s.codes = nb_cut(&scratch, n * NB_LANES16);
  nb_panel_load(w, rows, n, sweep->factor->order, s.w);
  start(&s);
  memset(s.lines, 0, n / grid->size * sizeof *s.lines);  // rows that are not there decode to 0
  for (size_t l = 0; l < rows; l++) {
    double sum = 0;
    for (size_t j = 0; j < n; j++) sum += (double)w[l * n + j] * (double)w[l * n + j];
    s.spread[l] = (float)(2 * sum / (double)n);
    for (size_t b = 0; b < per_row && !sweep->factor->groups; b++) {
      nb_grid_block block;
      nb_grid_take(grid, blocks + (l * per_row + b) * grid->bytes, &block);
      nb_grid_lines(grid, &block, l, s.lines + b * grid->groups);
    }
  }
  sweep_all(&s);
  for (size_t l = 0; l < rows; l++) {
    for (size_t b = 0; b < per_row; b++) {
      uint8_t *to = blocks + (l * per_row + b) * grid->bytes;
      nb_grid_block block;
      nb_grid_take(grid, to, &block);
      for (size_t i = 0; i < grid->block; i++) block.q[i] = s.codes[(b * grid->block + i) * NB_LANES16 + l];
      nb_grid_put(grid, &block, to);
    }
  }
}
