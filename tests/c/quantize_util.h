// What the tests of the quantizer share: numbers, correlated inputs, errors computed the long way.
#ifndef NB_TESTS_QUANTIZE_UTIL_H
#define NB_TESTS_QUANTIZE_UTIL_H

#include "kernels_util.h"

static inline double uniform(uint64_t *state) { return ((double)(next_random(state) >> 11) + 0.5) / 9007199254740992.0; }
static inline double gaussian(uint64_t *state) { return sqrt(-2 * log(uniform(state))) * cos(6.283185307179586 * uniform(state)); }

static inline void *take(size_t bytes) {
  void *p = calloc(bytes ? bytes : 1, 1);
  if (!p) {
    fprintf(stderr, "out of memory\n");
    exit(1);
  }
  return p;
}

static inline float *gaussian_floats(size_t n, double size, uint64_t *state) {
  float *x = take(n * sizeof *x);
  for (size_t i = 0; i < n; i++) x[i] = (float)(size * gaussian(state));
  return x;
}

// Inputs [samples, cols]: sums of a few shared numbers, some noise, channels of different sizes.
static inline float *correlated_inputs(size_t samples, size_t cols, uint64_t *state) {
  enum { SHARED = 12 };
  float *mix = gaussian_floats(SHARED * cols, 1, state), *x = take(samples * cols * sizeof *x), *size = take(cols * sizeof *size);
  for (size_t j = 0; j < cols; j++) size[j] = (float)exp(0.7 * gaussian(state));
  for (size_t s = 0; s < samples; s++) {
    double shared[SHARED];
    for (int k = 0; k < SHARED; k++) shared[k] = gaussian(state);
    for (size_t j = 0; j < cols; j++) {
      double sum = 0.7 * gaussian(state);
      for (size_t k = 0; k < SHARED; k++) sum += 0.4 * shared[k] * (double)mix[k * cols + j];
      x[s * cols + j] = (float)sum * size[j];
    }
  }
  free(size);
  free(mix);
  return x;
}

// sum over samples of a b^T, [cols, cols]
static inline float *moments(const float *a, const float *b, size_t samples, size_t cols) {
  double *sum = take(cols * cols * sizeof *sum);
  for (size_t s = 0; s < samples; s++) {
    for (size_t i = 0; i < cols; i++) {
      for (size_t j = 0; j < cols; j++) sum[i * cols + j] += (double)a[s * cols + i] * (double)b[s * cols + j];
    }
  }
  float *h = take(cols * cols * sizeof *h);
  for (size_t i = 0; i < cols * cols; i++) h[i] = (float)sum[i];
  free(sum);
  return h;
}

static inline size_t row_bytes_of(nb_type type, size_t cols) { return cols / nb_type_get(type)->block_size * nb_type_get(type)->block_bytes; }

static inline float *decoded(nb_type type, const void *blocks, size_t rows, size_t cols) {
  const nb_matrix m = {.data = blocks, .type = type, .rows = rows, .cols = cols, .row_bytes = row_bytes_of(type, cols)};
  float *y = take(rows * cols * sizeof *y);
  for (size_t r = 0; r < rows; r++) nb_dequantize_row(&m, r, y + r * cols);
  return y;
}

// One row's (w - y) H (w - y)^T, in double.
static inline double row_error(const float *w, const float *y, const float *h, size_t cols) {
  double sum = 0;
  for (size_t i = 0; i < cols; i++) {
    double product = 0;
    for (size_t j = 0; j < cols; j++) product += (double)h[i * cols + j] * ((double)w[j] - (double)(y ? y[j] : 0));
    sum += product * ((double)w[i] - (double)(y ? y[i] : 0));
  }
  return sum;
}

static inline double blocks_error(nb_type type, const float *w, const void *blocks, const float *h, size_t rows, size_t cols) {
  float *y = decoded(type, blocks, rows, cols);
  double sum = 0;
  for (size_t r = 0; r < rows; r++) sum += row_error(w + r * cols, y + r * cols, h, cols);
  free(y);
  return sum;
}

#endif
