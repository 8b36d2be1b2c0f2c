#include "gptq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "refine.h"
#include "sweep.h"

enum { L = NB_LANES16 };
#define DAMPING_MOST 16.0  // an H that needs more than this times its own diagonal is no sum of squares

nb_gptq_options nb_gptq_defaults(void) {
  return (nb_gptq_options){.order = NB_GPTQ_BEST, .scales = NB_ENCODE_SEARCH, .damping = 0.01f, .alpha = 0.25f, .refine = 2};
}

void nb_shrink_moments(float *h, size_t cols, float part) {
  const float kept = 1 - part;
  for (size_t i = 0; i < cols; i++) {
    for (size_t j = 0; j < cols; j++) h[i * cols + j] *= i == j ? 1 : kept;
  }
}

float nb_shrink_part(size_t cols, double samples) {
  const double part = samples > 0 ? 0.5 * (double)cols / samples : 0.5;
  return (float)(part < 0.5 ? part : 0.5);
}

static size_t row_bytes(nb_type type, size_t cols) { return cols / nb_type_get(type)->block_size * nb_type_get(type)->block_bytes; }

// ---- memory ---------------------------------------------------------------------------------------------------------------------

// A thread's: an encoding of 16 rows to be compared, then either what a sweep needs or two panels and the room of a refinement.
static uint64_t thread_bytes(size_t cols) {
  const uint64_t sweep = nb_sweep_scratch_bytes(cols);
  const uint64_t panels = 2 * nb_cut_bytes((uint64_t)cols * L * sizeof(float)) + nb_cut_bytes(sizeof(nb_refine_room));
  return nb_cut_bytes((uint64_t)row_bytes(NB_TYPE_Q8_0, cols) * L) + (sweep > panels ? sweep : panels);
}

static uint64_t all_rows(const nb_gptq_matrix *matrices, size_t n) {
  uint64_t rows = 0;
  for (size_t i = 0; i < n; i++) rows += matrices[i].rows;
  return rows;
}

static uint64_t factor_bytes(const nb_gptq_options *options, size_t cols) {
  return options->order == NB_GPTQ_SEARCH ? 0 : (uint64_t)cols * cols * sizeof(float);
}

uint64_t nb_gptq_scratch_bytes(const nb_gptq_options *options, size_t cols, const nb_gptq_matrix *matrices, size_t n, unsigned threads) {
  const uint64_t rows = all_rows(matrices, n), wide = cols;
  return 64 + nb_cut_bytes(wide * sizeof(float)) + nb_cut_bytes(wide * sizeof(uint32_t)) + nb_cut_bytes(factor_bytes(options, cols)) +
         nb_cut_bytes(rows * sizeof(double)) + nb_cut_bytes(rows) + threads * thread_bytes(cols);
}

typedef struct run {
  nb_team *team;
  const nb_gptq_options *options;
  size_t cols;
  const float *h, *cross;
  float *importance;  // H_jj
  double mean;        // of those that are not 0
  size_t dead;
  uint32_t *order;
  float *u;
  uint8_t *threads;   // their shares of the scratch memory
  nb_factor factor;
  float damping;
} run;

// ---- input ----------------------------------------------------------------------------------------------------------------------

static bool all_finite(const float *x, uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    if (!isfinite(x[i])) return false;
  }
  return true;
}

static nb_status check_matrices(const nb_gptq_matrix *matrices, size_t n, size_t cols, nb_error *err) {
  for (size_t i = 0; i < n; i++) {
    const nb_type_info *info = nb_type_get(matrices[i].type);
    if (info->block_size < 32) {
      return nb_fail(err, NB_E_ARGUMENT, "matrix %zu: GPTQ needs a type with blocks, not %s", i, info->name ? info->name : "an unknown one");
    }
    if (cols % info->block_size) {
      return nb_fail(err, NB_E_ARGUMENT, "matrix %zu: rows of %zu weights do not divide into the blocks of %s (%u)", i, cols, info->name,
                     info->block_size);
    }
    if (!all_finite(matrices[i].w, (uint64_t)matrices[i].rows * cols)) {
      return nb_fail(err, NB_E_ARGUMENT, "matrix %zu: there are weights that are not finite numbers", i);
    }
  }
  return NB_OK;
}

