// Statistics of the vectors that a matrix is multiplied with: what importance, scales of activations and GPTQ are made of.
//
// They depend on the vectors and their order alone: not on how many are given at a time, not on the number of threads, not on the target.
#ifndef NB_QUANTIZE_STATS_H
#define NB_QUANTIZE_STATS_H

#include "../base/status.h"
#include "../base/team.h"

#define NB_STATS_CHUNK 256  // vectors whose products are summed by themselves, in floats, before they are added to the total

typedef enum nb_stats_parts {
  NB_STATS_H = 1,      // the sum of x x^T
  NB_STATS_CROSS = 2,  // the sum of x (reference - x)^T, for vectors given with a reference
} nb_stats_parts;

typedef struct nb_stats {
  size_t cols;
  uint64_t n;           // vectors that are in the sums
  uint64_t n_left_out;  // with a NaN or an infinity (theirs or their reference's): nothing of them is in any sum
  double *sum;          // [cols] of x
  double *sum_sq;       // [cols] of x^2
  float *max_abs;       // [cols] greatest |x|
  float *h;             // [cols, cols] sum of x x^T, not divided by n; NULL where it was not asked for
  float *cross;         // [cols, cols] sum of x (reference - x)^T; NULL where it was not asked for

  size_t waiting;       // vectors of a chunk that is not full: not yet in h and cross
  float *panels;        // their numbers, see stats.c
  float *cross_panels;
} nb_stats;

// All zero. parts: of nb_stats_parts.
nb_status nb_stats_init(nb_stats *s, size_t cols, unsigned parts, nb_error *err);
void nb_stats_free(nb_stats *s);
uint64_t nb_stats_bytes(size_t cols, unsigned parts);  // that nb_stats_init allocates; UINT64_MAX where that is beyond counting
void nb_stats_clear(nb_stats *s);                      // as after nb_stats_init

// Adds n vectors x [n, cols]. reference [n, cols]: what they are in the unquantized model; NULL unless s has `cross`.
void nb_stats_add(nb_stats *s, const float *x, const float *reference, size_t n, nb_team *team);

// Makes h and cross complete, both triangles of h. More vectors may follow; then it is called again.
void nb_stats_finish(nb_stats *s, nb_team *team);

// Columns in which every x was 0. dead: [cols] set to 1 for these and 0 for others; may be NULL.
size_t nb_stats_dead(const nb_stats *s, uint8_t *dead);

// sum[i * 8 + j] = a_0[i] b_0[j] + a_1[i] b_1[j] + … for n vectors of 8 numbers each; products are added in the order of the vectors.
// n >= 1; all aligned to 16 bytes. The scalar one is the specification.
void nb_outer_8x8_scalar(const float *a, const float *b, size_t n, float sum[64]);
void nb_outer_8x8_simd128(const float *a, const float *b, size_t n, float sum[64]);

#endif
