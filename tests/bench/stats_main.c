// How fast statistics of inputs are: GMAC/s of sums of x x^T (of the half that is computed), of the other sums in 10^9 numbers a second, and beside
// them the product with an F32 matrix of the same width.
//
//   node wasm/wasi.mjs build/wasm-relaxed/stats_main.wasm [COLS …]
#include <time.h>

#include "../../src/quantize/stats.h"
#include "kernels_util.h"

enum { VECTORS = 512, TURNS = 7 };

static double now(void) {
  struct timespec t;
  timespec_get(&t, TIME_UTC);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double best_of(double seconds[TURNS]) {
  double best = seconds[0];
  for (int i = 1; i < TURNS; i++) best = seconds[i] < best ? seconds[i] : best;
  return best;
}

static void measure(size_t cols) {
  uint64_t state = 1;
  const size_t rows = 256;
  nb_stats with_h, without;
  nb_error err;
  float *x = aligned_alloc(64, VECTORS * cols * sizeof *x), *w = aligned_alloc(64, rows * cols * sizeof *w), *y = malloc(VECTORS * rows * sizeof *y);
  if (!x || !w || !y || nb_stats_init(&with_h, cols, NB_STATS_H, &err) || nb_stats_init(&without, cols, 0, &err)) abort();
  random_floats(x, VECTORS * cols, &state);
  random_floats(w, rows * cols, &state);
  const nb_matrix m = {.data = (const uint8_t *)w, .type = NB_TYPE_F32, .rows = rows, .cols = cols, .row_bytes = cols * sizeof *w};
  const nb_act a = {.kind = NB_ACT_F32, .n = VECTORS, .cols = cols, .x = x};
  double seconds[3][TURNS];
  for (int i = 0; i < TURNS; i++) nb_matmul(&m, &a, y, rows, 0, rows);  // before the engine has optimised
  for (int turn = 0; turn < TURNS; turn++) {
    const double t0 = now();
    nb_stats_add(&with_h, x, NULL, VECTORS, NULL);
    const double t1 = now();
    nb_stats_add(&without, x, NULL, VECTORS, NULL);
    const double t2 = now();
    nb_matmul(&m, &a, y, rows, 0, rows);
    const double t3 = now();
    seconds[0][turn] = t1 - t0;
    seconds[1][turn] = t2 - t1;
    seconds[2][turn] = t3 - t2;
  }
  const double n = (double)(VECTORS * cols);
  printf("%5zu columns: x x^T %6.2f GMAC/s, the other sums %5.2f G/s, F32 matrix %6.2f GMAC/s\n", cols, n * ((double)cols + 1) / 2 / best_of(seconds[0]) * 1e-9,
         n / best_of(seconds[1]) * 1e-9, n * (double)rows / best_of(seconds[2]) * 1e-9);
  nb_stats_free(&with_h);
  nb_stats_free(&without);
  free(x);
  free(w);
  free(y);
}

int main(int argc, char **argv) {
  if (argc < 2) {
    measure(576);
    measure(1536);
    measure(4096);
  }
  for (int i = 1; i < argc; i++) {
    const long cols = strtol(argv[i], NULL, 10);
    if (cols < 1 || cols > 32768) {
      fprintf(stderr, "%s is not a number of columns up to 32768\n", argv[i]);
      return 2;
    }
    measure((size_t)cols);
  }
  return 0;
}
