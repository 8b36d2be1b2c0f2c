// Statistics of inputs: against plain sums in double; the same bits however the vectors come, for any number of threads and in both variants.
#include "../../src/quantize/stats.h"

#include "check.h"
#include "kernels_util.h"
#include "../../src/kernels/simd.h"
#include "teams.h"

static float *vectors(size_t n, size_t cols, uint64_t seed) {
  float *x = malloc(n * cols * sizeof *x);
  if (!x) abort();
  random_floats(x, n * cols, &seed);
  for (size_t t = 0; t < n; t++)
    for (size_t c = 0; c < cols; c += 5) x[t * cols + c] *= 40;  // columns differ, as they do in models
  return x;
}

static nb_stats with_parts(size_t cols, unsigned parts) {
  nb_stats s;
  nb_error err;
  if (nb_stats_init(&s, cols, parts, &err)) abort();
  return s;
}

// |a - b| within `tolerance` of the sum of the magnitudes of what is added.
static void near_sum(double a, double b, double magnitudes, double tolerance) { CHECK_NEAR(a, b, tolerance * magnitudes); }

// Of floats added in chunks: an error of 1e-6 of the sum of the terms' magnitudes at most.
static void equal_plain_sums(size_t n, size_t cols) {
  float *x = vectors(n, cols, 1), *reference = vectors(n, cols, 2);
  nb_stats s = with_parts(cols, NB_STATS_H | NB_STATS_CROSS);
  nb_stats_add(&s, x, reference, n, NULL);
  nb_stats_finish(&s, NULL);
  CHECK_EQ_U64(s.n, n);
  for (size_t i = 0; i < cols; i++) {
    double sum = 0, sum_sq = 0;
    float greatest = 0;
    for (size_t t = 0; t < n; t++) {
      const float v = x[t * cols + i];
      sum += (double)v;
      sum_sq += (double)v * (double)v;
      greatest = fmaxf(greatest, fabsf(v));
    }
    CHECK(s.sum[i] == sum && s.sum_sq[i] == sum_sq && s.max_abs[i] == greatest);
    for (size_t j = 0; j < cols; j++) {
      double h = 0, h_size = 0, cross = 0, cross_size = 0;
      for (size_t t = 0; t < n; t++) {
        const double a = (double)x[t * cols + i] * (double)x[t * cols + j];
        const double b = (double)x[t * cols + i] * ((double)reference[t * cols + j] - (double)x[t * cols + j]);
        h += a;
        h_size += fabs(a);
        cross += b;
        cross_size += fabs(b);
      }
      near_sum((double)s.h[i * cols + j], h, h_size, 1e-6);
      near_sum((double)s.cross[i * cols + j], cross, cross_size, 1e-6);
      CHECK(s.h[i * cols + j] == s.h[j * cols + i]);
    }
  }
  nb_stats_free(&s);
  free(x);
  free(reference);
}

// As many vectors as a large calibration has lose no more.
static void many_vectors(void) {
  enum { N = 128 * 512, COLS = 16 };
  float *x = vectors(N, COLS, 3);
  nb_stats s = with_parts(COLS, NB_STATS_H);
  for (size_t t = 0; t < N; t += 512) nb_stats_add(&s, x + t * COLS, NULL, 512, NULL);
  nb_stats_finish(&s, NULL);
  for (size_t i = 0; i < COLS; i++) {
    for (size_t j = 0; j < COLS; j++) {
      double h = 0, size = 0;
      for (size_t t = 0; t < N; t++) {
        const double a = (double)x[t * COLS + i] * (double)x[t * COLS + j];
        h += a;
        size += fabs(a);
      }
      near_sum((double)s.h[i * COLS + j], h, size, 1e-6);
    }
  }
  nb_stats_free(&s);
  free(x);
}

static bool same_stats(const nb_stats *a, const nb_stats *b) {
  const size_t n = a->cols;
  return a->n == b->n && a->n_left_out == b->n_left_out && !memcmp(a->sum, b->sum, n * sizeof *a->sum) && !memcmp(a->sum_sq, b->sum_sq, n * sizeof *a->sum_sq) &&
         !memcmp(a->max_abs, b->max_abs, n * sizeof *a->max_abs) && !memcmp(a->h, b->h, n * n * sizeof *a->h) &&
         !memcmp(a->cross, b->cross, n * n * sizeof *a->cross);
}

