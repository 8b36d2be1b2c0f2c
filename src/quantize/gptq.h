// GPTQ: blocks whose errors make up for each other under H = sum x x^T, the second moments of a matrix's inputs.
//
// For y = W x the squared error of the output over the samples is tr((W - W') H (W - W')^T). Columns are rounded one after the other, and what is
// left of a column's error by the columns still to come is taken off them beforehand. With H = U^T U (U upper, columns reordered so that the first to
// be rounded is the last) the column j rounds W_j + S_j / U_jj, S_j = sum over i > j of (W - W')_i U_ji: no inverse is needed, and the arithmetic
// is that of GPTQ. Afterwards scales and codes are refined one by one, each to the value that lowers the error most.
//
// Rows do not depend on each other: of the ways tried, every row keeps the one with the lower error under H itself, which is never above that of the
// weighted search.
#ifndef NB_QUANTIZE_GPTQ_H
#define NB_QUANTIZE_GPTQ_H

#include <stddef.h>

#include "../base/status.h"
#include "../base/team.h"
#include "encode.h"

typedef enum nb_gptq_order {
  NB_GPTQ_SEARCH = 0,  // not at all: the weighted search alone (then refined, if asked for)
  NB_GPTQ_STATIC = 1,  // scales are those of the weighted search; columns by H_jj, the largest first
  NB_GPTQ_GROUPS = 2,  // blocks by their largest H_jj, columns within a block likewise; a block's scales are searched when its turn comes, on what the
                       // columns before it have left to be made up for
  NB_GPTQ_BEST = 3,    // both, and of each row the better
} nb_gptq_order;

typedef struct nb_gptq_options {
  nb_gptq_order order;
  nb_encode_method scales;  // how scales are found; the importance of column j is H_jj
  float damping;            // part of mean(H_jj) that is added to the diagonal; doubled for as long as H cannot be factorised
  float alpha;              // how much of `cross` is made up for, 0 .. 1
  unsigned refine;          // passes over scales and codes at the end; 0 for none
} nb_gptq_options;

// BEST, SEARCH, 0.01, 0.25, 2
nb_gptq_options nb_gptq_defaults(void);

// What was done with one matrix. Errors are tr((W - W') H (W - W')^T); with `cross` they lack the constant tr(W (sum dx dx^T) W^T) and may be negative.
typedef struct nb_gptq_report {
  double energy;    // tr(W H W^T), to divide by
  double searched;  // the error of the weighted search
  double error;     // of what came out
  float damping;    // the greatest used; 0 for NB_GPTQ_SEARCH
  size_t dead;      // columns with H_jj = 0: their weights are rounded, and the others' scales do not heed them
  size_t rows_search, rows_static, rows_groups;  // how many rows come from which way
} nb_gptq_report;

// One of the matrices that share their input.
typedef struct nb_gptq_matrix {
  nb_type type;    // with blocks
  size_t rows;
  const float *w;  // [rows, cols]; a caller's scales (awq.h) are already in it, and in h
  void *out;       // [rows] rows of blocks as in the file; aligned to 2 bytes
  nb_gptq_report report;
} nb_gptq_matrix;

// H is measured on samples, and what of it is chance is worse than nothing: GPTQ then lowers the error on the samples and raises it elsewhere. What
// stands off the diagonal is the less certain part, so that part of it, 0 .. 1, is taken away. It does what damping does, and better where inputs differ
// in size.
void nb_shrink_moments(float *h, size_t cols, float part);
// How much, for so many samples: half of cols / samples, at most 0.5. Tokens of one text are not independent: they count for fewer.
float nb_shrink_part(size_t cols, double samples);

// Bytes of memory that nb_gptq needs beside its arguments: those of one more H (not for NB_GPTQ_SEARCH), 2 MB for each thread at 8,192 columns, and
// 9 for each row.
uint64_t nb_gptq_scratch_bytes(const nb_gptq_options *options, size_t cols, const nb_gptq_matrix *matrices, size_t n, unsigned threads);

// Encodes the n matrices [rows, cols] of a shared input. The same bits for any number of threads, and on every target.
//   h      [cols, cols] sum (or mean) of x x^T, symmetric; shrunk (below), if it is to be
//   cross  [cols, cols] or NULL: sum x (x_full - x)^T, where x is what the quantized layers before this one give and x_full what the original ones do.
//          Then the aim is W x_full, not W x (as GPTAQ, in closed form: the target is W + alpha * W cross^T H^-1)
//   scratch  nb_gptq_scratch_bytes(…) bytes
// Fails, with nothing promised about `out`, on numbers that are not finite, on a negative H_jj, and where no damping makes H positive definite.
nb_status nb_gptq(nb_team *team, const nb_gptq_options *options, size_t cols, const float *h, const float *cross, nb_gptq_matrix *matrices, size_t n,
                  void *scratch, nb_error *err);

#endif
