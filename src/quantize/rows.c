#include "rows.h"

#include <math.h>

#include "../base/mem.h"
#include "../kernels/kernels.h"
#include "hqq.h"

typedef struct row_result {
  double error, norm, weighted_error, weighted_norm;
  size_t bad;  // column of the first number that is not finite; cols where there is none
} row_result;

typedef struct rows_job {
  const nb_rows_call *call;
  row_result *results;  // [rows]
  float *floats;        // [threads, 2, cols rounded up to 4]
  size_t stride;
} rows_job;

static size_t stride_of(size_t cols) { return (size_t)nb_align_up(cols, 4); }

size_t nb_rows_scratch(size_t rows, size_t cols, unsigned n_threads) {
  return (size_t)nb_align_up(rows * sizeof(row_result), 16) + n_threads * 2 * stride_of(cols) * sizeof(float);
}

static nb_matrix matrix_of(const uint8_t *data, nb_type type, size_t rows, size_t cols) {
  const nb_type_info *info = nb_type_get(type);
  return (nb_matrix){data, type, NB_LAYOUT_ROWS, rows, cols, cols / info->block_size * info->block_bytes};
}

static void do_row(const rows_job *job, size_t row, float *x, float *decoded) {
  const nb_rows_call *c = job->call;
  row_result *r = &job->results[row];
  const nb_matrix in = matrix_of(c->in, c->from, c->rows, c->cols), out = matrix_of(c->out, c->to, c->rows, c->cols);
  *r = (row_result){.bad = c->cols};
  nb_dequantize_row(&in, row, x);
  for (size_t i = 0; i < c->cols; i++) {
    if (isfinite(x[i])) continue;
    r->bad = i;
    return;
  }
  const nb_hqq_options hqq = nb_hqq_defaults();
  if (c->hqq && nb_type_get(c->to)->block_size > 1) nb_hqq_row(c->to, &hqq, x, c->cols, c->out + row * out.row_bytes);
  else nb_encode_row(c->to, c->method, x, c->importance, c->cols, c->out + row * out.row_bytes);
  nb_dequantize_row(&out, row, decoded);
  for (size_t i = 0; i < c->cols; i++) {
    const double norm = (double)x[i] * (double)x[i], rest = (double)x[i] - (double)decoded[i], error = rest * rest;
    const double weight = c->importance ? (double)c->importance[i] : 1;
    r->error += error;
    r->norm += norm;
    r->weighted_error += weight * error;
    r->weighted_norm += weight * norm;
  }
}

static void work(nb_share *share, void *arg) {
  const rows_job *job = arg;
  float *x = job->floats + share->index * 2 * job->stride;
  for (size_t row; (row = nb_team_claim(share)) < job->call->rows;) do_row(job, row, x, x + job->stride);
}

void nb_requantize_rows(nb_team *team, const nb_rows_call *call, nb_rows_result *result) {
  rows_job job = {call, call->scratch, NULL, stride_of(call->cols)};
  job.floats = (float *)(void *)((uint8_t *)call->scratch + nb_align_up(call->rows * sizeof(row_result), 16));
  nb_team_run(team, work, &job);
  *result = (nb_rows_result){.finite = true};
  for (size_t i = 0; i < call->rows; i++) {
    const row_result *r = &job.results[i];
    if (r->bad < call->cols) {
      result->finite = false;
      result->row = i;
      result->col = r->bad;
      return;
    }
    result->error += r->error;
    result->norm += r->norm;
    result->weighted_error += r->weighted_error;
    result->weighted_norm += r->weighted_norm;
  }
}