static nb_status check_moments(run *r, nb_error *err) {
  const size_t n = r->cols;
  double sum = 0;
  size_t live = 0;
  for (size_t j = 0; j < n; j++) {
    const float v = r->h[j * n + j];
    if (!(v >= 0)) return nb_fail(err, NB_E_ARGUMENT, "H: the mean square of input %zu is negative or not a number; calibrate again", j);
    r->importance[j] = v;
    sum += (double)v;
    live += v > 0;
  }
  if (!all_finite(r->h, (uint64_t)n * n)) return nb_fail(err, NB_E_ARGUMENT, "H: there are numbers that are not finite; calibrate again");
  if (r->cross && !all_finite(r->cross, (uint64_t)n * n)) {
    return nb_fail(err, NB_E_ARGUMENT, "the moments of the inputs' errors: there are numbers that are not finite; calibrate again");
  }
  r->dead = n - live;
  r->mean = live ? sum / (double)live : 1;
  return NB_OK;
}

// ---- the factor -----------------------------------------------------------------------------------------------------------------

typedef struct rank {
  float key;
  uint32_t number;
} rank;

// The least important first, since the sweep begins at the end.
static int compare_ranks(const void *a, const void *b) {
  const rank *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? -1 : 1;
  return x->number < y->number ? 1 : -1;
}

// Columns by H_jj; with `block` the blocks by their greatest one, and columns within them. `ranks` has room for `cols`.
static void put_in_order(run *r, size_t block, rank *ranks) {
  const size_t n = r->cols;
  if (!block) {
    for (size_t j = 0; j < n; j++) ranks[j] = (rank){r->importance[j], (uint32_t)j};
    qsort(ranks, n, sizeof *ranks, compare_ranks);
    for (size_t j = 0; j < n; j++) r->order[j] = ranks[j].number;
    return;
  }
  for (size_t b = 0; b < n / block; b++) {
    ranks[b] = (rank){0, (uint32_t)b};
    for (size_t j = b * block; j < (b + 1) * block; j++) ranks[b].key = r->importance[j] > ranks[b].key ? r->importance[j] : ranks[b].key;
  }
  qsort(ranks, n / block, sizeof *ranks, compare_ranks);
  for (size_t b = 0; b < n / block; b++) {
    rank inner[256];
    for (size_t i = 0; i < block; i++) inner[i] = (rank){r->importance[ranks[b].number * block + i], (uint32_t)(ranks[b].number * block + i)};
    qsort(inner, block, sizeof *inner, compare_ranks);
    for (size_t i = 0; i < block; i++) r->order[b * block + i] = inner[i].number;
  }
}

static void copy_ordered(nb_share *share, void *arg) {
  const run *r = arg;
  const size_t n = r->cols;
  const float part = (float)(1 / r->mean);
  for (size_t i; (i = nb_team_claim(share)) < n;) {
    const float *row = r->h + (size_t)r->order[i] * n;
    for (size_t j = i; j < n; j++) r->u[i * n + j] = row[r->order[j]] * part;
    r->u[i * n + i] = row[r->order[i]] > 0 ? r->u[i * n + i] + r->damping : 1;
  }
}

// H is divided by its mean diagonal, so that its size does not matter.
static nb_status factorise(run *r, size_t block, nb_error *err) {
  put_in_order(r, block, (rank *)r->u);
  for (r->damping = r->options->damping; r->damping <= DAMPING_MOST; r->damping = r->damping > 0 ? 2 * r->damping : 0.0001f) {
    nb_team_run(r->team, copy_ordered, r);
    if (!nb_cholesky_upper(r->team, r->u, r->cols)) continue;
    r->factor = (nb_factor){.n = r->cols, .u = r->u, .order = r->order, .unit = (float)r->mean, .groups = block != 0};
    return NB_OK;
  }
  return nb_fail(err, NB_E_ARGUMENT, "H is no matrix of second moments: it stays indefinite when %g of its mean diagonal is added; calibrate again",
                 DAMPING_MOST);
}

// ---- the ways -------------------------------------------------------------------------------------------------------------------

