// Scales of input channels: they lower the error that they are chosen by, or are 1.
#include "../../src/quantize/awq.h"

#include "check.h"
#include "quantize_util.h"
#include "teams.h"

enum { COLS = 256, ROWS = 24, SAMPLES = 400 };

// Inputs of which a few channels are large.
static float *lopsided_moments(uint64_t *state) {
  float *x = gaussian_floats(SAMPLES * COLS, 1, state);
  for (size_t s = 0; s < SAMPLES; s++) {
    for (size_t j = 0; j < COLS; j += 40) x[s * COLS + j] *= 30;
  }
  float *h = moments(x, x, SAMPLES, COLS);
  free(x);
  return h;
}

typedef struct outcome {
  nb_status status;
  nb_awq_report report;
  float scales[COLS];
} outcome;

static outcome search(nb_team *team, nb_encode_method method, size_t rows_most, const float *h, const float *magnitude, const nb_awq_matrix *m, size_t n) {
  outcome o = {0};
  nb_error err = {0};
  tight scratch = tight_new((size_t)nb_awq_scratch_bytes(COLS, m, n, nb_team_size(team)));
  o.status = nb_awq(team, method, rows_most, COLS, h, magnitude, m, n, o.scales, &o.report, scratch.p, &err);
  tight_free(&scratch);
  return o;
}

// The error of W' = Q(W s) / s, in double.
static double scaled_error(nb_encode_method method, const float *h, const nb_awq_matrix *m, const float *scales) {
  float *w = take(m->rows * COLS * sizeof *w), importance[COLS];
  uint8_t *blocks = take(m->rows * row_bytes_of(m->type, COLS));
  memcpy(w, m->w, m->rows * COLS * sizeof *w);
  nb_awq_scale_columns(w, m->rows, COLS, scales);
  for (size_t j = 0; j < COLS; j++) importance[j] = h[j * COLS + j] / (scales[j] * scales[j]);
  for (size_t r = 0; r < m->rows; r++) nb_encode_row(m->type, method, w + r * COLS, importance, COLS, blocks + r * row_bytes_of(m->type, COLS));
  // Under H of the scaled inputs: the same sum.
  float *scaled_h = take(COLS * COLS * sizeof *scaled_h);
  memcpy(scaled_h, h, COLS * COLS * sizeof *h);
  nb_awq_scale_moments(scaled_h, COLS, scales);
  const double error = blocks_error(m->type, w, blocks, scaled_h, m->rows, COLS);
  free(scaled_h);
  free(blocks);
  free(w);
  return error;
}

static void scales_lower_the_error_where_channels_differ(void) {
  uint64_t state = 1;
  float *h = lopsided_moments(&state), *w = gaussian_floats(ROWS * COLS, 0.05, &state);
  for (size_t t = 0; t < N_BLOCK_TYPES; t++) {
    const nb_awq_matrix m = {ALL_TYPES[t], ROWS, w};
    const outcome o = search(NULL, NB_ENCODE_RTN, 0, h, NULL, &m, 1);
    CHECK_EQ_INT(o.status, NB_OK);
    CHECK(o.report.scaled && o.report.error < 0.7 * o.report.plain);
    for (int i = 0; i <= NB_AWQ_STEPS; i++) CHECK(o.report.errors[i] >= o.report.error);
    float ones[COLS];
    for (size_t j = 0; j < COLS; j++) ones[j] = 1;
    CHECK_NEAR(scaled_error(NB_ENCODE_RTN, h, &m, ones) / o.report.plain, 1, 1e-3);
    CHECK_NEAR(scaled_error(NB_ENCODE_RTN, h, &m, o.scales) / o.report.error, 1, 1e-3);
  }
  free(w);
  free(h);
}

