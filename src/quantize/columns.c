#include "columns.h"

#include <math.h>
#include <string.h>

#include "../base/mem.h"
#include "panel.h"

// Two doubles, at any address. Both compilers make SIMD instructions of them on every target, the same operations in the same order.
typedef double d2 __attribute__((vector_size(16), aligned(8), may_alias));

enum { CLAIM = 8 };  // rows that a thread takes at a time

// Everything is in double: hundreds of columns go one after another, and each changes all that is left.
typedef struct elimination {
  size_t cols, stride, rows;  // rows, stride: rounded up to an even number
  double *p;                  // [cols, stride] first H, then its inverse
  double *w;                  // [cols, rows] the columns of W
  double *scores;             // [cols] what the loss of a column costs
  const uint8_t *kept;
  size_t pivot;
} elimination;

static size_t even(size_t n) { return n + n % 2; }

uint64_t nb_columns_scratch_bytes(size_t rows, size_t cols, bool compensate) {
  uint64_t p = 0, w, all;
  if ((compensate && !nb_mul_u64(cols, (uint64_t)cols + 1, &p)) || !nb_mul_u64(cols, (uint64_t)rows + 2, &w) || !nb_add_u64(p, w, &all) ||
      !nb_mul_u64(all, sizeof(double), &all) || all > UINT64_MAX / 2)
    return UINT64_MAX;
  return 128 + nb_cut_bytes(p * sizeof(double)) + nb_cut_bytes(w * sizeof(double));
}

// a -= f * b, n even
static void subtract(double *a, double f, const double *b, size_t n) {
  for (size_t i = 0; i < n; i += 2) *(d2 *)(a + i) -= (d2){f, f} * *(const d2 *)(b + i);
}

static double square(const double *a, size_t n) {
  d2 sum = {0};
  for (size_t i = 0; i < n; i += 2) sum += *(const d2 *)(a + i) * *(const d2 *)(a + i);
  return sum[0] + sum[1];
}

// ---- H^-1: sweeping every column of H gives -H^-1 --------------------------------------------------------------------------------

static void sweep_rows(nb_share *share, void *arg) {
  const elimination *e = arg;
  const size_t k = e->pivot;
  const double *row = e->p + k * e->stride;
  for (size_t c; (c = nb_team_claim(share)) * CLAIM < e->cols;) {
    for (size_t i = c * CLAIM; i < (c + 1) * CLAIM && i < e->cols; i++) {
      double *own = e->p + i * e->stride;
      const double f = own[k] / row[k];
      if (i == k || f == 0) continue;
      subtract(own, f, row, e->stride);
      own[k] = f;
    }
  }
}

// False where H is not positive definite.
static bool invert(nb_team *team, elimination *e, const float *h, double added) {
  for (size_t i = 0; i < e->cols; i++) {
    double *row = e->p + i * e->stride;
    for (size_t j = 0; j < e->cols; j++) row[j] = (double)h[i * e->cols + j];
    if (e->stride > e->cols) row[e->cols] = 0;
    row[i] += added;
  }
  for (size_t k = 0; k < e->cols; k++) {
    double *row = e->p + k * e->stride;
    if (!(row[k] > 1e-12 * ((double)h[k * e->cols + k] + added))) return false;
    e->pivot = k;
    nb_team_run(team, sweep_rows, e);
    const double d = row[k];
    for (size_t j = 0; j < e->cols; j++) row[j] /= d;
    row[k] = -1 / d;
  }
  for (size_t i = 0; i < e->cols * e->stride; i++) e->p[i] = -e->p[i];
  return true;
}

// ---- columns go -------------------------------------------------------------------------------------------------------------------

static double cost(const elimination *e, size_t k) { return square(e->w + k * e->rows, e->rows) / e->p[k * e->stride + k]; }

static void leave_rows(nb_share *share, void *arg) {
  const elimination *e = arg;
  const size_t j = e->pivot;
  const double *row = e->p + j * e->stride;
  for (size_t c; (c = nb_team_claim(share)) * CLAIM < e->cols;) {
    for (size_t k = c * CLAIM; k < (c + 1) * CLAIM && k < e->cols; k++) {
      if (!e->kept[k]) continue;
      const double f = e->p[k * e->stride + j] / row[j];
      subtract(e->p + k * e->stride, f, row, e->stride);
      subtract(e->w + k * e->rows, f, e->w + j * e->rows, e->rows);
      e->scores[k] = cost(e, k);
    }
  }
}

