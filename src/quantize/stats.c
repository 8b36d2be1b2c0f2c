// Products of vectors with themselves, summed: a chunk of vectors is turned into panels of 8 columns,
//
//     panels[column / 8][vector of the chunk][column % 8]
//
// so that a tile of 8 x 8 sums runs through two panels in order of memory and stays in registers meanwhile. Of h only tiles on and above the
// diagonal are computed.
#include "stats.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"
#include "../kernels/simd.h"

#define PANEL 8                          // columns
#define PANEL_FLOATS ((size_t)NB_STATS_CHUNK * PANEL)
#define ALIGN 64

#ifdef NB_SIMD128
#define OUTER nb_outer_8x8_simd128
#else
#define OUTER nb_outer_8x8_scalar
#endif

static size_t n_panels(size_t cols) { return (cols + PANEL - 1) / PANEL; }

// ---- memory -----------------------------------------------------------------------------------------------------------------

static bool sizes(size_t cols, unsigned parts, uint64_t *square, uint64_t *panels) {
  if (!nb_mul_u64(cols, cols, square) || !nb_mul_u64(*square, sizeof(float), square)) return false;
  if (!nb_mul_u64(n_panels(cols), PANEL_FLOATS * sizeof(float), panels)) return false;
  if (!parts) *panels = 0;
  return true;
}

uint64_t nb_stats_bytes(size_t cols, unsigned parts) {
  uint64_t square, panels, sum = 0;
  if (!sizes(cols, parts, &square, &panels) || square > UINT64_MAX / 8 || panels > UINT64_MAX / 8) return UINT64_MAX;
  sum = (uint64_t)cols * (2 * sizeof(double) + sizeof(float)) + panels;
  if (parts & NB_STATS_H) sum += square;
  if (parts & NB_STATS_CROSS) sum += square + panels;
  return sum;
}

static bool zeros(void **out, uint64_t bytes) {
  size_t size;
  if (!nb_to_size(nb_align_up(bytes ? bytes : 1, ALIGN), &size)) return false;
  *out = aligned_alloc(ALIGN, size);
  if (*out) memset(*out, 0, size);
  return *out != NULL;
}

nb_status nb_stats_init(nb_stats *s, size_t cols, unsigned parts, nb_error *err) {
  *s = (nb_stats){.cols = cols};
  uint64_t square, panels;
  bool ok = nb_stats_bytes(cols, parts) != UINT64_MAX && sizes(cols, parts, &square, &panels);
  ok = ok && zeros((void **)&s->sum, cols * sizeof *s->sum) && zeros((void **)&s->sum_sq, cols * sizeof *s->sum_sq);
  ok = ok && zeros((void **)&s->max_abs, cols * sizeof *s->max_abs);
  if (ok && parts) ok = zeros((void **)&s->panels, panels);
  if (ok && parts & NB_STATS_H) ok = zeros((void **)&s->h, square);
  if (ok && parts & NB_STATS_CROSS) ok = zeros((void **)&s->cross, square) && zeros((void **)&s->cross_panels, panels);
  if (ok) return NB_OK;
  nb_stats_free(s);
  return nb_fail_nomem(err, "statistics of the inputs of a matrix", nb_stats_bytes(cols, parts));
}

void nb_stats_free(nb_stats *s) {
  void *all[] = {s->sum, s->sum_sq, s->max_abs, s->h, s->cross, s->panels, s->cross_panels};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  *s = (nb_stats){0};
}

void nb_stats_clear(nb_stats *s) {
  const size_t cols = s->cols;
  s->n = s->n_left_out = 0;
  s->waiting = 0;
  memset(s->sum, 0, cols * sizeof *s->sum);
  memset(s->sum_sq, 0, cols * sizeof *s->sum_sq);
  memset(s->max_abs, 0, cols * sizeof *s->max_abs);
  if (s->h) memset(s->h, 0, cols * cols * sizeof *s->h);
  if (s->cross) memset(s->cross, 0, cols * cols * sizeof *s->cross);
}

// ---- taking vectors in ------------------------------------------------------------------------------------------------------

