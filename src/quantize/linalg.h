// Dense linear algebra on floats, for matrices of up to some thousand rows. Sums are formed in blocks and in a fixed order: the same bits for any
// number of threads and on every target.
#ifndef NB_QUANTIZE_LINALG_H
#define NB_QUANTIZE_LINALG_H

#include <stdbool.h>
#include <stddef.h>

#include "../base/team.h"

enum { NB_LANES16 = 16 };  // vectors are worked on 16 side by side: number j of vector l stands at [j * 16 + l]

// c[i, l] += sum over j of a[i * lda + j] * b[j, l]; i < m, j < k.
void nb_madd16(float *c, const float *a, size_t lda, const float *b, size_t m, size_t k);

// The upper U with U^T U = A, in the place of the upper triangle of A [n, n]; what is below the diagonal is neither read nor written. False where A is
// not positive definite, as far as floats can tell: then the upper triangle is lost.
bool nb_cholesky_upper(nb_team *team, float *a, size_t n);

// The z with z U = y (U^T z^T = y^T), for 16 vectors, in the place of y [n, 16].
void nb_solve_upper16(const float *u, size_t n, float *y);

#endif
