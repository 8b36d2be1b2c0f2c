// A block as a grid: what each of its weights may become, given its scales. The same view of every type with blocks, for methods that choose codes
// and scales apart from each other. Values are what the decoders give, to the bit.
#ifndef NB_QUANTIZE_GRID_H
#define NB_QUANTIZE_GRID_H

#include <stddef.h>

#include "../format/types.h"
#include "search.h"

typedef struct nb_grid {
  nb_type type;
  nb_levels levels;
  size_t block, size, groups;  // weights of a block, weights of a group, groups of a block
  size_t bytes;                // of a block
  bool mins;
  int s_min, s_max, m_max;     // codes of scales and minimums; all 1 in blocks of 32, where the halves alone say it
} nb_grid;

// Weight i of group g is (d * s[g]) * level(q[i]) - dmin * m[g].
typedef struct nb_grid_block {
  float d, dmin;      // finite halves
  int s[16], m[16];
  uint8_t q[256];     // codes, from the lowest level up
} nb_grid_block;

nb_grid nb_grid_of(nb_type type);
void nb_grid_take(const nb_grid *grid, const void *block, nb_grid_block *out);
void nb_grid_put(const nb_grid *grid, const nb_grid_block *from, void *block);

static inline float nb_grid_scale(const nb_grid_block *b, size_t g) { return b->d * (float)b->s[g]; }
static inline float nb_grid_shift(const nb_grid_block *b, size_t g) { return -(b->dmin * (float)b->m[g]); }

// ---- fits -----------------------------------------------------------------------------------------------------------------------

// The sums of a quadratic that falls by 2 (a lg + b og) - (a^2 ll + 2 a b lo + b^2 oo) when a scale grows by a and a shift by b.
typedef struct nb_fit {
  double lg, og, ll, lo, oo;
} nb_fit;

// The best a and b; b = 0 without `two`.
void nb_fit_best(const nb_fit *fit, bool two, double *a, double *b);
// The best b for an a that is given.
static inline double nb_fit_shift(const nb_fit *fit, double a) { return fit->oo > 0 ? (fit->og - a * fit->lo) / fit->oo : 0; }
// The whole number nearest to v, within lo .. hi.
int nb_code_within(double v, int lo, int hi);

// ---- 16 rows side by side -------------------------------------------------------------------------------------------------------

// The lines of a group in 16 rows: value = scale * level + shift; inverse is 1 / scale, or 0.
typedef struct nb_lines16 {
  float scale[16], shift[16], inverse[16];
} nb_lines16;

// The values nearest to v, their levels and codes.
void nb_grid_round16(const nb_levels *levels, const nb_lines16 *lines, const float *v, float *value, float *level, uint8_t *code);

// Row `lane` of lines[groups].
void nb_grid_lines(const nb_grid *grid, const nb_grid_block *b, size_t lane, nb_lines16 *lines);

#endif