typedef struct add_job {
  nb_stats *s;
  const float *x, *reference;
  size_t n;                        // vectors of x, at most a chunk
  bool finite[NB_STATS_CHUNK];
  uint16_t kept[NB_STATS_CHUNK];   // the finite ones
  size_t n_kept;
} add_job;

static uint32_t bits_of(float x) {
  uint32_t b;
  memcpy(&b, &x, sizeof b);
  return b;
}

#define EXPONENT 0x7f800000u

static bool all_finite(const float *x, const float *reference, size_t n) {
  uint32_t bad = 0;
  for (size_t c = 0; c < n; c++) bad |= (bits_of(x[c]) & EXPONENT) == EXPONENT;
  for (size_t c = 0; reference && c < n; c++) bad |= (bits_of(reference[c] - x[c]) & EXPONENT) == EXPONENT;
  return !bad;
}

#define CHECK_VECTORS 32  // of a unit

static void check(nb_share *share, void *arg) {
  add_job *j = arg;
  const size_t cols = j->s->cols;
  for (size_t t0; (t0 = nb_team_claim(share) * CHECK_VECTORS) < j->n;) {
    for (size_t t = t0; t < j->n && t < t0 + CHECK_VECTORS; t++) {
      j->finite[t] = all_finite(j->x + t * cols, j->reference ? j->reference + t * cols : NULL, cols);
    }
  }
}

// Up to 8 columns of the vectors that are kept.
static void add_panel(const add_job *j, size_t panel) {
  const nb_stats *s = j->s;
  const size_t c0 = panel * PANEL, n = s->cols - c0 < PANEL ? s->cols - c0 : PANEL;
  double sum[PANEL] = {0}, sum_sq[PANEL] = {0};
  float max_abs[PANEL] = {0}, x[PANEL] = {0};
  memcpy(sum, s->sum + c0, n * sizeof *sum);
  memcpy(sum_sq, s->sum_sq + c0, n * sizeof *sum_sq);
  memcpy(max_abs, s->max_abs + c0, n * sizeof *max_abs);
  float *to = s->panels ? s->panels + panel * PANEL_FLOATS + s->waiting * PANEL : NULL;
  float *cross = s->cross ? s->cross_panels + panel * PANEL_FLOATS + s->waiting * PANEL : NULL;
  for (size_t k = 0; k < j->n_kept; k++) {
    const float *from = j->x + j->kept[k] * s->cols + c0;
    if (n == PANEL) memcpy(x, from, sizeof x);
    else memcpy(x, from, n * sizeof *x);
    for (size_t i = 0; i < PANEL; i++) {
      const float a = fabsf(x[i]);
      max_abs[i] = a > max_abs[i] ? a : max_abs[i];
      sum[i] += (double)x[i];
      sum_sq[i] += (double)x[i] * (double)x[i];
    }
    if (to) memcpy(to + k * PANEL, x, sizeof x);
    if (!cross) continue;
    const float *wanted = j->reference + j->kept[k] * s->cols + c0;
    for (size_t i = 0; i < n; i++) cross[k * PANEL + i] = wanted[i] - x[i];
  }
  memcpy(s->sum + c0, sum, n * sizeof *sum);
  memcpy(s->sum_sq + c0, sum_sq, n * sizeof *sum_sq);
  memcpy(s->max_abs + c0, max_abs, n * sizeof *max_abs);
}

#define ADD_PANELS 4  // of a unit: whole cache lines

static void add_columns(nb_share *share, void *arg) {
  const add_job *j = arg;
  const size_t panels = n_panels(j->s->cols);
  for (size_t p0; (p0 = nb_team_claim(share) * ADD_PANELS) < panels;) {
    for (size_t p = p0; p < panels && p < p0 + ADD_PANELS; p++) add_panel(j, p);
  }
}

// ---- products ---------------------------------------------------------------------------------------------------------------

void nb_outer_8x8_scalar(const float *a, const float *b, size_t n, float sum[64]) {
  for (size_t i = 0; i < 8; i++) {
    for (size_t j = 0; j < 8; j++) {
      float s = a[i] * b[j];
      for (size_t t = 1; t < n; t++) s += a[8 * t + i] * b[8 * t + j];
      sum[8 * i + j] = s;
    }
  }
}

