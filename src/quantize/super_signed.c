// Q3_K, Q6_K, IQ4_XS: a signed code for each group's scale. Levels are uneven (-4..3), so a group has two good scales, one of each sign.
#include <math.h>

#include "super.h"

typedef struct group {
  const float *x, *w;
  float scale[2];  // the best positive and the best negative scale, by itself
  bool better;     // which of them
} group;

// The best code of a group under d: around the codes of both scales, from `from` times to `to` times the code and `steps` further at either end.
static float best_code(const nb_super_shape *shape, const group *g, float d, float from, float to, int steps, int *code) {
  *code = 0;
  float best = nb_error_at(&shape->levels, g->x, g->w, shape->size, 0, 0);
  if (d == 0) return best;
  const float lo = (float)shape->s_min, hi = (float)shape->s_max;
  for (int k = 0; k < 2; k++) {
    if (g->scale[k] == 0) continue;
    const float at = g->scale[k] / d, a = at * from, b = at * to;
    int first = (int)nb_round_within(a < b ? a : b, lo, hi) - steps, last = (int)nb_round_within(a < b ? b : a, lo, hi) + steps;
    first = first < shape->s_min ? shape->s_min : first;
    last = last > shape->s_max ? shape->s_max : last;
    for (int s = first; s <= last; s++) {
      const float error = nb_error_at(&shape->levels, g->x, g->w, shape->size, d * (float)s, 0);
      if (error < best) {
        best = error;
        *code = s;
      }
    }
  }
  return best;
}

static void try_d(const nb_super_shape *shape, const group *groups, float d, float from, float to, int steps, nb_super_plan *best) {
  nb_super_plan plan = {.d = d};
  for (int j = 0; j < 256 / shape->size; j++) plan.error += best_code(shape, &groups[j], d, from, to, steps, &plan.s[j]);
  if (plan.error < best->error) *best = plan;
}

// The half scale that is best for the plan's codes and the levels they lead to.
static float refit(const nb_super_shape *shape, const group *groups, const nb_super_plan *plan) {
  double rq = 0, qq = 0;
  for (int j = 0; j < 256 / shape->size; j++) {
    if (plan->s[j] == 0) continue;
    const double s = plan->s[j];
    const nb_sums sums = nb_sums_at(&shape->levels, groups[j].x, groups[j].w, shape->size, plan->d * (float)plan->s[j], 0);
    rq += s * (double)sums.rq;
    qq += s * s * (double)sums.qq;
  }
  return qq > 0 ? nb_half_round((float)((double)plan->d + rq / qq)) : plan->d;
}

// From here on a group's best scale is the one that the plan gives it.
static void settle(const nb_super_shape *shape, group *groups, const nb_super_plan *plan) {
  for (int j = 0; j < 256 / shape->size; j++) {
    const float scale = plan->d * (float)plan->s[j];
    if (scale != 0) groups[j].scale[scale < 0] = scale;
  }
}

nb_super_plan nb_search_signed(const nb_super_shape *shape, const float *x, const float *w) {
  const int n = 256 / shape->size;
  group groups[NB_GROUPS];
  nb_super_plan best = {.error = 0};
  float top = 0;
  for (int j = 0; j < n; j++) {
    const float *gx = x + j * shape->size, *gw = w + j * shape->size;
    const nb_line plus = nb_search_scale(&shape->levels, gx, gw, shape->size, 1, false);
    const nb_line minus = nb_search_scale(&shape->levels, gx, gw, shape->size, -1, false);
    groups[j] = (group){gx, gw, {plus.d, minus.d}, minus.error < plus.error};
    const float scale = groups[j].scale[groups[j].better];
    top = fabsf(scale) > fabsf(top) ? scale : top;
    best.error += nb_error_at(&shape->levels, gx, gw, shape->size, 0, 0);
  }
  if (top == 0) return best;
  for (int i = 0; shape->reach[i] != 0; i++) {
    const float d = nb_half_scale(top / shape->reach[i]);
    try_d(shape, groups, d, 1, 1, 1, &best);
    try_d(shape, groups, -d, 1, 1, 1, &best);
  }
  if (best.d == 0) return best;
  try_d(shape, groups, best.d, shape->from, shape->to, 0, &best);
  for (int i = 0; i < 6; i++) {
    settle(shape, groups, &best);
    const float d = refit(shape, groups, &best), before = best.error;
    if (d == best.d || d == 0) break;
    try_d(shape, groups, d, 1, 1, 2, &best);
    if (!(best.error < before)) break;
  }
  return best;
}