typedef struct way_job {
  const run *r;
  nb_gptq_order way;
  nb_gptq_matrix *m;
  nb_grid grid;
  size_t row_bytes;
  double *errors;  // of each row as encoded so far
  uint8_t *ways;   // and how it was
} way_job;

// Encodes 16 rows in the way of the job; `blocks` holds their encoding so far.
static void encode_rows(const way_job *job, const float *w, size_t rows, uint8_t *blocks, uint8_t *scratch) {
  const run *r = job->r;
  if (job->way == NB_GPTQ_SEARCH) {
    for (size_t l = 0; l < rows; l++) {
      nb_encode_row(job->grid.type, r->options->scales, w + l * r->cols, r->importance, r->cols, blocks + l * job->row_bytes);
    }
    return;
  }
  const nb_sweep sweep = {&job->grid, &r->factor, r->options->scales, r->importance, r->cross, r->options->alpha};
  nb_sweep_rows(&sweep, w, rows, blocks, scratch);
}

static void encode_panels(nb_share *share, void *arg) {
  const way_job *job = arg;
  const size_t cols = job->r->cols, panel_bytes = cols * L * sizeof(float);
  uint8_t *base = job->r->threads + share->index * (size_t)thread_bytes(cols);
  uint8_t *blocks = nb_cut(&base, row_bytes(NB_TYPE_Q8_0, cols) * L);
  for (size_t p; (p = nb_team_claim(share)) * L < job->m->rows;) {
    const size_t row = p * L, rows = job->m->rows - row < L ? job->m->rows - row : L;
    const float *from = job->m->w + row * cols;
    uint8_t *out = (uint8_t *)job->m->out + row * job->row_bytes;
    if (job->way != NB_GPTQ_SEARCH) memcpy(blocks, out, rows * job->row_bytes);
    encode_rows(job, from, rows, blocks, base);
    uint8_t *scratch = base;
    float *w = nb_cut(&scratch, panel_bytes), *rest = nb_cut(&scratch, panel_bytes);
    double errors[L];
    nb_panel_load(from, rows, cols, NULL, w);
    nb_panel_rest(&job->grid, w, blocks, rows, cols, rest);
    nb_panel_errors(w, rest, cols, job->r->h, job->r->cross, errors);
    for (size_t l = 0; l < rows; l++) {
      if (job->way != NB_GPTQ_SEARCH && !(errors[l] < job->errors[row + l])) continue;
      memcpy(out + l * job->row_bytes, blocks + l * job->row_bytes, job->row_bytes);
      job->errors[row + l] = errors[l];
      job->ways[row + l] = (uint8_t)job->way;
    }
  }
}

static void refine_panels(nb_share *share, void *arg) {
  const way_job *job = arg;
  const run *r = job->r;
  const size_t cols = r->cols, panel_bytes = cols * L * sizeof(float);
  uint8_t *base = r->threads + share->index * (size_t)thread_bytes(cols);
  uint8_t *blocks = nb_cut(&base, row_bytes(NB_TYPE_Q8_0, cols) * L);
  float *w = nb_cut(&base, panel_bytes), *rest = nb_cut(&base, panel_bytes);
  nb_refine_room *room = nb_cut(&base, sizeof *room);
  for (size_t p; (p = nb_team_claim(share)) * L < job->m->rows;) {
    const size_t row = p * L, rows = job->m->rows - row < L ? job->m->rows - row : L;
    uint8_t *out = (uint8_t *)job->m->out + row * job->row_bytes;
    memcpy(blocks, out, rows * job->row_bytes);
    nb_panel_load(job->m->w + row * cols, rows, cols, NULL, w);
    nb_panel_rest(&job->grid, w, blocks, rows, cols, rest);
    for (unsigned i = 0; i < r->options->refine; i++) nb_refine_rows(&job->grid, cols, r->h, r->cross, w, rest, blocks, rows, room);
    double errors[L];
    nb_panel_errors(w, rest, cols, r->h, r->cross, errors);
    for (size_t l = 0; l < rows; l++) {
      if (!(errors[l] < job->errors[row + l])) continue;  // where only rounding errors are left to gain
      memcpy(out + l * job->row_bytes, blocks + l * job->row_bytes, job->row_bytes);
      job->errors[row + l] = errors[l];
    }
  }
}

