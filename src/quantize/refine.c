#include "refine.h"

#include <math.h>
#include <string.h>

enum { L = NB_LANES16 };

// A move of W' by `move` (16 rows side by side) within the block changes the error by -2 move . G + move H move^T, G = (W - W') H (+ W cross^T).
typedef struct state {
  const nb_grid *grid;
  size_t rows, size;   // size: of the block
  const float *w;      // of the block's columns
  float *rest;
  nb_refine_room *r;
} state;

// The values of group g under the blocks' scales, and the move that leads there, which is made: for the lanes that `taken` names.
static void move_group(state *s, size_t g, const bool taken[L]) {
  const nb_grid *grid = s->grid;
  nb_refine_room *r = s->r;
  const size_t from = g * grid->size;
  for (size_t l = 0; l < L; l++) {
    const bool moves = l < s->rows && taken[l];
    const float scale = moves ? nb_grid_scale(&r->blocks[l], g) : 0, shift = moves ? nb_grid_shift(&r->blocks[l], g) : 0;
    for (size_t i = from; i < from + grid->size; i++) {
      const float value = moves ? scale * r->level[i * L + l] + shift : r->value[i * L + l];
      r->move[i * L + l] = r->value[i * L + l] - value;  // its negative, for the gradient
      r->value[i * L + l] = value;
      if (moves) s->rest[i * L + l] = s->w[i * L + l] - value;
    }
  }
}

// The gradient after a move of the columns from .. from + n.
static void follow(state *s, size_t from, size_t n) { nb_madd16(s->r->gradient, s->r->h + from, s->size, s->r->move + from * L, s->size, n); }

// What the error grows by.
static double change(const nb_fit *k, double a, double b) { return -2 * (a * k->lg + b * k->og) + a * a * k->ll + 2 * a * b * k->lo + b * b * k->oo; }

// Blocks of 32: new halves. True where they lower the error.
static bool refit_halves(const nb_grid *grid, const nb_fit *k, nb_grid_block *b) {
  double a, m;
  nb_fit_best(k, grid->mins, &a, &m);
  const nb_grid_block old = *b;
  b->d = nb_half_round((float)((double)old.d + a));
  const double step = (double)b->d - (double)old.d;
  if (grid->mins) {
    const double best = nb_fit_shift(k, step);
    b->dmin = nb_half_round((float)((double)old.dmin - best));
  }
  if (change(k, step, (double)old.dmin - (double)b->dmin) < 0) return true;
  *b = old;
  return false;
}

// Super-blocks: new codes of a group's scale and minimum, from those around the best real ones.
static bool refit_codes(const nb_grid *grid, const nb_fit *k, nb_grid_block *b, size_t g) {
  double a, m;
  nb_fit_best(k, grid->mins, &a, &m);
  const double scale = (double)nb_grid_scale(b, g), shift = (double)nb_grid_shift(b, g), d = (double)b->d, dmin = (double)b->dmin;
  if (d == 0) return false;
  const int s = nb_code_within((scale + a) / d, grid->s_min, grid->s_max);
  int s_best = b->s[g], m_best = b->m[g];
  double lowest = 0;
  for (int si = s - 1; si <= s + 1; si++) {
    if (si < grid->s_min || si > grid->s_max) continue;
    const double step = d * si - scale, wanted = nb_fit_shift(k, step);
    const int mi = grid->mins && dmin > 0 ? nb_code_within(-(shift + wanted) / dmin, 0, grid->m_max) : b->m[g];
    const double by = change(k, step, -dmin * mi - shift);
    if (by < lowest) {
      lowest = by;
      s_best = si;
      m_best = mi;
    }
  }
  const bool better = s_best != b->s[g] || m_best != b->m[g];
  b->s[g] = s_best;
  b->m[g] = m_best;
  return better;
}

static void refit_group(state *s, size_t g) {
  const nb_grid *grid = s->grid;
  nb_refine_room *r = s->r;
  const size_t n = grid->size, from = g * n;
  memset(r->product, 0, n * L * sizeof(float));
  nb_madd16(r->product, r->h + from * s->size + from, s->size, r->level + from * L, n, n);
  nb_fit k[L] = {{0}};
  for (size_t i = 0; i < n; i++) {
    double row = 0;
    for (size_t j = 0; j < n; j++) row += (double)r->h[(from + i) * s->size + from + j];
    for (size_t l = 0; l < s->rows; l++) {
      const double level = (double)r->level[(from + i) * L + l], gradient = (double)r->gradient[(from + i) * L + l];
      k[l].lg += level * gradient;
      k[l].og += gradient;
      k[l].ll += level * (double)r->product[i * L + l];
      k[l].lo += level * row;
      k[l].oo += row;
    }
  }
  bool taken[L] = {false}, any = false;
  for (size_t l = 0; l < s->rows; l++) {
    taken[l] = grid->block == 32 ? refit_halves(grid, &k[l], &r->blocks[l]) : refit_codes(grid, &k[l], &r->blocks[l], g);
    any = any || taken[l];
  }
  if (!any) return;
  move_group(s, g, taken);
  follow(s, from, n);
}

