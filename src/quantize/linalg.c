#include "linalg.h"

#include <math.h>
#include <string.h>

// Four floats, at any address. Both compilers make SIMD instructions of them on every target, the same operations in the same order.
typedef float f4 __attribute__((vector_size(16), aligned(4), may_alias));

static inline f4 load(const float *p) { return *(const f4 *)p; }
static inline void store(float *p, f4 v) { *(f4 *)p = v; }
static inline f4 splat(float v) { return (f4){v, v, v, v}; }

// Columns summed before the sum is added to c: partial sums keep rounding errors small, and this much of b stays in the nearest cache.
enum { SUMMED = 256 };

// Two rows of 16: 8 sums in registers, every vector of b used twice.
static inline void madd16_rows(float *c, const float *a, size_t lda, const float *b, size_t k, bool two) {
  const float *a1 = two ? a + lda : a;
  const f4 zero = splat(0);
  f4 s0 = zero, s1 = zero, s2 = zero, s3 = zero, t0 = zero, t1 = zero, t2 = zero, t3 = zero;
  for (size_t j = 0; j < k; j++, b += NB_LANES16) {
    const f4 b0 = load(b), b1 = load(b + 4), b2 = load(b + 8), b3 = load(b + 12), x = splat(a[j]);
    s0 += x * b0;
    s1 += x * b1;
    s2 += x * b2;
    s3 += x * b3;
    if (!two) continue;
    const f4 y = splat(a1[j]);
    t0 += y * b0;
    t1 += y * b1;
    t2 += y * b2;
    t3 += y * b3;
  }
  store(c, load(c) + s0);
  store(c + 4, load(c + 4) + s1);
  store(c + 8, load(c + 8) + s2);
  store(c + 12, load(c + 12) + s3);
  if (!two) return;
  store(c + 16, load(c + 16) + t0);
  store(c + 20, load(c + 20) + t1);
  store(c + 24, load(c + 24) + t2);
  store(c + 28, load(c + 28) + t3);
}

void nb_madd16(float *c, const float *a, size_t lda, const float *b, size_t m, size_t k) {
  for (size_t j = 0; j < k; j += SUMMED) {
    const size_t n = k - j < SUMMED ? k - j : SUMMED;
    const float *bj = b + j * NB_LANES16;
    size_t i = 0;
    for (; i + 2 <= m; i += 2) madd16_rows(c + i * NB_LANES16, a + i * lda + j, lda, bj, n, true);
    if (i < m) madd16_rows(c + i * NB_LANES16, a + i * lda + j, lda, bj, n, false);
  }
}

// ---- Cholesky -------------------------------------------------------------------------------------------------------------------
// From the top left, BLOCK rows at a time:      k   .. k + BLOCK ..                n
//                                           k [ U_kk | U_k,rest = U_kk^-T A_k,rest  ]
//                                             [      | A_rest -= U_k,rest^T U_k,rest ]   upper part only
// Both steps to the right work on strips of 16 columns, copied to where they stand together: rows of a matrix whose width is a power of two would
// all want the same few places of the cache.

enum { BLOCK = 64 };

typedef struct cholesky {
  float *a;
  size_t n, k, size;  // the block's first row, and its rows
} cholesky;

// 16 columns (fewer at the right end, filled up with 0) of `rows` rows.
static void take_strip(const float *a, size_t n, size_t row, size_t rows, size_t col, float *strip) {
  const size_t width = n - col < NB_LANES16 ? n - col : NB_LANES16;
  for (size_t i = 0; i < rows; i++) {
    memcpy(strip + i * NB_LANES16, a + (row + i) * n + col, width * sizeof *a);
    for (size_t l = width; l < NB_LANES16; l++) strip[i * NB_LANES16 + l] = 0;
  }
}

static void put_strip(float *a, size_t n, size_t row, size_t rows, size_t col, const float *strip) {
  const size_t width = n - col < NB_LANES16 ? n - col : NB_LANES16;
  for (size_t i = 0; i < rows; i++) memcpy(a + (row + i) * n + col, strip + i * NB_LANES16, width * sizeof *a);
}

// In double: what goes wrong here spreads to all the rest.
static bool factorise_block(const cholesky *f) {
  double u[BLOCK][BLOCK];
  for (size_t i = 0; i < f->size; i++) {
    for (size_t j = i; j < f->size; j++) {
      double sum = (double)f->a[(f->k + i) * f->n + f->k + j];
      for (size_t p = 0; p < i; p++) sum -= u[p][i] * u[p][j];
      if (j > i) {
        u[i][j] = sum / u[i][i];
        continue;
      }
      // What floats leave of a number is noise below this part of it.
      if (!(sum > 1e-7 * (double)f->a[(f->k + i) * f->n + f->k + i]) || !isfinite(sum)) return false;
      u[i][i] = sqrt(sum);
    }
  }
  for (size_t i = 0; i < f->size; i++) {
    for (size_t j = i; j < f->size; j++) f->a[(f->k + i) * f->n + f->k + j] = (float)u[i][j];
  }
  return true;
}

