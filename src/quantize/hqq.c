#include "hqq.h"

#include <math.h>
#include <string.h>

#include "encode.h"
#include "grid.h"

// Halves of the problem: the levels nearest to x, and scales that are the least squares of x - e, where e is what of the errors is given up: the norm's
// shrinkage of them, e = sign(r) * max(|r| - |r|^(p-1) / beta, 0). Errors are counted in units of their group's scale, so that beta means the same for
// all magnitudes of weights.

nb_hqq_options nb_hqq_defaults(void) { return (nb_hqq_options){.p = 0.7f, .beta = 10, .kappa = 1.01f, .steps = 20}; }

typedef struct state {
  const nb_grid *grid;
  const float *x;       // the block
  nb_grid_block block;
  float aim[256], level[256];
} state;

static float value_of(const state *s, size_t i) {
  const size_t g = i / s->grid->size;
  return nb_grid_scale(&s->block, g) * s->level[i] + nb_grid_shift(&s->block, g);
}

static void nearest_levels(state *s) {
  for (size_t i = 0; i < s->grid->block; i++) {
    const size_t g = i / s->grid->size;
    const float scale = nb_grid_scale(&s->block, g), inverse = scale != 0 ? 1.0f / scale : 0;
    s->block.q[i] = nb_level_code(&s->grid->levels, (s->x[i] - nb_grid_shift(&s->block, g)) * inverse);
    s->level[i] = nb_level_value(&s->grid->levels, s->block.q[i]);
  }
}

static double norm_of(const state *s, float p) {
  double sum = 0;
  for (size_t i = 0; i < s->grid->block; i++) sum += pow(fabs((double)s->x[i] - (double)value_of(s, i)), (double)p);
  return sum;
}

static void give_up(state *s, const nb_hqq_options *o, float beta) {
  for (size_t i = 0; i < s->grid->block; i++) {
    const float rest = s->x[i] - value_of(s, i), unit = fabsf(nb_grid_scale(&s->block, i / s->grid->size));
    s->aim[i] = s->x[i];
    if (!(unit > 0) || rest == 0) continue;
    const float size = fabsf(rest) / unit, left = size - powf(size, o->p - 1) / beta;
    if (left > 0) s->aim[i] -= copysignf(left * unit, rest);
  }
}

// Least squares of aim = scale * level + shift.
static void fit_group(state *s, size_t g) {
  const nb_grid *grid = s->grid;
  nb_fit fit = {.oo = (double)grid->size};
  for (size_t i = g * grid->size; i < (g + 1) * grid->size; i++) {
    const double level = (double)s->level[i], aim = (double)s->aim[i];
    fit.ll += level * level;
    fit.lo += level;
    fit.lg += level * aim;
    fit.og += aim;
  }
  double scale, shift;
  nb_fit_best(&fit, grid->mins, &scale, &shift);
  nb_grid_block *b = &s->block;
  if (grid->block == 32) {
    b->d = nb_half_round((float)scale);
    if (grid->mins) b->dmin = nb_half_round((float)-nb_fit_shift(&fit, (double)b->d));
    return;
  }
  if (b->d != 0) b->s[g] = nb_code_within(scale / (double)b->d, grid->s_min, grid->s_max);
  if (b->dmin > 0) b->m[g] = nb_code_within(-nb_fit_shift(&fit, (double)nb_grid_scale(b, g)) / (double)b->dmin, 0, grid->m_max);
}

// The half scales of a super-block, given all codes: aim = d * (s * level) - dmin * m.
static void fit_super(state *s) {
  const nb_grid *grid = s->grid;
  nb_grid_block *block = &s->block;
  nb_fit fit = {0};
  for (size_t i = 0; i < grid->block; i++) {
    const double a = (double)block->s[i / grid->size] * (double)s->level[i], b = -block->m[i / grid->size], aim = (double)s->aim[i];
    fit.ll += a * a;
    fit.lo += a * b;
    fit.oo += b * b;
    fit.lg += a * aim;
    fit.og += b * aim;
  }
  double d, dmin;
  nb_fit_best(&fit, grid->mins, &d, &dmin);
  const float half = nb_half_round((float)d), low = nb_half_round((float)dmin);
  if (half * block->d > 0) block->d = half;
  if (low > 0 && block->dmin > 0) block->dmin = low;
}

void nb_hqq_row(nb_type type, const nb_hqq_options *o, const float *x, size_t cols, void *out) {
  const nb_grid grid = nb_grid_of(type);
  nb_encode_row(type, NB_ENCODE_SEARCH, x, NULL, cols, out);
  uint8_t *to = out;
  for (size_t c = 0; c < cols; c += grid.block, to += grid.bytes) {
    state s = {.grid = &grid, .x = x + c};
    nb_grid_take(&grid, to, &s.block);
    for (size_t i = 0; i < grid.block; i++) s.level[i] = nb_level_value(&grid.levels, s.block.q[i]);
    double best = norm_of(&s, o->p);
    float beta = o->beta;
    for (unsigned step = 0; step < o->steps; step++, beta *= o->kappa) {
      const nb_grid_block before = s.block;
      give_up(&s, o, beta);
      for (size_t g = 0; g < grid.groups; g++) fit_group(&s, g);
      if (grid.block == 256) fit_super(&s);
      nearest_levels(&s);
      const double norm = norm_of(&s, o->p);
      if (norm < best) {
        best = norm;
        nb_grid_put(&grid, &s.block, to);
      }
      if (!memcmp(&before, &s.block, sizeof before)) break;  // nothing changes any more, but by beta: too little to matter
    }
  }
}
