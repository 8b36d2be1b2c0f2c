// Cholesky factors and triangular systems, against sums in double.
#include "../../src/quantize/linalg.h"
#include "check.h"
#include "quantize_util.h"
#include "teams.h"

static const size_t SIZES[] = {1, 2, 16, 17, 63, 64, 65, 128, 200};
enum { N_SIZES = sizeof SIZES / sizeof SIZES[0] };

// Positive definite, with a condition number of some thousands.
static float *definite(size_t n, uint64_t *state) {
  float *x = correlated_inputs(2 * n + 8, n, state), *h = moments(x, x, 2 * n + 8, n);
  free(x);
  return h;
}

static void factors_multiply_to_the_matrix(void) {
  uint64_t state = 1;
  for (size_t t = 0; t < N_SIZES; t++) {
    const size_t n = SIZES[t];
    float *a = definite(n, &state), *u = take(n * n * sizeof *u);
    memcpy(u, a, n * n * sizeof *u);
    CHECK(nb_cholesky_upper(NULL, u, n));
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
      for (size_t j = i; j < n; j++) {
        double sum = 0;
        for (size_t k = 0; k <= i; k++) sum += (double)u[k * n + i] * (double)u[k * n + j];
        const double off = fabs(sum - (double)a[i * n + j]) / sqrt((double)a[i * n + i] * (double)a[j * n + j]);
        worst = off > worst ? off : worst;
      }
      for (size_t j = 0; j < i; j++) CHECK(u[i * n + j] == a[i * n + j]);  // not touched
    }
    CHECK(worst < 2e-6);
    free(u);
    free(a);
  }
}

static void factors_are_the_same_for_any_number_of_threads(void) {
  uint64_t state = 2;
  const size_t n = 200;
  float *a = definite(n, &state), *one = take(n * n * sizeof *one), *u = take(n * n * sizeof *u);
  memcpy(one, a, n * n * sizeof *one);
  CHECK(nb_cholesky_upper(NULL, one, n));
  for (unsigned threads = 2; threads <= 4; threads++) {
    nb_team *team = team_start(threads);
    memcpy(u, a, n * n * sizeof *u);
    CHECK(nb_cholesky_upper(team, u, n));
    CHECK(memcmp(u, one, n * n * sizeof *u) == 0);
    team_end(team);
  }
  free(u);
  free(one);
  free(a);
}

static void what_is_not_positive_definite_has_no_factor(void) {
  float zero[4] = {0}, negative[4] = {1, 2, 2, 1}, singular[9] = {1, 1, 0, 1, 1, 0, 0, 0, 1}, nan[4] = {1, NAN, NAN, 1};
  CHECK(!nb_cholesky_upper(NULL, zero, 2));
  CHECK(!nb_cholesky_upper(NULL, negative, 2));
  CHECK(!nb_cholesky_upper(NULL, singular, 3));
  CHECK(!nb_cholesky_upper(NULL, nan, 2));
  // Far from the beginning, in another block of rows.
  uint64_t state = 3;
  const size_t n = 130;
  float *a = definite(n, &state);
  a[129 * n + 129] = 0;
  CHECK(!nb_cholesky_upper(NULL, a, n));
  free(a);
}

static void systems_are_solved(void) {
  uint64_t state = 4;
  for (size_t t = 0; t < N_SIZES; t++) {
    const size_t n = SIZES[t];
    float *u = definite(n, &state), *y = gaussian_floats(n * NB_LANES16, 1, &state), *z = take(n * NB_LANES16 * sizeof *z);
    CHECK(nb_cholesky_upper(NULL, u, n));
    memcpy(z, y, n * NB_LANES16 * sizeof *z);
    nb_solve_upper16(u, n, z);
    double off = 0, size = 0;
    for (size_t j = 0; j < n; j++) {
      for (size_t l = 0; l < NB_LANES16; l++) {
        double sum = 0, sizes = 0;
        for (size_t i = 0; i <= j; i++) {
          const double product = (double)z[i * NB_LANES16 + l] * (double)u[i * n + j];
          sum += product;
          sizes += fabs(product);
        }
        off = fmax(off, fabs(sum - (double)y[j * NB_LANES16 + l]));
        size = fmax(size, sizes);
      }
    }
    CHECK(off < 1e-5 * size);
    free(z);
    free(y);
    free(u);
  }
}

static void products_add_up(void) {
  uint64_t state = 5;
  const size_t m = 7, k = 600, lda = 611;
  float *a = gaussian_floats(m * lda, 1, &state), *b = gaussian_floats(k * NB_LANES16, 1, &state), *c = gaussian_floats(m * NB_LANES16, 1, &state);
  float *sum = take(m * NB_LANES16 * sizeof *sum);
  memcpy(sum, c, m * NB_LANES16 * sizeof *sum);
  nb_madd16(sum, a, lda, b, m, k);
  for (size_t i = 0; i < m; i++) {
    for (size_t l = 0; l < NB_LANES16; l++) {
      double exact = (double)c[i * NB_LANES16 + l];
      for (size_t j = 0; j < k; j++) exact += (double)a[i * lda + j] * (double)b[j * NB_LANES16 + l];
      CHECK_NEAR((double)sum[i * NB_LANES16 + l], exact, 1e-4);
    }
  }
  free(sum);
  free(c);
  free(b);
  free(a);
}

int main(void) {
  factors_multiply_to_the_matrix();
  factors_are_the_same_for_any_number_of_threads();
  what_is_not_positive_definite_has_no_factor();
  systems_are_solved();
  products_add_up();
  return check_result();
}
