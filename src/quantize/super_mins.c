// Q2_K, Q4_K, Q5_K: for each group a code of its scale and a code of its minimum, both >= 0.
#include <math.h>

#include "super.h"

enum { FINALISTS = 2 };  // pairs of half scales that are tried thoroughly

typedef struct group {
  const float *x, *w;
  float scale, min;  // the best ones, by itself: x is about scale * q - min
  float middle;      // the mean level under them
} group;

static int within(float v, int lo, int hi) { return (int)nb_round_within(v, (float)lo, (float)hi); }

// Which codes to try: those of a group's scale from `from` times to `to` times and `steps` further at either end; of its minimum `around` to either side.
typedef struct window {
  float from, to;
  int steps, around;
} window;

static float best_codes(const nb_super_shape *shape, const group *g, float d, float dmin, window win, int *s_best, int *m_best) {
  *s_best = *m_best = 0;
  float best = INFINITY;
  const float at = d > 0 ? g->scale / d : 0;
  int first = within(at * win.from, 0, shape->s_max) - win.steps, last = within(at * win.to, 0, shape->s_max) + win.steps;
  first = first < 0 ? 0 : first;
  last = d > 0 ? (last > shape->s_max ? shape->s_max : last) : 0;
  for (int s = first; s <= last; s++) {
    const float scale = d * (float)s;
    // A larger scale reaches further up; the middle stays where it is when the minimum follows.
    const int middle = dmin > 0 ? within((g->min + (scale - g->scale) * g->middle) / dmin, 0, shape->m_max) : 0;
    const int from = middle > win.around ? middle - win.around : 0, to = dmin > 0 ? middle + win.around : 0;
    for (int m = from; m <= to && m <= shape->m_max; m++) {
      const float error = nb_error_at(&shape->levels, g->x, g->w, shape->size, scale, -(dmin * (float)m));
      if (error < best) {
        best = error;
        *s_best = s;
        *m_best = m;
      }
    }
  }
  return best;
}

static void try_scales(const nb_super_shape *shape, const group *groups, float d, float dmin, window win, nb_super_plan *best) {
  nb_super_plan plan = {.d = d, .dmin = dmin};
  for (int j = 0; j < 256 / shape->size; j++) plan.error += best_codes(shape, &groups[j], d, dmin, win, &plan.s[j], &plan.m[j]);
  if (plan.error < best->error) *best = plan;
}

// A group as the plan has it.
static void settle(const nb_super_shape *shape, group *g, float scale, float min) {
  g->scale = scale;
  g->min = min;
  g->middle = 0;
  if (scale == 0) return;
  float weights = 0;
  for (int i = 0; i < shape->size; i++) weights += g->w[i];
  g->middle = nb_sums_at(&shape->levels, g->x, g->w, shape->size, scale, -min).q / (weights > 0 ? weights : 1);
}

static void settle_all(const nb_super_shape *shape, group *groups, const nb_super_plan *plan) {
  for (int j = 0; j < 256 / shape->size; j++) settle(shape, &groups[j], plan->d * (float)plan->s[j], plan->dmin * (float)plan->m[j]);
}

// The two half scales that are best for the plan's codes and the levels they lead to: least squares of two unknowns.
static void refit(const nb_super_shape *shape, const group *groups, const nb_super_plan *plan, float *d, float *dmin) {
  double aa = 0, ab = 0, bb = 0, ra = 0, rb = 0;  // a = s * level, b = -m
  for (int j = 0; j < 256 / shape->size; j++) {
    const float scale = plan->d * (float)plan->s[j], shift = -(plan->dmin * (float)plan->m[j]), *x = groups[j].x, *w = groups[j].w;
    const float inverse = scale > 0 ? 1 / scale : 0;
    for (int i = 0; i < shape->size; i++) {
      const float level = scale > 0 ? nb_round_within((x[i] - shift) * inverse, shape->levels.lo, shape->levels.hi) : 0;
      const double a = (double)plan->s[j] * (double)level, b = -plan->m[j], weight = (double)w[i];
      const double rest = (double)x[i] - (double)scale * (double)level - (double)shift;
      aa += weight * a * a;
      ab += weight * a * b;
      bb += weight * b * b;
      ra += weight * rest * a;
      rb += weight * rest * b;
    }
  }
  const double det = aa * bb - ab * ab;
  const double step = det > 1e-9 * aa * bb ? (ra * bb - rb * ab) / det : aa > 0 ? ra / aa : 0;
  *d = nb_half_round((float)((double)plan->d + step));
  *dmin = bb > 0 ? nb_half_round((float)((double)plan->dmin + (rb - ((double)*d - (double)plan->d) * ab) / bb)) : plan->dmin;
}

nb_super_plan nb_search_mins(const nb_super_shape *shape, const float *x, const float *w) {
  const int n = 256 / shape->size;
  group groups[NB_GROUPS];
  float scale = 0, min = 0;
  for (int j = 0; j < n; j++) {
    groups[j] = (group){.x = x + j * shape->size, .w = w + j * shape->size};
    const nb_line line = nb_search_line(&shape->levels, groups[j].x, groups[j].w, shape->size, false, true);
    settle(shape, &groups[j], line.d, -line.m);
    scale = line.d > scale ? line.d : scale;
    min = -line.m > min ? -line.m : min;
  }
  nb_super_plan first[FINALISTS];
  for (int i = 0; i < FINALISTS; i++) first[i].error = INFINITY;
  for (int i = 0; shape->reach[i] != 0; i++) {
    const float d = nb_half_scale(scale / shape->reach[i]);
    for (int k = 0; shape->reach[k] != 0; k++) {
      nb_super_plan plan = {.error = INFINITY};
      try_scales(shape, groups, d, nb_half_scale(min / shape->reach[k]), (window){1, 1, 1, 1}, &plan);
      for (int f = 0; f < FINALISTS; f++) {
        if (plan.error < first[f].error) {
          const nb_super_plan next = first[f];
          first[f] = plan;
          plan = next;
        }
      }
      if (min == 0) break;
    }
  }
  nb_super_plan best = first[0];
  for (int f = 0; f < FINALISTS && first[f].error < INFINITY; f++) {
    try_scales(shape, groups, first[f].d, first[f].dmin, (window){shape->from, shape->to, 1, shape->around}, &best);
  }
  for (int i = 0; i < 6; i++) {
    settle_all(shape, groups, &best);
    float d, dmin;
    refit(shape, groups, &best, &d, &dmin);
    if (!(d >= 0 && dmin >= 0) || (d == best.d && dmin == best.dmin)) break;
    const float before = best.error;
    try_scales(shape, groups, d, dmin, (window){1, 1, 2, 2}, &best);
    if (!(best.error < before)) break;
  }
  return best;
}