// Super-blocks: the half scales, given all codes.
static void refit_super(state *s) {
  const nb_grid *grid = s->grid;
  nb_refine_room *r = s->r;
  // move: what d is multiplied with; second: -dmin; product: H times either
  memset(r->move, 0, s->size * L * sizeof(float));
  memset(r->second, 0, s->size * L * sizeof(float));
  for (size_t l = 0; l < s->rows; l++) {
    for (size_t i = 0; i < s->size; i++) {
      r->move[i * L + l] = (float)r->blocks[l].s[i / grid->size] * r->level[i * L + l];
      r->second[i * L + l] = (float)r->blocks[l].m[i / grid->size];
    }
  }
  nb_fit k[L] = {{0}};
  memset(r->product, 0, s->size * L * sizeof(float));
  nb_madd16(r->product, r->h, s->size, r->move, s->size, s->size);
  for (size_t i = 0; i < s->size; i++) {
    for (size_t l = 0; l < s->rows; l++) {
      const double a = (double)r->move[i * L + l], b = (double)r->second[i * L + l], p = (double)r->product[i * L + l];
      k[l].lg += a * (double)r->gradient[i * L + l];
      k[l].og += b * (double)r->gradient[i * L + l];
      k[l].ll += a * p;
      k[l].lo += b * p;
    }
  }
  if (grid->mins) {
    memset(r->product, 0, s->size * L * sizeof(float));
    nb_madd16(r->product, r->h, s->size, r->second, s->size, s->size);
    for (size_t i = 0; i < s->size; i++) {
      for (size_t l = 0; l < s->rows; l++) k[l].oo += (double)r->second[i * L + l] * (double)r->product[i * L + l];
    }
  }
  bool taken[L] = {false}, any = false;
  for (size_t l = 0; l < s->rows; l++) {
    nb_grid_block *b = &r->blocks[l];
    double a, m;
    nb_fit_best(&k[l], grid->mins, &a, &m);
    const float d = nb_half_round((float)((double)b->d + a));
    const double step = (double)d - (double)b->d, wanted = nb_fit_shift(&k[l], step);
    float dmin = grid->mins ? nb_half_round((float)((double)b->dmin - wanted)) : b->dmin;
    if (dmin < 0) dmin = 0;
    // A scale of 0 or of the other sign would strand the codes.
    taken[l] = d * b->d > 0 && change(&k[l], step, (double)b->dmin - (double)dmin) < 0;
    if (!taken[l]) continue;
    any = true;
    b->d = d;
    b->dmin = dmin;
  }
  if (!any) return;
  for (size_t g = 0; g < grid->groups; g++) move_group(s, g, taken);
  follow(s, 0, s->size);
}

// Every code in turn goes to the level nearest to the least of the error along it.
static void descend_codes(state *s) {
  const nb_grid *grid = s->grid;
  nb_refine_room *r = s->r;
  nb_lines16 lines[16];
  memset(lines, 0, sizeof lines);
  for (size_t l = 0; l < s->rows; l++) nb_grid_lines(grid, &r->blocks[l], l, lines);
  for (size_t i = 0; i < s->size; i++) {
    const float hii = r->h[i * s->size + i];
    const float inverse = hii > 0 ? 1.0f / hii : 0;
    float v[L], value[L], level[L], move[L];
    uint8_t code[L];
    // An input that was never there costs nothing; the weight stays near what it was.
    const float *at = hii > 0 ? r->value + i * L : s->w + i * L;
    for (size_t l = 0; l < L; l++) v[l] = at[l] + r->gradient[i * L + l] * inverse;
    nb_grid_round16(&grid->levels, &lines[i / grid->size], v, value, level, code);
    bool any = false;
    for (size_t l = 0; l < L; l++) {
      // Where neighbouring levels are equally good, the code stays: nothing goes back and forth.
      const float now = r->value[i * L + l];
      if (l >= s->rows || !(fabsf(v[l] - value[l]) < fabsf(v[l] - now))) value[l] = now, level[l] = r->level[i * L + l];
      else r->blocks[l].q[i] = code[l];
      move[l] = now - value[l];
      any = any || move[l] != 0;
    }
    if (!any) continue;
    memcpy(r->value + i * L, value, sizeof value);
    memcpy(r->level + i * L, level, sizeof level);
    for (size_t l = 0; l < s->rows; l++) s->rest[i * L + l] = s->w[i * L + l] - value[l];
    for (size_t j = 0; j < s->size; j++) {
      const float hij = r->h[i * s->size + j];
      for (int l = 0; l < L; l++) r->gradient[j * L + (size_t)l] += hij * move[l];
    }
  }
}

void nb_refine_rows(const nb_grid *grid, size_t n, const float *h, const float *cross, const float *w, float *rest, uint8_t *blocks, size_t rows,
                    nb_refine_room *r) {
  const size_t per_row = n / grid->block, size = grid->block;
  for (size_t b = 0; b < per_row; b++) {
    const size_t from = b * size;
    state s = {grid, rows, size, w + from * L, rest + from * L, r};
    for (size_t i = 0; i < size; i++) memcpy(r->h + i * size, h + (from + i) * n + from, size * sizeof *h);
    memset(r->gradient, 0, size * L * sizeof(float));
    nb_madd16(r->gradient, h + from * n, n, rest, size, n);
    if (cross) nb_madd16(r->gradient, cross + from * n, n, w, size, n);
    memset(r->level, 0, size * L * sizeof(float));
    memset(r->value, 0, size * L * sizeof(float));
    for (size_t l = 0; l < rows; l++) {
      nb_grid_block *block = &r->blocks[l];
      nb_grid_take(grid, blocks + (l * per_row + b) * grid->bytes, block);
      for (size_t i = 0; i < size; i++) {
        const size_t g = i / grid->size;
        r->level[i * L + l] = nb_level_value(&grid->levels, block->q[i]);
        r->value[i * L + l] = nb_grid_scale(block, g) * r->level[i * L + l] + nb_grid_shift(block, g);
      }
    }
    for (size_t g = 0; g < grid->groups; g++) refit_group(&s, g);
    if (size == 256) refit_super(&s);
    descend_codes(&s);
    for (size_t l = 0; l < rows; l++) nb_grid_put(grid, &r->blocks[l], blocks + (l * per_row + b) * grid->bytes);
  }
}
