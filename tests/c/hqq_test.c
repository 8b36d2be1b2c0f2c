// HQQ: the norm that it lowers, on rows of every kind.
#include "../../src/quantize/hqq.h"

#include "../../src/quantize/encode.h"
#include "check.h"
#include "quantize_util.h"

enum { COLS = 512, N_ROWS = 24 };

static double norm(const float *x, const float *y, double p) {
  double sum = 0;
  for (size_t i = 0; i < COLS; i++) sum += pow(fabs((double)x[i] - (double)y[i]), p);
  return sum;
}

static void fill(float *x, int kind, uint64_t *state) {
  for (size_t i = 0; i < COLS; i++) {
    const double tail = fabs(gaussian(state)) + 0.05;
    x[i] = kind == 0 ? 0 : kind == 1 ? -0.25f : kind == 2 ? (float)(1e-7 * gaussian(state)) : (float)(0.02 * gaussian(state) / (kind % 2 ? tail : 1));
  }
}

static void the_norm_falls(void) {
  const nb_hqq_options o = nb_hqq_defaults();
  for (size_t t = 0; t < N_BLOCK_TYPES; t++) {
    uint64_t state = 1;
    double all = 0, all_searched = 0;
    for (int row = 0; row < N_ROWS; row++) {
      float x[COLS];
      tight out = tight_new(row_bytes_of(ALL_TYPES[t], COLS));
      fill(x, row, &state);
      nb_encode_row(ALL_TYPES[t], NB_ENCODE_SEARCH, x, NULL, COLS, out.p);
      float *searched = decoded(ALL_TYPES[t], out.p, 1, COLS);
      nb_hqq_row(ALL_TYPES[t], &o, x, COLS, out.p);
      float *y = decoded(ALL_TYPES[t], out.p, 1, COLS);
      for (size_t i = 0; i < COLS; i++) CHECK(isfinite(y[i]));
      CHECK(norm(x, y, 0.7) <= norm(x, searched, 0.7) * (1 + 1e-9));
      all += norm(x, y, 0.7);
      all_searched += norm(x, searched, 0.7);
      free(y);
      free(searched);
      tight_free(&out);
    }
    CHECK(all < all_searched);
    printf("%-6s norm %.4f of that of the search\n", nb_type_get(ALL_TYPES[t])->name, all / all_searched);
  }
}

static void no_steps_are_the_search(void) {
  uint64_t state = 2;
  nb_hqq_options o = nb_hqq_defaults();
  o.steps = 0;
  for (size_t t = 0; t < N_BLOCK_TYPES; t++) {
    const size_t bytes = row_bytes_of(ALL_TYPES[t], COLS);
    uint8_t a[COLS * 2], b[COLS * 2];
    float x[COLS];
    fill(x, 5, &state);
    nb_encode_row(ALL_TYPES[t], NB_ENCODE_SEARCH, x, NULL, COLS, a);
    nb_hqq_row(ALL_TYPES[t], &o, x, COLS, b);
    CHECK(memcmp(a, b, bytes) == 0);
  }
}

int main(void) {
  the_norm_falls();
  no_steps_are_the_search();
  return check_result();
}