static void scales_are_one_where_nothing_is_better(void) {
  uint64_t state = 2;
  float *h = lopsided_moments(&state), *w = gaussian_floats(ROWS * COLS, 0.05, &state);
  // Weights that Q8_0 says exactly: any scale would lose that.
  for (size_t i = 0; i < ROWS * COLS; i++) w[i] = (float)(i % 32 == 0 ? 127 : (int)(w[i] * 1000) % 127) / 1024;
  const nb_awq_matrix m = {NB_TYPE_Q8_0, ROWS, w};
  const outcome o = search(NULL, NB_ENCODE_SEARCH, 0, h, NULL, &m, 1);
  CHECK(!o.report.scaled && o.report.error == 0 && o.report.plain == 0);
  for (size_t j = 0; j < COLS; j++) CHECK(o.scales[j] == 1);
  free(w);
  free(h);
}

static void matrices_share_their_scales(void) {
  uint64_t state = 3;
  float *h = lopsided_moments(&state), *w = gaussian_floats(2 * ROWS * COLS, 0.05, &state), magnitude[COLS];
  for (size_t j = 0; j < COLS; j++) magnitude[j] = sqrtf(h[j * COLS + j]);
  const nb_awq_matrix two[2] = {{NB_TYPE_Q4_0, ROWS, w}, {NB_TYPE_Q4_K, ROWS, w + ROWS * COLS}};
  const outcome o = search(NULL, NB_ENCODE_SEARCH, 0, h, NULL, two, 2), given = search(NULL, NB_ENCODE_SEARCH, 0, h, magnitude, two, 2);
  CHECK_NEAR((scaled_error(NB_ENCODE_SEARCH, h, &two[0], o.scales) + scaled_error(NB_ENCODE_SEARCH, h, &two[1], o.scales)) / o.report.error, 1, 1e-3);
  CHECK(memcmp(o.scales, given.scales, sizeof o.scales) == 0);
  for (unsigned threads = 2; threads <= 4; threads++) {
    nb_team *team = team_start(threads);
    const outcome same = search(team, NB_ENCODE_SEARCH, 0, h, NULL, two, 2);
    CHECK(memcmp(&same.report, &o.report, sizeof o.report) == 0 && memcmp(same.scales, o.scales, sizeof o.scales) == 0);
    team_end(team);
  }
  // A few rows speak for all.
  const outcome few = search(NULL, NB_ENCODE_SEARCH, 8, h, NULL, two, 2);
  CHECK(few.report.energy < o.report.energy && few.report.error <= few.report.plain);
  free(w);
  free(h);
}

static void bad_input_is_refused(void) {
  uint64_t state = 4;
  float *h = lopsided_moments(&state), *w = gaussian_floats(ROWS * COLS, 0.05, &state);
  nb_awq_matrix m = {NB_TYPE_F16, ROWS, w};
  CHECK_EQ_INT(search(NULL, NB_ENCODE_RTN, 0, h, NULL, &m, 1).status, NB_E_ARGUMENT);
  m.type = NB_TYPE_Q4_0;
  h[1] = NAN;
  CHECK_EQ_INT(search(NULL, NB_ENCODE_RTN, 0, h, NULL, &m, 1).status, NB_E_ARGUMENT);
  h[1] = 0;
  w[9] = -INFINITY;
  CHECK_EQ_INT(search(NULL, NB_ENCODE_RTN, 0, h, NULL, &m, 1).status, NB_E_ARGUMENT);
  // Inputs and weights of nothing but zeros are not bad.
  memset(h, 0, COLS * COLS * sizeof *h);
  memset(w, 0, ROWS * COLS * sizeof *w);
  const outcome o = search(NULL, NB_ENCODE_SEARCH, 0, h, NULL, &m, 1);
  CHECK(o.status == NB_OK && !o.report.scaled && o.scales[0] == 1);
  free(w);
  free(h);
}

int main(void) {
  scales_lower_the_error_where_channels_differ();
  scales_are_one_where_nothing_is_better();
  matrices_share_their_scales();
  bad_input_is_refused();
  return check_result();
}
