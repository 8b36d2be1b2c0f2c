#include "error.h"

#include <string.h>

#include "panel.h"

typedef struct errors_job {
  const nb_grid *grid;
  const float *w, *h, *cross;
  const uint8_t *blocks;
  size_t rows, cols;
  uint8_t *scratch;
  double *errors;
} errors_job;

static size_t thread_bytes(size_t cols) { return 2 * (size_t)nb_cut_bytes(cols * NB_LANES16 * sizeof(float)); }

uint64_t nb_error_scratch_bytes(size_t cols, unsigned threads) { return (uint64_t)thread_bytes(cols) * threads; }

static void errors_of_panels(nb_share *share, void *arg) {
  const errors_job *job = arg;
  uint8_t *scratch = job->scratch + share->index * thread_bytes(job->cols);
  const size_t bytes = job->cols * NB_LANES16 * sizeof(float);
  float *w = nb_cut(&scratch, bytes), *rest = nb_cut(&scratch, bytes);
  for (size_t p; (p = nb_team_claim(share)) * NB_LANES16 < job->rows;) {
    const size_t row = p * NB_LANES16, rows = job->rows - row < NB_LANES16 ? job->rows - row : NB_LANES16;
    nb_panel_load(job->w + row * job->cols, rows, job->cols, NULL, w);
    if (job->blocks) nb_panel_rest(job->grid, w, job->blocks + row * (job->cols / job->grid->block * job->grid->bytes), rows, job->cols, rest);
    double errors[NB_LANES16];
    nb_panel_errors(w, job->blocks ? rest : w, job->cols, job->h, job->cross, errors);
    memcpy(job->errors + row, errors, rows * sizeof *errors);
  }
}

void nb_output_errors(nb_team *team, nb_type type, const float *w, const void *blocks, size_t rows, size_t cols, const float *h, const float *cross,
                      void *scratch, double *errors) {
  nb_grid grid;
  if (blocks) grid = nb_grid_of(type);
  errors_job job = {&grid, w, h, cross, blocks, rows, cols, scratch, errors};
  nb_team_run(team, errors_of_panels, &job);
}

double nb_sum_errors(const double *errors, size_t rows) {
  double sum = 0;
  for (size_t r = 0; r < rows; r++) sum += errors[r];
  return sum;
}
