// Matrix times vectors: the specification.
//
// Quantized activations (da is the activation block's scale, dw, m, dmin the weight block's as floats), result of one block:
//     blocks of 32          (float)i * (dw * da)                            i = sum q * a, q with the format's offset taken off
//       with minimums       (float)i * (dw * da) + (float)s * (m * da)      s = sum a
//     blocks of 256         (float)i * (dw * da)                            i = sum over 16 parts j of scale_j * sum q * a
//       with minimums       (float)i * (dw * da) - (float)s * (dmin * da)   s = sum over 16 parts j of min_j * sum a
// Integers are exact in 32 bits and rounded once on their way to float. Block results are added to one float a row, from 0.
//
// Float activations: weights are decoded to floats; 16 partial sums by column, see lanes.h.
#include <assert.h>
#include <string.h>

#include "lanes.h"
#include "pack.h"
#include "unpack.h"
#include "variants.h"

void nb_matmul_block32_q8_scalar(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  assert(a->kind == NB_ACT_Q8_32 && a->cols == w->cols && w->cols % 32 == 0);
  nb_unpack32_fn *unpack = nb_unpack32_of(w->type);
  const bool mins = nb_has_mins(w->type);
  const size_t blocks = w->cols / 32;
  nb_block_buffer buffer;
  for (size_t r = row0; r < row1; r++) {
    for (size_t t = 0; t < a->n; t++) y[t * ystride + r] = 0;
    for (size_t b = 0; b < blocks; b++) {
      nb_ints32 u;
      unpack(nb_file_block(w, r, b, &buffer), &u);
      for (size_t t = 0; t < a->n; t++) {
        const int8_t *q = a->q + t * a->cols + b * 32;
        const float da = a->d[t * blocks + b];
        int32_t i = 0;
        for (int c = 0; c < 32; c++) i += u.q[c] * q[c];
        float result = (float)i * (u.d * da);
        if (mins) {
          const int16_t *sums = a->sums + t * (a->cols / 16) + b * 2;
          result += (float)(sums[0] + sums[1]) * (u.m * da);
        }
        y[t * ystride + r] += result;
      }
    }
  }
}

void nb_matmul_block256_q8_scalar(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  assert(a->kind == NB_ACT_Q8_256 && a->cols == w->cols && w->cols % 256 == 0);
  nb_unpack256_fn *unpack = nb_unpack256_of(w->type);
  const bool mins = nb_has_mins(w->type);
  const size_t blocks = w->cols / 256;
  nb_block_buffer buffer;
  for (size_t r = row0; r < row1; r++) {
    for (size_t t = 0; t < a->n; t++) y[t * ystride + r] = 0;
    for (size_t b = 0; b < blocks; b++) {
      nb_ints256 u;
      unpack(nb_file_block(w, r, b, &buffer), &u);
      for (size_t t = 0; t < a->n; t++) {
        const int8_t *q = a->q + t * a->cols + b * 256;
        const int16_t *sums = a->sums + t * (a->cols / 16) + b * 16;
        const float da = a->d[t * blocks + b];
        int32_t i = 0, s = 0;
        for (int j = 0; j < 16; j++) {
          int32_t part = 0;
          for (int c = 16 * j; c < 16 * j + 16; c++) part += u.q[c] * q[c];
          i += u.scale[j] * part;
          s += u.min[j] * sums[j];
        }
        float result = (float)i * (u.d * da);
        if (mins) result -= (float)s * (u.dmin * da);
        y[t * ystride + r] += result;
      }
    }
  }
}

#define CHUNK 256   // columns decoded at a time: a multiple of every block size and of NB_LANES
#define VECTORS 4   // vectors that share one decoding

void nb_matmul_any_f32_scalar(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  assert(a->kind == NB_ACT_F32 && a->cols == w->cols);
  float weights[CHUNK], lanes[VECTORS][NB_LANES];
  for (size_t r = row0; r < row1; r++) {
    for (size_t t0 = 0; t0 < a->n; t0 += VECTORS) {
      const size_t nt = a->n - t0 < VECTORS ? a->n - t0 : VECTORS;
      memset(lanes, 0, sizeof lanes);
      for (size_t c0 = 0; c0 < w->cols; c0 += CHUNK) {
        const size_t n = w->cols - c0 < CHUNK ? w->cols - c0 : CHUNK;
        nb_decode_scalar(w, r, c0, n, weights);
        for (size_t t = 0; t < nt; t++) {
          const float *x = a->x + (t0 + t) * a->cols + c0;
          for (size_t c = 0; c < n; c++) lanes[t][c % NB_LANES] += weights[c] * x[c];
        }
      }
      for (size_t t = 0; t < nt; t++) y[(t0 + t) * ystride + r] = nb_fold_lanes(lanes[t]);
    }
  }
}
