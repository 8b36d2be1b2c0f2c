// Columns that go: which ones, and what the others become, against least squares in double.
#include "../../src/quantize/columns.h"
#include "check.h"
#include "quantize_util.h"
#include "teams.h"

enum { ROWS = 5, COLS = 37, KEEP = 20 };

static float *copied(const float *x) {
  float *y = take(ROWS * COLS * sizeof *y);
  memcpy(y, x, ROWS * COLS * sizeof *y);
  return y;
}

typedef struct sample {
  float *w, *h;
} sample;

static sample make(uint64_t seed) {
  uint64_t state = seed;
  float *x = correlated_inputs(3 * COLS, COLS, &state);
  const sample s = {gaussian_floats(ROWS * COLS, 1, &state), moments(x, x, 3 * COLS, COLS)};
  free(x);
  return s;
}

static void drop(sample s) {
  free(s.w);
  free(s.h);
}

static nb_status prune(nb_team *team, size_t keep, bool compensate, float *w, const float *h, uint8_t *kept, nb_columns_report *report, nb_error *err) {
  const nb_columns_options o = {.keep = keep, .compensate = compensate, .damping = 0.01f};
  void *scratch = take((size_t)nb_columns_scratch_bytes(ROWS, COLS, compensate));
  const nb_status s = nb_prune_columns(team, &o, w, ROWS, COLS, h, kept, report, scratch, err);
  free(scratch);
  return s;
}

static size_t count(const uint8_t *kept) {
  size_t n = 0;
  for (size_t j = 0; j < COLS; j++) n += kept[j];
  return n;
}

// (W - W') (H + damping) is 0 in the columns that stay: no other W' with these columns is nearer.
static void what_stays_is_the_least_squares_answer(void) {
  const sample s = make(1);
  float *w = copied(s.w);
  uint8_t kept[COLS];
  nb_columns_report report;
  CHECK(prune(NULL, KEEP, true, w, s.h, kept, &report, NULL) == NB_OK);
  CHECK(count(kept) == KEEP);
  double mean = 0;
  for (size_t j = 0; j < COLS; j++) mean += (double)s.h[j * COLS + j] / COLS;
  for (size_t r = 0; r < ROWS; r++) {
    for (size_t k = 0; k < COLS; k++) {
      if (!kept[k]) {
        CHECK(w[r * COLS + k] == 0);
        continue;
      }
      double sum = 0, size = 0;
      for (size_t j = 0; j < COLS; j++) {
        const double rest = (double)s.w[r * COLS + j] - (double)w[r * COLS + j];
        const double term = rest * ((double)s.h[j * COLS + k] + (j == k ? report.damping * mean : 0));
        sum += term;
        size += fabs(term);
      }
      CHECK(fabs(sum) < 1e-5 * size);
    }
  }
  free(w);
  drop(s);
}

static double loss(const sample *s, const float *w) {
  double sum = 0;
  for (size_t r = 0; r < ROWS; r++) {
    for (size_t i = 0; i < COLS; i++) {
      for (size_t j = 0; j < COLS; j++) {
        const double a = (double)s->w[r * COLS + i] - (double)w[r * COLS + i], b = (double)s->w[r * COLS + j] - (double)w[r * COLS + j];
        sum += a * (double)s->h[i * COLS + j] * b;
      }
    }
  }
  return sum;
}

static void making_up_for_what_goes_loses_less(void) {
  const sample s = make(2);
  float *plain = copied(s.w), *made_up = copied(s.w);
  uint8_t kept[COLS];
  nb_columns_report report;
  CHECK(prune(NULL, KEEP, false, plain, s.h, kept, &report, NULL) == NB_OK);
  for (size_t i = 0; i < ROWS * COLS; i++) CHECK(plain[i] == (kept[i % COLS] ? s.w[i] : 0));
  CHECK(prune(NULL, KEEP, true, made_up, s.h, kept, &report, NULL) == NB_OK);
  CHECK(loss(&s, made_up) < 0.6 * loss(&s, plain));
  free(plain);
  free(made_up);
  drop(s);
}