static void one_way(const run *r, nb_gptq_order way, size_t block, nb_gptq_matrix *matrices, size_t n, double *errors, uint8_t *ways) {
  for (size_t i = 0; i < n; i++) {
    nb_gptq_matrix *m = &matrices[i];
    way_job job = {r, way, m, nb_grid_of(m->type), row_bytes(m->type, r->cols), errors, ways};
    if (!block || block == job.grid.block) {
      nb_team_run(r->team, encode_panels, &job);
      if (way == NB_GPTQ_SEARCH) m->report.searched = nb_sum_errors(errors, m->rows);
      else m->report.damping = r->damping > m->report.damping ? r->damping : m->report.damping;
    }
    errors += m->rows;
    ways += m->rows;
  }
}

static void finish(const run *r, nb_gptq_matrix *matrices, size_t n, double *errors, const uint8_t *ways) {
  for (size_t i = 0; i < n; i++) {
    nb_gptq_matrix *m = &matrices[i];
    way_job job = {r, NB_GPTQ_SEARCH, m, nb_grid_of(m->type), row_bytes(m->type, r->cols), errors, NULL};
    if (r->options->refine) nb_team_run(r->team, refine_panels, &job);
    m->report.error = nb_sum_errors(errors, m->rows);
    m->report.dead = r->dead;
    for (size_t row = 0; row < m->rows; row++) {
      m->report.rows_search += ways[row] == NB_GPTQ_SEARCH;
      m->report.rows_static += ways[row] == NB_GPTQ_STATIC;
      m->report.rows_groups += ways[row] == NB_GPTQ_GROUPS;
    }
    nb_output_errors(r->team, m->type, m->w, NULL, m->rows, r->cols, r->h, NULL, r->threads, errors);
    m->report.energy = nb_sum_errors(errors, m->rows);
    errors += m->rows;
    ways += m->rows;
  }
}

static bool has_blocks_of(const nb_gptq_matrix *matrices, size_t n, size_t block) {
  for (size_t i = 0; i < n; i++) {
    if (nb_type_get(matrices[i].type)->block_size == block) return true;
  }
  return false;
}

nb_status nb_gptq(nb_team *team, const nb_gptq_options *options, size_t cols, const float *h, const float *cross, nb_gptq_matrix *matrices, size_t n,
                  void *scratch, nb_error *err) {
  run r = {.team = team, .options = options, .cols = cols, .h = h, .cross = cross};
  uint8_t *room = (uint8_t *)scratch + (64 - (uintptr_t)scratch % 64) % 64;
  const size_t rows = (size_t)all_rows(matrices, n);
  r.importance = nb_cut(&room, cols * sizeof *r.importance);
  r.order = nb_cut(&room, cols * sizeof *r.order);
  r.u = nb_cut(&room, (size_t)factor_bytes(options, cols));
  double *errors = nb_cut(&room, rows * sizeof *errors);
  uint8_t *ways = nb_cut(&room, rows);
  r.threads = room;
  if (!(options->damping >= 0 && options->damping <= DAMPING_MOST && options->alpha >= 0 && options->alpha <= 1)) {
    return nb_fail(err, NB_E_ARGUMENT, "GPTQ's damping is a number from 0 to %g and alpha one from 0 to 1", DAMPING_MOST);
  }
  nb_status s = check_matrices(matrices, n, cols, err);
  if (!s) s = check_moments(&r, err);
  if (s) return s;
  for (size_t i = 0; i < n; i++) matrices[i].report = (nb_gptq_report){0};
  one_way(&r, NB_GPTQ_SEARCH, 0, matrices, n, errors, ways);
  if (options->order & NB_GPTQ_STATIC) {
    if ((s = factorise(&r, 0, err))) return s;
    one_way(&r, NB_GPTQ_STATIC, 0, matrices, n, errors, ways);
  }
  for (size_t block = 32; options->order & NB_GPTQ_GROUPS && block <= 256; block += 224) {
    if (!has_blocks_of(matrices, n, block)) continue;
    if ((s = factorise(&r, block, err))) return s;
    one_way(&r, NB_GPTQ_GROUPS, block, matrices, n, errors, ways);
  }
  finish(&r, matrices, n, errors, ways);
  return NB_OK;
}
