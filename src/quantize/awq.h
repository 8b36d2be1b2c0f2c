// AWQ: input channels are scaled before rounding, so that the weights of those that carry much are rounded more finely. The scale goes into what comes
// before: x / s there, W * s here.
#ifndef NB_QUANTIZE_AWQ_H
#define NB_QUANTIZE_AWQ_H

#include <stddef.h>

#include "../base/status.h"
#include "../base/team.h"
#include "encode.h"

typedef struct nb_awq_matrix {
  nb_type type;
  size_t rows;
  const float *w;  // [rows, cols]
} nb_awq_matrix;

enum { NB_AWQ_STEPS = 20 };

typedef struct nb_awq_report {
  double energy;                    // tr(W H W^T) of all matrices
  double errors[NB_AWQ_STEPS + 1];  // for the exponents 0, 1/20 .. 1, of the rows tried, as all of these
  double plain;                     // without scales
  double error;                     // of the best
  float exponent;                   // the best one, a
  bool scaled;                      // false: scales of 1 are best, and `scales` is full of them
} nb_awq_report;

uint64_t nb_awq_scratch_bytes(size_t cols, const nb_awq_matrix *matrices, size_t n, unsigned threads);

// The scales s_j = m_j^a / v_j^(1-a), divided by sqrt(max * min), with the a of 0, 1/20 .. 1 under which the n matrices of a shared input have the
// least error tr((W - Q(W s) / s) H (…)^T); 1 everywhere where none is better than that.
//   method     how rows are encoded while trying; importance is H_jj / s_j^2
//   rows_most  rows of each matrix that are tried, evenly spread; 0 for all
//   magnitude  [cols] m_j, mean |x_j|, or NULL for sqrt(H_jj)
//   scales     [cols] s. The caller multiplies the columns of W by it and divides what comes before, or rows and columns of H, likewise
nb_status nb_awq(nb_team *team, nb_encode_method method, size_t rows_most, size_t cols, const float *h, const float *magnitude,
                 const nb_awq_matrix *matrices, size_t n, float *scales, nb_awq_report *report, void *scratch, nb_error *err);

// w[r, j] *= s_j
void nb_awq_scale_columns(float *w, size_t rows, size_t cols, const float *scales);
// h[i, j] /= s_i s_j, also for `cross`
void nb_awq_scale_moments(float *h, size_t cols, const float *scales);

#endif