static size_t least(const elimination *e) {
  size_t best = e->cols;
  for (size_t j = 0; j < e->cols; j++)
    if (e->kept[j] && (best == e->cols || e->scores[j] < e->scores[best])) best = j;
  return best;
}

// ---- the whole --------------------------------------------------------------------------------------------------------------------

static nb_status check(const nb_columns_options *o, const float *w, size_t rows, size_t cols, const float *h, nb_error *err) {
  if (o->keep < 1 || o->keep > cols) return nb_fail(err, NB_E_ARGUMENT, "%zu of %zu columns cannot stay", o->keep, cols);
  for (uint64_t i = 0; i < (uint64_t)rows * cols; i++)
    if (!isfinite(w[i])) return nb_fail(err, NB_E_ARGUMENT, "there are weights that are not finite numbers");
  for (uint64_t i = 0; i < (uint64_t)cols * cols; i++)
    if (!isfinite(h[i])) return nb_fail(err, NB_E_ARGUMENT, "H: there are numbers that are not finite; calibrate again");
  for (size_t j = 0; j < cols; j++)
    if (h[j * cols + j] < 0) return nb_fail(err, NB_E_ARGUMENT, "H: the mean square of input %zu is negative; calibrate again", j);
  return NB_OK;
}

static void choose_by_size(const nb_columns_options *o, elimination *e, const float *h, uint8_t *kept) {
  for (size_t j = 0; j < e->cols; j++) e->scores[j] = square(e->w + j * e->rows, e->rows) * (double)h[j * e->cols + j];
  for (size_t left = e->cols; left > o->keep; left--) kept[least(e)] = 0;
}

static void choose_by_loss(nb_team *team, const nb_columns_options *o, elimination *e, uint8_t *kept) {
  for (size_t k = 0; k < e->cols; k++) e->scores[k] = cost(e, k);
  for (size_t left = e->cols; left > o->keep; left--) {
    e->pivot = least(e);
    kept[e->pivot] = 0;
    nb_team_run(team, leave_rows, e);
  }
}

enum { MOST_TRIES = 100 };

nb_status nb_prune_columns(nb_team *team, const nb_columns_options *o, float *w, size_t rows, size_t cols, const float *h, uint8_t *kept,
                           nb_columns_report *report, void *scratch, nb_error *err) {
  const nb_status s = check(o, w, rows, cols, h, err);
  if (s) return s;
  uint8_t *room = (uint8_t *)scratch + (64 - (uintptr_t)scratch % 64) % 64;
  elimination e = {.cols = cols, .stride = even(cols), .rows = even(rows), .kept = kept};
  if (o->compensate) e.p = nb_cut(&room, cols * e.stride * sizeof *e.p);
  e.w = nb_cut(&room, cols * e.rows * sizeof *e.w);
  e.scores = nb_cut(&room, cols * sizeof *e.scores);
  for (size_t j = 0; j < cols; j++) {
    for (size_t r = 0; r < rows; r++) e.w[j * e.rows + r] = (double)w[r * cols + j];
    if (e.rows > rows) e.w[j * e.rows + rows] = 0;
    kept[j] = 1;
  }
  *report = (nb_columns_report){0};
  if (!o->compensate) {
    choose_by_size(o, &e, h, kept);
  } else if (o->keep < cols) {
    double mean = 0;
    for (size_t j = 0; j < cols; j++) mean += (double)h[j * cols + j] / (double)cols;
    if (mean == 0) mean = 1;  // no input was other than 0: every choice is as good
    bool done = false;
    for (int i = 1; i <= MOST_TRIES && !done; i++) {
      report->damping = i * (double)o->damping;
      done = invert(team, &e, h, report->damping * mean);
    }
    if (!done) return nb_fail(err, NB_E_ARGUMENT, "H: no sum of squares; calibrate again");
    choose_by_loss(team, o, &e, kept);
  }
  for (size_t j = 0; j < cols; j++)
    for (size_t r = 0; r < rows; r++) w[r * cols + j] = kept[j] ? (float)e.w[j * e.rows + r] : 0;
  return NB_OK;
}