static void columns_that_do_nothing_go_first_and_change_nothing(void) {
  for (int compensate = 0; compensate < 2; compensate++) {
    const sample s = make(3);
    for (size_t j = 0; j < COLS; j += 2)
      for (size_t r = 0; r < ROWS; r++) s.w[r * COLS + j] = 0;
    float *w = copied(s.w);
    uint8_t kept[COLS];
    nb_columns_report report;
    CHECK(prune(NULL, COLS / 2, compensate, w, s.h, kept, &report, NULL) == NB_OK);
    for (size_t j = 0; j < COLS; j++) CHECK(kept[j] == j % 2);
    CHECK(memcmp(w, s.w, ROWS * COLS * sizeof *w) == 0);
    free(w);
    drop(s);
  }
}

static void all_may_stay(void) {
  const sample s = make(4);
  float *w = copied(s.w);
  uint8_t kept[COLS];
  nb_columns_report report;
  CHECK(prune(NULL, COLS, true, w, s.h, kept, &report, NULL) == NB_OK);
  CHECK(count(kept) == COLS && memcmp(w, s.w, ROWS * COLS * sizeof *w) == 0);
  free(w);
  drop(s);
}

static void inputs_that_say_nothing_are_taken(void) {
  const sample s = make(5);
  memset(s.h, 0, COLS * COLS * sizeof *s.h);
  uint8_t kept[COLS];
  nb_columns_report report;
  CHECK(prune(NULL, KEEP, true, s.w, s.h, kept, &report, NULL) == NB_OK);
  CHECK(count(kept) == KEEP);
  for (size_t i = 0; i < ROWS * COLS; i++) CHECK(isfinite(s.w[i]));
  drop(s);
}

static void the_bits_are_the_same_for_any_number_of_threads(void) {
  const sample s = make(6);
  float *one = copied(s.w);
  uint8_t kept[COLS], other[COLS];
  nb_columns_report report;
  CHECK(prune(NULL, KEEP, true, one, s.h, kept, &report, NULL) == NB_OK);
  for (unsigned threads = 2; threads <= 4; threads++) {
    nb_team *team = team_start(threads);
    float *w = copied(s.w);
    CHECK(prune(team, KEEP, true, w, s.h, other, &report, NULL) == NB_OK);
    CHECK(memcmp(w, one, ROWS * COLS * sizeof *w) == 0 && memcmp(kept, other, COLS) == 0);
    free(w);
    team_end(team);
  }
  free(one);
  drop(s);
}

static void what_cannot_be_is_refused(void) {
  nb_error err;
  uint8_t kept[COLS];
  nb_columns_report report;
  const sample s = make(7);
  CHECK(prune(NULL, 0, true, s.w, s.h, kept, &report, &err) == NB_E_ARGUMENT);
  CHECK(prune(NULL, COLS + 1, true, s.w, s.h, kept, &report, &err) == NB_E_ARGUMENT);
  s.h[3 * COLS + 3] = -1;
  CHECK(prune(NULL, KEEP, true, s.w, s.h, kept, &report, &err) == NB_E_ARGUMENT);
  s.h[3 * COLS + 3] = NAN;
  CHECK(prune(NULL, KEEP, true, s.w, s.h, kept, &report, &err) == NB_E_ARGUMENT);
  s.h[3 * COLS + 3] = 1;
  s.w[7] = INFINITY;
  CHECK(prune(NULL, KEEP, false, s.w, s.h, kept, &report, &err) == NB_E_ARGUMENT);
  CHECK(nb_columns_scratch_bytes(SIZE_MAX, SIZE_MAX, true) == UINT64_MAX);
  drop(s);
}

int main(void) {
  what_stays_is_the_least_squares_answer();
  making_up_for_what_goes_loses_less();
  columns_that_do_nothing_go_first_and_change_nothing();
  all_may_stay();
  inputs_that_say_nothing_are_taken();
  the_bits_are_the_same_for_any_number_of_threads();
  what_cannot_be_is_refused();
  return check_result();
}