// total[i0 .. i0+7][j0 .. j0+7] += the sum over the chunk, as far as there are such rows and columns.
static void add_tile(float *total, size_t cols, const float *a, const float *b, size_t n, size_t i0, size_t j0) {
  _Alignas(16) float sum[PANEL * PANEL];
  OUTER(a, b, n, sum);
  const size_t rows = cols - i0 < PANEL ? cols - i0 : PANEL, columns = cols - j0 < PANEL ? cols - j0 : PANEL;
  for (size_t i = 0; i < rows; i++) {
    float *to = total + (i0 + i) * cols + j0;
    if (columns == PANEL) {
      for (size_t k = 0; k < PANEL; k++) to[k] += sum[i * PANEL + k];
    } else {
      for (size_t k = 0; k < columns; k++) to[k] += sum[i * PANEL + k];
    }
  }
}

#define UNIT_PANELS 2  // rows of tiles that go together through the panels: they are read half as often

// Units in the order of their work, the longest first: all rows of cross, then those of h from the top.
static void multiply_panels(nb_share *share, void *arg) {
  const nb_stats *s = arg;
  const size_t panels = n_panels(s->cols), units = (panels + UNIT_PANELS - 1) / UNIT_PANELS, before = s->cross ? units : 0;
  for (size_t unit; (unit = nb_team_claim(share)) < before + (s->h ? units : 0);) {
    const bool of_cross = unit < before;
    const size_t i0 = (of_cross ? unit : unit - before) * UNIT_PANELS, i1 = i0 + UNIT_PANELS < panels ? i0 + UNIT_PANELS : panels;
    const float *right = of_cross ? s->cross_panels : s->panels;
    for (size_t j = of_cross ? 0 : i0; j < panels; j++) {
      for (size_t i = i0; i < i1 && (of_cross || i <= j); i++) {
        add_tile(of_cross ? s->cross : s->h, s->cols, s->panels + i * PANEL_FLOATS, right + j * PANEL_FLOATS, s->waiting, i * PANEL, j * PANEL);
      }
    }
  }
}

static void flush(nb_stats *s, nb_team *team) {
  if (s->waiting) nb_team_run(team, multiply_panels, s);
  s->waiting = 0;
}

void nb_stats_add(nb_stats *s, const float *x, const float *reference, size_t n, nb_team *team) {
  assert(s->cross == NULL || reference);
  if (!s->cross) reference = NULL;
  add_job j = {.s = s};
  for (size_t done = 0; done < n; done += j.n) {
    const size_t room = NB_STATS_CHUNK - s->waiting;
    j.x = x + done * s->cols;
    j.reference = reference ? reference + done * s->cols : NULL;
    j.n = n - done < room ? n - done : room;
    nb_team_run(team, check, &j);
    j.n_kept = 0;
    for (size_t t = 0; t < j.n; t++)
      if (j.finite[t]) j.kept[j.n_kept++] = (uint16_t)t;
    nb_team_run(team, add_columns, &j);
    s->n += j.n_kept;
    s->n_left_out += j.n - j.n_kept;
    if (!s->panels) continue;
    s->waiting += j.n_kept;
    if (s->waiting == NB_STATS_CHUNK) flush(s, team);
  }
}

static void mirror(nb_share *share, void *arg) {
  const nb_stats *s = arg;
  const size_t cols = s->cols;
  for (size_t i0; (i0 = nb_team_claim(share) * PANEL) < cols;) {
    const size_t i1 = i0 + PANEL < cols ? i0 + PANEL : cols;
    for (size_t j = 0; j < i1; j++) {
      for (size_t i = j < i0 ? i0 : j + 1; i < i1; i++) s->h[i * cols + j] = s->h[j * cols + i];
    }
  }
}

void nb_stats_finish(nb_stats *s, nb_team *team) {
  flush(s, team);
  if (s->h) nb_team_run(team, mirror, s);
}

size_t nb_stats_dead(const nb_stats *s, uint8_t *dead) {
  size_t n = 0;
  for (size_t c = 0; c < s->cols; c++) {
    const bool is_dead = s->max_abs[c] == 0;
    n += is_dead;
    if (dead) dead[c] = is_dead;
  }
  return n;
}