static void same_for_any_team_and_split(void) {
  enum { N = 700, COLS = 83 };  // no whole panels, units or chunks
  float *x = vectors(N, COLS, 4), *reference = vectors(N, COLS, 5);
  x[17 * COLS + 3] = NAN;
  x[300 * COLS + 82] = INFINITY;
  reference[301 * COLS] = -INFINITY;
  nb_stats first = with_parts(COLS, NB_STATS_H | NB_STATS_CROSS);
  nb_stats_add(&first, x, reference, N, NULL);
  nb_stats_finish(&first, NULL);
  CHECK_EQ_U64(first.n, N - 3);
  CHECK_EQ_U64(first.n_left_out, 3);
  bool finite = true;
  for (size_t i = 0; i < COLS * COLS; i++) finite = finite && isfinite(first.h[i]) && isfinite(first.cross[i]);
  CHECK(finite);
  for (unsigned threads = 1; threads <= 4; threads++) {
    nb_team *team = team_start(threads);
    for (size_t piece = 1; piece <= N; piece = piece * 6 + 1) {
      nb_stats s = with_parts(COLS, NB_STATS_H | NB_STATS_CROSS);
      for (size_t t = 0; t < N; t += piece) nb_stats_add(&s, x + t * COLS, reference + t * COLS, N - t < piece ? N - t : piece, team);
      nb_stats_finish(&s, team);
      CHECK(same_stats(&s, &first));
      nb_stats_clear(&s);
      nb_stats_add(&s, x, reference, N, team);
      nb_stats_finish(&s, team);
      CHECK(same_stats(&s, &first));
      nb_stats_free(&s);
    }
    team_end(team);
  }
  nb_stats_free(&first);
  free(x);
  free(reference);
}

static void tells_dead_columns(void) {
  enum { N = 40, COLS = 20 };
  float *x = vectors(N, COLS, 6);
  for (size_t t = 0; t < N; t++) x[t * COLS + 7] = x[t * COLS + 19] = t % 2 ? 0.0f : -0.0f;
  nb_stats s = with_parts(COLS, 0);
  CHECK(s.h == NULL && s.cross == NULL);
  nb_stats_add(&s, x, NULL, N, NULL);
  nb_stats_finish(&s, NULL);
  uint8_t dead[COLS];
  CHECK_EQ_INT(nb_stats_dead(&s, dead), 2);
  for (size_t c = 0; c < COLS; c++) CHECK_EQ_INT(dead[c], c == 7 || c == 19);
  nb_stats_free(&s);
  free(x);
}

static void variants_agree(void) {
#ifdef NB_SIMD128
  enum { N = NB_STATS_CHUNK };
  uint64_t state = 7;
  _Alignas(16) static float a[N * 8], b[N * 8], wanted[64], got[64];
  random_floats(a, N * 8, &state);
  random_floats(b, N * 8, &state);
  for (size_t n = 1; n <= N; n += n < 9 ? 1 : 61) {
    nb_outer_8x8_scalar(a, b, n, wanted);
    nb_outer_8x8_simd128(a, b, n, got);
    CHECK_EQ_INT(first_difference(wanted, got, 64), 64);
  }
#endif
}

static void sizes_beyond_memory(void) {
  nb_stats s;
  nb_error err = {0};
  CHECK_EQ_INT(nb_stats_init(&s, (size_t)1 << (sizeof(size_t) * 4 + 4), NB_STATS_H, &err), NB_E_NOMEM);
  CHECK(strstr(err.message, "not enough memory"));
}

int main(void) {
  equal_plain_sums(1, 1);
  equal_plain_sums(300, 40);
  equal_plain_sums(1024, 21);
  many_vectors();
  same_for_any_team_and_split();
  tells_dead_columns();
  variants_agree();
  sizes_beyond_memory();
  return check_result();
}
