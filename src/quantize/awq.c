#include "awq.h"

#include <math.h>
#include <string.h>

#include "panel.h"

enum { L = NB_LANES16 };

// A thread's: rows of W and their rest as panels, one row scaled, its blocks decoded.
static uint64_t thread_bytes(size_t cols) {
  return 2 * nb_cut_bytes((uint64_t)cols * L * sizeof(float)) + nb_cut_bytes((uint64_t)cols * sizeof(float)) + nb_cut_bytes((uint64_t)cols / 32 * 34);
}

static uint64_t all_rows(const nb_awq_matrix *matrices, size_t n) {
  uint64_t rows = 0;
  for (size_t i = 0; i < n; i++) rows += matrices[i].rows;
  return rows;
}

uint64_t nb_awq_scratch_bytes(size_t cols, const nb_awq_matrix *matrices, size_t n, unsigned threads) {
  return 64 + 2 * nb_cut_bytes((uint64_t)cols * sizeof(float)) + nb_cut_bytes(all_rows(matrices, n) * sizeof(double)) + threads * thread_bytes(cols);
}

typedef struct trial {
  nb_encode_method method;
  const nb_awq_matrix *m;
  nb_grid grid;
  size_t cols, rows;              // rows tried: number i is the matrix's row i * m->rows / rows
  const float *h, *scales, *importance;
  bool energy;                    // of W itself, in place of the error
  uint8_t *threads;
  double *errors;
} trial;

static const float *row_of(const trial *t, size_t i) { return t->m->w + (size_t)((uint64_t)i * t->m->rows / t->rows) * t->cols; }

static void try_row(const trial *t, size_t i, size_t lane, const float *w, float *rest, float *scaled, uint8_t *blocks) {
  const float *row = row_of(t, i);
  for (size_t j = 0; j < t->cols; j++) scaled[j] = row[j] * t->scales[j];
  nb_encode_row(t->grid.type, t->method, scaled, t->importance, t->cols, blocks);
  for (size_t b = 0; b < t->cols / t->grid.block; b++) {
    nb_grid_block block;
    nb_grid_take(&t->grid, blocks + b * t->grid.bytes, &block);
    for (size_t k = 0; k < t->grid.block; k++) {
      const size_t j = b * t->grid.block + k, g = k / t->grid.size;
      const float value = nb_grid_scale(&block, g) * nb_level_value(&t->grid.levels, block.q[k]) + nb_grid_shift(&block, g);
      rest[j * L + lane] = w[j * L + lane] - value / t->scales[j];
    }
  }
}

static void try_panels(nb_share *share, void *arg) {
  const trial *t = arg;
  uint8_t *scratch = t->threads + share->index * (size_t)thread_bytes(t->cols);
  const size_t bytes = t->cols * L * sizeof(float);
  float *w = nb_cut(&scratch, bytes), *rest = nb_cut(&scratch, bytes), *scaled = nb_cut(&scratch, t->cols * sizeof(float));
  for (size_t p; (p = nb_team_claim(share)) * L < t->rows;) {
    const size_t first = p * L, rows = t->rows - first < L ? t->rows - first : L;
    for (size_t l = 0; l < L; l++) {
      for (size_t j = 0; j < t->cols; j++) w[j * L + l] = l < rows ? row_of(t, first + l)[j] : 0;
      if (l >= rows) {
        for (size_t j = 0; j < t->cols; j++) rest[j * L + l] = 0;
      } else if (!t->energy) {
        try_row(t, first + l, l, w, rest, scaled, scratch);
      }
    }
    double errors[L];
    nb_panel_errors(w, t->energy ? w : rest, t->cols, t->h, NULL, errors);
    memcpy(t->errors + first, errors, rows * sizeof *errors);
  }
}

// Over all matrices.
static double error_of(nb_team *team, trial *t, const nb_awq_matrix *matrices, size_t n, size_t rows_most) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) {
    t->m = &matrices[i];
    t->grid = nb_grid_of(matrices[i].type);
    t->rows = rows_most && rows_most < matrices[i].rows ? rows_most : matrices[i].rows;
    nb_team_run(team, try_panels, t);
    for (size_t r = 0; r < t->rows; r++) sum += t->errors[r];
  }
  return sum;
}

// m^a / v^(1-a), brought to about 1 in the middle. Inputs that are never there have the scale 1.
static void scales_of(size_t cols, const float *m, const float *v, float a, float *s) {
  double least = INFINITY, most = 0;
  for (size_t j = 0; j < cols; j++) {
    if (!(m[j] > 0 && v[j] > 0)) continue;
    const double scale = pow((double)m[j], (double)a) / pow((double)v[j], 1 - (double)a);
    least = scale < least ? scale : least;
    most = scale > most ? scale : most;
    s[j] = (float)scale;
  }
  const double middle = most > 0 ? sqrt(least) * sqrt(most) : 1;
  for (size_t j = 0; j < cols; j++) {
    const double scale = m[j] > 0 && v[j] > 0 ? (double)s[j] / middle : 1;
    s[j] = (float)(scale < 1e-4 ? 1e-4 : scale > 1e4 ? 1e4 : scale);
  }
}

