#include "divergence.h"

#include <math.h>

#include "../base/mem.h"

enum { TILE = 4 };  // vectors whose logits are computed together

typedef struct divergence_job {
  const nb_matrix *head;
  const float *norm, *reference, *x;
  float eps;
  size_t n, stride;
  uint8_t *scratch;
  size_t share;  // bytes of a thread's
  double *out;
} divergence_job;

static size_t logits_floats(size_t n_vocab) { return (size_t)nb_align_up(n_vocab, 4); }
static size_t vector_floats(size_t d_model) { return (size_t)nb_align_up(d_model, 4); }

static size_t share_bytes(size_t n_vocab, size_t d_model) {
  return (size_t)nb_align_up((2 * TILE * logits_floats(n_vocab) + TILE * vector_floats(d_model)) * sizeof(float), 64);
}

size_t nb_divergence_scratch_bytes(size_t n_vocab, size_t d_model, unsigned threads) { return share_bytes(n_vocab, d_model) * threads + 64; }

static void logits_of(const divergence_job *j, const float *x, size_t n, float *normed, float *logits) {
  const size_t d = j->head->cols;
  for (size_t t = 0; t < n; t++) nb_rms_norm(normed + t * d, x + t * j->stride, j->norm, d, j->eps);
  const nb_act a = {.kind = NB_ACT_F32, .n = n, .cols = d, .x = normed};
  nb_matmul(j->head, &a, logits, logits_floats(j->head->rows), 0, j->head->rows);
}

// log of the sum of exponentials
static double log_sum(const float *logits, size_t n) {
  float max = -INFINITY;
  for (size_t i = 0; i < n; i++) max = logits[i] > max ? logits[i] : max;
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += (double)nb_exp(logits[i] - max);
  return (double)max + log(sum);
}

static double divergence_of(const float *reference, const float *logits, size_t n) {
  const double zp = log_sum(reference, n), zq = log_sum(logits, n);
  double sum = 0;
  for (size_t i = 0; i < n; i++) {
    const double p = (double)reference[i] - zp;
    sum += (double)nb_exp((float)p) * (p - ((double)logits[i] - zq));
  }
  return sum > 0 ? sum : 0;  // rounding can make it a little negative
}

static void tiles(nb_share *share, void *arg) {
  const divergence_job *j = arg;
  const size_t width = logits_floats(j->head->rows);
  float *p = (float *)(void *)(j->scratch + share->index * j->share), *q = p + TILE * width, *normed = q + TILE * width;
  for (size_t tile; (tile = nb_team_claim(share)) * TILE < j->n;) {
    const size_t first = tile * TILE, n = j->n - first < TILE ? j->n - first : TILE;
    logits_of(j, j->reference + first * j->stride, n, normed, p);
    logits_of(j, j->x + first * j->stride, n, normed, q);
    for (size_t t = 0; t < n; t++) j->out[first + t] = divergence_of(p + t * width, q + t * width, j->head->rows);
  }
}

void nb_divergence(nb_team *team, const nb_matrix *head, const float *norm, float eps, const float *reference, const float *x, size_t n, size_t stride,
                   void *scratch, double *divergence) {
  divergence_job j = {head, norm, reference, x, eps, n, stride, (uint8_t *)scratch + (64 - (uintptr_t)scratch % 64) % 64,
                      share_bytes(head->rows, head->cols), divergence};
  nb_team_run(team, tiles, &j);
}
