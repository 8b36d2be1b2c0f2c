// What blocks cost: errors of the output of a matrix under the second moments of its inputs. One measure for every method.
#ifndef NB_QUANTIZE_ERROR_H
#define NB_QUANTIZE_ERROR_H

#include <stddef.h>
#include <stdint.h>

#include "../base/team.h"
#include "../format/types.h"

// For nb_output_errors.
uint64_t nb_error_scratch_bytes(size_t cols, unsigned threads);

// errors[r] = D_r H D_r^T for D = W - W', W' what the blocks decode to; W' = 0 where blocks is NULL (the energy, by which errors are divided to be
// relative). h NULL: the plain sum of squares. cross as in gptq.h, or NULL: 2 D_r cross W_r^T is added.
// The sums are the same for any number of threads.
void nb_output_errors(nb_team *team, nb_type type, const float *w, const void *blocks, size_t rows, size_t cols, const float *h, const float *cross,
                      void *scratch, double *errors);

// In the order of rows.
double nb_sum_errors(const double *errors, size_t rows);

#endif