static void solve_strips(nb_share *share, void *arg) {
  const cholesky *f = arg;
  const size_t first = f->k + f->size;
  for (size_t s; (s = nb_team_claim(share)) * NB_LANES16 < f->n - first;) {
    float strip[BLOCK * NB_LANES16];
    const size_t col = first + s * NB_LANES16;
    take_strip(f->a, f->n, f->k, f->size, col, strip);
    for (size_t i = 0; i < f->size; i++) {
      const float *row = f->a + (f->k + i) * f->n + f->k, inverse = 1.0f / row[i];
      f4 *x = (f4 *)(strip + i * NB_LANES16);
      for (int l = 0; l < 4; l++) x[l] *= splat(inverse);
      for (size_t j = i + 1; j < f->size; j++) {
        f4 *y = (f4 *)(strip + j * NB_LANES16);
        for (int l = 0; l < 4; l++) y[l] -= splat(row[j]) * x[l];
      }
    }
    put_strip(f->a, f->n, f->k, f->size, col, strip);
  }
}

// One claim: BLOCK rows of the rest, from their diagonal to the right.
static void update_rest(nb_share *share, void *arg) {
  const cholesky *f = arg;
  const size_t first = f->k + f->size;
  for (size_t c; (c = nb_team_claim(share)) * BLOCK < f->n - first;) {
    const size_t row = first + c * BLOCK, rows = f->n - row < BLOCK ? f->n - row : BLOCK;
    float turned[BLOCK * BLOCK], strip[BLOCK * NB_LANES16], rest[BLOCK * NB_LANES16];
    for (size_t j = 0; j < f->size; j++) {
      for (size_t i = 0; i < rows; i++) turned[i * BLOCK + j] = -f->a[(f->k + j) * f->n + row + i];
    }
    for (size_t col = row; col < f->n; col += NB_LANES16) {
      take_strip(f->a, f->n, f->k, f->size, col, strip);
      take_strip(f->a, f->n, row, rows, col, rest);
      nb_madd16(rest, turned, BLOCK, strip, rows, f->size);
      // Where the strip crosses the diagonal, what is below stays as it is.
      for (size_t i = 0; i < rows; i++) {
        const size_t from = row + i > col ? row + i - col : 0, width = f->n - col < NB_LANES16 ? f->n - col : NB_LANES16;
        if (from < width) memcpy(f->a + (row + i) * f->n + col + from, rest + i * NB_LANES16 + from, (width - from) * sizeof(float));
      }
    }
  }
}

bool nb_cholesky_upper(nb_team *team, float *a, size_t n) {
  for (size_t k = 0; k < n; k += BLOCK) {
    cholesky f = {a, n, k, n - k < BLOCK ? n - k : BLOCK};
    if (!factorise_block(&f)) return false;
    if (k + f.size == n) break;
    nb_team_run(team, solve_strips, &f);
    nb_team_run(team, update_rest, &f);
  }
  return true;
}

// ---- triangular systems ---------------------------------------------------------------------------------------------------------

void nb_solve_upper16(const float *u, size_t n, float *y) {
  for (size_t k = 0; k < n; k += BLOCK) {
    const size_t size = n - k < BLOCK ? n - k : BLOCK;
    for (size_t i = k; i < k + size; i++) {
      const float *row = u + i * n, inverse = 1.0f / row[i];
      f4 *z = (f4 *)(y + i * NB_LANES16);
      for (int l = 0; l < 4; l++) z[l] *= splat(inverse);
      for (size_t j = i + 1; j < k + size; j++) {
        f4 *rest = (f4 *)(y + j * NB_LANES16);
        for (int l = 0; l < 4; l++) rest[l] -= splat(row[j]) * z[l];
      }
    }
    for (size_t j = k + size; j < n; j += BLOCK) {
      const size_t cols = n - j < BLOCK ? n - j : BLOCK;
      float turned[BLOCK * BLOCK];
      for (size_t p = 0; p < size; p++) {
        for (size_t i = 0; i < cols; i++) turned[i * BLOCK + p] = -u[(k + p) * n + j + i];
      }
      nb_madd16(y + j * NB_LANES16, turned, BLOCK, y + k * NB_LANES16, cols, size);
    }
  }
}