static nb_status check(size_t cols, const float *h, const float *magnitude, const nb_awq_matrix *matrices, size_t n, nb_error *err) {
  for (size_t i = 0; i < n; i++) {
    const nb_type_info *info = nb_type_get(matrices[i].type);
    if (info->block_size < 32 || cols % info->block_size) {
      return nb_fail(err, NB_E_ARGUMENT, "matrix %zu: rows of %zu weights do not divide into blocks of %s", i, cols,
                     info->name ? info->name : "an unknown type");
    }
    for (uint64_t k = 0; k < (uint64_t)matrices[i].rows * cols; k++) {
      if (!isfinite(matrices[i].w[k])) return nb_fail(err, NB_E_ARGUMENT, "matrix %zu: there are weights that are not finite numbers", i);
    }
  }
  for (uint64_t k = 0; k < (uint64_t)cols * cols; k++) {
    if (!isfinite(h[k])) return nb_fail(err, NB_E_ARGUMENT, "H: there are numbers that are not finite; calibrate again");
  }
  for (size_t j = 0; j < cols; j++) {
    if (!(h[j * cols + j] >= 0) || (magnitude && !(magnitude[j] >= 0 && isfinite(magnitude[j])))) {
      return nb_fail(err, NB_E_ARGUMENT, "the mean size of input %zu is negative or not a number; calibrate again", j);
    }
  }
  return NB_OK;
}

nb_status nb_awq(nb_team *team, nb_encode_method method, size_t rows_most, size_t cols, const float *h, const float *magnitude,
                 const nb_awq_matrix *matrices, size_t n, float *scales, nb_awq_report *report, void *scratch, nb_error *err) {
  const nb_status s = check(cols, h, magnitude, matrices, n, err);
  if (s) return s;
  uint8_t *room = (uint8_t *)scratch + (64 - (uintptr_t)scratch % 64) % 64;
  float *weight = nb_cut(&room, cols * sizeof *weight), *importance = nb_cut(&room, cols * sizeof *importance), *size = importance;
  double *errors = nb_cut(&room, (size_t)all_rows(matrices, n) * sizeof *errors);
  trial t = {.method = method, .cols = cols, .h = h, .scales = scales, .importance = importance, .threads = room, .errors = errors};
  // mean |w| of a column, over all rows
  for (size_t j = 0; j < cols; j++) weight[j] = 0;
  for (size_t i = 0; i < n; i++) {
    for (size_t r = 0; r < matrices[i].rows; r++) {
      for (size_t j = 0; j < cols; j++) weight[j] += fabsf(matrices[i].w[r * cols + j]);
    }
  }
  for (size_t j = 0; j < cols; j++) weight[j] /= (float)all_rows(matrices, n);
  *report = (nb_awq_report){0};
  t.energy = true;
  report->energy = error_of(team, &t, matrices, n, rows_most);
  t.energy = false;
  int best = -1;
  for (int step = -1; step <= NB_AWQ_STEPS; step++) {  // -1: without scales
    const float a = (float)step / NB_AWQ_STEPS;
    for (size_t j = 0; j < cols; j++) size[j] = magnitude ? magnitude[j] : sqrtf(h[j * cols + j]);
    for (size_t j = 0; j < cols && step < 0; j++) scales[j] = 1;
    if (step >= 0) scales_of(cols, size, weight, a, scales);
    for (size_t j = 0; j < cols; j++) importance[j] = h[j * cols + j] / (scales[j] * scales[j]);
    const double error = error_of(team, &t, matrices, n, rows_most);
    if (step < 0) report->plain = report->error = error;
    else report->errors[step] = error;
    if (error < report->error) {
      report->error = error;
      best = step;
    }
  }
  report->scaled = best >= 0;
  report->exponent = best >= 0 ? (float)best / NB_AWQ_STEPS : 0;
  for (size_t j = 0; j < cols; j++) {
    size[j] = magnitude ? magnitude[j] : sqrtf(h[j * cols + j]);
    scales[j] = 1;
  }
  if (best >= 0) scales_of(cols, size, weight, report->exponent, scales);
  return NB_OK;
}

void nb_awq_scale_columns(float *w, size_t rows, size_t cols, const float *scales) {
  for (size_t r = 0; r < rows; r++) {
    for (size_t j = 0; j < cols; j++) w[r * cols + j] *= scales[j];
  }
}

void nb_awq_scale_moments(float *h, size_t cols, const float *scales) {
  for (size_t i = 0; i < cols; i++) {
    for (size_t j = 0; j < cols; j++) h[i * cols + j] /= scales[i] * scales[j];
  }
}
