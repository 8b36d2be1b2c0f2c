// GPTQ and what follows it, held to plain GPTQ in double precision (vectors/gptq.bin) and to what it promises.
#include "../../src/quantize/gptq.h"

#include "../../src/quantize/error.h"
#include "../../src/quantize/grid.h"
#include "check.h"
#include "quantize_util.h"
#include "teams.h"

enum { COLS = 256, ROWS = 20, SAMPLES = 600 };

typedef struct problem {
  float *w, *h;
} problem;

static problem make_problem(size_t samples, uint64_t *state) {
  float *x = correlated_inputs(samples, COLS, state);
  const problem p = {gaussian_floats(ROWS * COLS, 0.05, state), moments(x, x, samples, COLS)};
  free(x);
  return p;
}

static void free_problem(problem *p) {
  free(p->h);
  free(p->w);
}

// With scratch memory that ends where it should.
static nb_status encode(nb_team *team, const nb_gptq_options *o, size_t cols, const float *h, const float *cross, nb_gptq_matrix *m, size_t n,
                        nb_error *err) {
  tight scratch = tight_new((size_t)nb_gptq_scratch_bytes(o, cols, m, n, nb_team_size(team)));
  const nb_status s = nb_gptq(team, o, cols, h, cross, m, n, scratch.p, err);
  tight_free(&scratch);
  return s;
}

static nb_gptq_report encode_one(nb_team *team, const nb_gptq_options *o, nb_type type, const problem *p, const float *cross, void *out) {
  nb_gptq_matrix m = {.type = type, .rows = ROWS, .w = p->w, .out = out};
  nb_error err = {0};
  CHECK_EQ_INT(encode(team, o, COLS, p->h, cross, &m, 1, &err), NB_OK);
  return m.report;
}

// ---- vectors --------------------------------------------------------------------------------------------------------------------

static void read_into(FILE *f, void *to, size_t bytes) {
  if (fread(to, 1, bytes, f) == bytes) return;
  fprintf(stderr, "gptq.bin ends too soon\n");
  exit(1);
}

static float *read_floats(FILE *f, size_t n) {
  float *x = take(n * sizeof *x);
  read_into(f, x, n * sizeof *x);
  return x;
}

static void the_sweep_is_plain_gptq(void) {
  char path[1024];
  snprintf(path, sizeof path, "%s/gptq.bin", check_vectors_dir());
  FILE *f = fopen(path, "rb");
  CHECK(f);
  if (!f) return;
  uint32_t records, head[4];
  read_into(f, &records, sizeof records);
  for (uint32_t i = 0; i < records; i++) {
    float numbers[2];
    read_into(f, head, sizeof head);
    read_into(f, numbers, sizeof numbers);
    const nb_type type = (nb_type)head[0];
    const size_t rows = head[1], cols = head[2];
    float *w = read_floats(f, rows * cols), *h = read_floats(f, cols * cols), *cross = head[3] ? read_floats(f, cols * cols) : NULL;
    float *expected = read_floats(f, rows * cols);
    const nb_gptq_options o = {.order = NB_GPTQ_STATIC, .scales = NB_ENCODE_RTN, .damping = numbers[0], .alpha = numbers[1]};
    nb_gptq_matrix m = {.type = type, .rows = rows, .w = w, .out = take(rows * row_bytes_of(type, cols))};
    nb_error err = {0};
    CHECK_EQ_INT(encode(NULL, &o, cols, h, cross, &m, 1, &err), NB_OK);
    CHECK_EQ_INT(m.report.rows_static, rows);
    float *y = decoded(type, m.out, rows, cols);
    size_t different = 0;
    for (size_t k = 0; k < rows * cols; k++) different += fabsf(y[k] - expected[k]) > 1e-5f;
    CHECK_EQ_INT(different, 0);
    free(y);
    free(m.out);
    free(expected);
    free(cross);
    free(h);
    free(w);
  }
  fclose(f);
}

// ---- claims ---------------------------------------------------------------------------------------------------------------------

static void each_step_lowers_the_error(void) {
  uint64_t state = 1;
  problem p = make_problem(SAMPLES, &state);
  for (size_t t = 0; t < N_BLOCK_TYPES; t++) {
    const nb_type type = ALL_TYPES[t];
    void *out = take(ROWS * row_bytes_of(type, COLS));
    nb_gptq_options o = nb_gptq_defaults();
    o.order = NB_GPTQ_SEARCH;
    o.refine = 0;
    o.scales = NB_ENCODE_RTN;
    const double rounded = encode_one(NULL, &o, type, &p, NULL, out).error;
    o.scales = NB_ENCODE_SEARCH;
    const double searched = encode_one(NULL, &o, type, &p, NULL, out).error;
    CHECK(searched <= rounded);
    double least = searched;
    for (int order = NB_GPTQ_STATIC; order <= NB_GPTQ_GROUPS; order++) {
      o.order = (nb_gptq_order)order;
      const nb_gptq_report r = encode_one(NULL, &o, type, &p, NULL, out);
      CHECK(r.error < 0.8 * searched);
      CHECK(r.searched == searched);
      least = r.error < least ? r.error : least;
    }
    o.order = NB_GPTQ_BEST;
    const double best = encode_one(NULL, &o, type, &p, NULL, out).error;
    CHECK(best <= least);
    o.refine = 2;
    const nb_gptq_report refined = encode_one(NULL, &o, type, &p, NULL, out);
    CHECK(refined.error < best);
    // Errors are what they are said to be, through the library's decoder.
    CHECK_NEAR(blocks_error(type, p.w, out, p.h, ROWS, COLS) / refined.error, 1, 1e-3);
    CHECK_EQ_INT(refined.rows_search + refined.rows_static + refined.rows_groups, ROWS);
    printf("%-6s relative error: rounded %.3g, searched %.3g, swept %.3g, refined %.3g\n", nb_type_get(type)->name, rounded / refined.energy,
           searched / refined.energy, best / refined.energy, refined.error / refined.energy);
    free(out);
  }
  free_problem(&p);
}

static void no_row_is_worse_than_searched(void) {
  uint64_t state = 2;
  for (size_t samples = 8; samples <= 2048; samples *= 16) {
    problem p = make_problem(samples, &state);
    double searched[ROWS], errors[ROWS];
    for (size_t t = 0; t < N_BLOCK_TYPES; t++) {
      const nb_type type = ALL_TYPES[t];
      void *out = take(ROWS * row_bytes_of(type, COLS)), *scratch = take((size_t)nb_error_scratch_bytes(COLS, 1));
      nb_gptq_options o = nb_gptq_defaults();
      o.order = NB_GPTQ_SEARCH;
      o.refine = 0;
      encode_one(NULL, &o, type, &p, NULL, out);
      nb_output_errors(NULL, type, p.w, out, ROWS, COLS, p.h, NULL, scratch, searched);
      for (unsigned refine = 0; refine <= 1; refine++) {
        o.order = refine ? NB_GPTQ_SEARCH : NB_GPTQ_BEST;
        o.refine = refine;
        encode_one(NULL, &o, type, &p, NULL, out);
        nb_output_errors(NULL, type, p.w, out, ROWS, COLS, p.h, NULL, scratch, errors);
        for (size_t r = 0; r < ROWS; r++) CHECK(errors[r] <= searched[r]);
      }
      free(scratch);
      free(out);
    }
    free_problem(&p);
  }
}

static void inputs_without_correlation_leave_nothing_to_make_up_for(void) {
  uint64_t state = 3;
  problem p = make_problem(8, &state);
  for (size_t i = 0; i < COLS * COLS; i++) p.h[i] = i % (COLS + 1) == 0 ? (float)exp(gaussian(&state)) : 0;
  for (size_t t = 0; t < N_BLOCK_TYPES; t++) {
    const size_t bytes = ROWS * row_bytes_of(ALL_TYPES[t], COLS);
    void *searched = take(bytes), *swept = take(bytes);
    nb_gptq_options o = nb_gptq_defaults();
    o.refine = 0;
    o.order = NB_GPTQ_SEARCH;
    encode_one(NULL, &o, ALL_TYPES[t], &p, NULL, searched);
    for (int order = NB_GPTQ_STATIC; order <= NB_GPTQ_BEST; order++) {
      o.order = (nb_gptq_order)order;
      encode_one(NULL, &o, ALL_TYPES[t], &p, NULL, swept);
      CHECK(memcmp(searched, swept, bytes) == 0);
    }
    free(swept);
    free(searched);
  }
  free_problem(&p);
}

static void threads_do_not_change_a_bit(void) {
  uint64_t state = 4;
  problem p = make_problem(SAMPLES, &state);
  float *cross = gaussian_floats(COLS * COLS, 0.1, &state);
  for (size_t t = 0; t < N_BLOCK_TYPES; t++) {
    const nb_type type = ALL_TYPES[t];
    const size_t bytes = ROWS * row_bytes_of(type, COLS);
    void *one = take(bytes), *out = take(bytes);
    const nb_gptq_options o = nb_gptq_defaults();
    const nb_gptq_report alone = encode_one(NULL, &o, type, &p, cross, one);
    for (unsigned threads = 1; threads <= 4; threads++) {
      nb_team *team = team_start(threads);
      const nb_gptq_report r = encode_one(team, &o, type, &p, cross, out);
      CHECK(memcmp(one, out, bytes) == 0);
      CHECK(memcmp(&r, &alone, sizeof r) == 0);
      team_end(team);
    }
    free(out);
    free(one);
  }
  free(cross);
  free_problem(&p);
}

static void matrices_of_one_input_do_not_touch_each_other(void) {
  uint64_t state = 5;
  problem p = make_problem(SAMPLES, &state);
  float *other = gaussian_floats(33 * COLS, 0.02, &state);
  nb_gptq_matrix together[3] = {{.type = NB_TYPE_Q4_K, .rows = ROWS, .w = p.w}, {.type = NB_TYPE_Q4_0, .rows = 33, .w = other},
                                {.type = NB_TYPE_Q6_K, .rows = 1, .w = other + COLS}};
  const nb_gptq_options o = nb_gptq_defaults();
  nb_error err = {0};
  for (int i = 0; i < 3; i++) together[i].out = take(together[i].rows * row_bytes_of(together[i].type, COLS));
  CHECK_EQ_INT(encode(NULL, &o, COLS, p.h, NULL, together, 3, &err), NB_OK);
  for (int i = 0; i < 3; i++) {
    const size_t bytes = together[i].rows * row_bytes_of(together[i].type, COLS);
    nb_gptq_matrix alone = together[i];
    alone.out = take(bytes);
    CHECK_EQ_INT(encode(NULL, &o, COLS, p.h, NULL, &alone, 1, &err), NB_OK);
    CHECK(memcmp(alone.out, together[i].out, bytes) == 0);
    CHECK(alone.report.error == together[i].report.error && alone.report.energy == together[i].report.energy);
    free(alone.out);
    free(together[i].out);
  }
  free(other);
  free_problem(&p);
}

static void inputs_that_are_never_there_do_no_harm(void) {
  uint64_t state = 6;
  float *x = correlated_inputs(SAMPLES, COLS, &state);
  problem p = {gaussian_floats(ROWS * COLS, 0.05, &state), NULL};
  size_t dead = 0;
  for (size_t j = 0; j < COLS; j++) {
    if (j % 7 != 3) continue;
    dead++;
    for (size_t s = 0; s < SAMPLES; s++) x[s * COLS + j] = 0;
    for (size_t r = 0; r < ROWS; r++) p.w[r * COLS + j] *= r == 0 ? 100.0f : 1.0f;  // an outlier that nothing is multiplied with
  }
  p.h = moments(x, x, SAMPLES, COLS);
  for (size_t t = 0; t < N_BLOCK_TYPES; t++) {
    const nb_type type = ALL_TYPES[t];
    void *out = take(ROWS * row_bytes_of(type, COLS));
    const nb_gptq_options o = nb_gptq_defaults();
    const nb_gptq_report r = encode_one(NULL, &o, type, &p, NULL, out);
    CHECK_EQ_INT(r.dead, dead);
    float *y = decoded(type, out, ROWS, COLS);
    // The row with the outliers comes out as well as the others.
    const double first = row_error(p.w, y, p.h, COLS) / row_error(p.w, NULL, p.h, COLS);
    CHECK(first < 3 * r.error / r.energy);
    // Weights that nothing depends on are still near what they were.
    double off = 0, energy = 0;
    for (size_t row = 1; row < ROWS; row++) {
      for (size_t j = 3; j < COLS; j += 7) {
        off += pow((double)p.w[row * COLS + j] - (double)y[row * COLS + j], 2);
        energy += pow((double)p.w[row * COLS + j], 2);
      }
    }
    CHECK(off < 0.3 * energy);
    free(y);
    free(out);
  }
  // Nothing was ever there: then all weights are equal.
  memset(p.h, 0, COLS * COLS * sizeof *p.h);
  uint8_t out[ROWS * COLS / 32 * 18];
  const nb_gptq_options o = nb_gptq_defaults();
  const nb_gptq_report r = encode_one(NULL, &o, NB_TYPE_Q4_0, &p, NULL, out);
  CHECK_EQ_INT(r.dead, COLS);
  CHECK(r.error == 0 && r.energy == 0);
  free(x);
  free_problem(&p);
}

// Held to the moments of many samples, which are what counts.
static void shrunk_moments_of_few_samples_serve_better(void) {
  uint64_t state = 11;
  enum { FEW = COLS / 2, MANY = 8 * COLS };
  float *x = correlated_inputs(FEW + MANY, COLS, &state), *true_h = moments(x + FEW * COLS, x + FEW * COLS, MANY, COLS);
  problem p = {gaussian_floats(ROWS * COLS, 0.05, &state), moments(x, x, FEW, COLS)};
  void *out = take(ROWS * row_bytes_of(NB_TYPE_Q4_0, COLS));
  const nb_gptq_options o = nb_gptq_defaults();
  encode_one(NULL, &o, NB_TYPE_Q4_0, &p, NULL, out);
  const double plain = blocks_error(NB_TYPE_Q4_0, p.w, out, true_h, ROWS, COLS);
  CHECK_EQ_INT(nb_shrink_part(COLS, FEW) * 1000, 500);
  CHECK_EQ_INT(nb_shrink_part(COLS, 50 * COLS) * 1000, 10);
  const float diagonal = p.h[COLS + 1], other = p.h[1];
  nb_shrink_moments(p.h, COLS, 0.25f);
  CHECK(p.h[COLS + 1] == diagonal && p.h[1] == other * 0.75f);
  encode_one(NULL, &o, NB_TYPE_Q4_0, &p, NULL, out);
  CHECK(blocks_error(NB_TYPE_Q4_0, p.w, out, true_h, ROWS, COLS) < 0.9 * plain);
  free(out);
  free(true_h);
  free_problem(&p);
  free(x);
}

static void few_samples_are_enough_to_run(void) {
  uint64_t state = 7;
  for (size_t samples = 1; samples <= 64; samples *= 8) {
    problem p = make_problem(samples, &state);
    void *out = take(ROWS * row_bytes_of(NB_TYPE_Q4_K, COLS));
    nb_gptq_options o = nb_gptq_defaults();
    const nb_gptq_report r = encode_one(NULL, &o, NB_TYPE_Q4_K, &p, NULL, out);
    CHECK(r.damping == o.damping && r.error < r.searched);
    // Without damping H cannot be factorised: some is added until it can.
    o.damping = 0;
    const nb_gptq_report raised = encode_one(NULL, &o, NB_TYPE_Q4_K, &p, NULL, out);
    CHECK(raised.damping > 0 && raised.error < raised.searched);
    free(out);
    free_problem(&p);
  }
}

// x_full is what the inputs would be without quantization: W' is to give W x_full from x.
static void what_earlier_layers_lost_is_made_up_for(void) {
  uint64_t state = 8;
  float *full = correlated_inputs(SAMPLES, COLS, &state), *x = take(SAMPLES * COLS * sizeof *x), *dx = take(SAMPLES * COLS * sizeof *dx);
  for (size_t i = 0; i < SAMPLES * COLS; i++) {
    x[i] = full[i] * 0.95f + full[i / COLS * COLS + (i + 1) % COLS] * 0.05f;
    dx[i] = full[i] - x[i];
  }
  problem p = {gaussian_floats(ROWS * COLS, 0.05, &state), moments(x, x, SAMPLES, COLS)};
  float *cross = moments(x, dx, SAMPLES, COLS);
  void *out = take(ROWS * row_bytes_of(NB_TYPE_Q4_K, COLS));
  nb_gptq_options o = nb_gptq_defaults();
  for (int refine = 0; refine <= 2; refine += 2) {
    double before = 0;
    for (int given = 0; given <= 1; given++) {
      o.refine = (unsigned)refine;
      o.alpha = 1;
      const nb_gptq_report r = encode_one(NULL, &o, NB_TYPE_Q4_K, &p, given ? cross : NULL, out);
      float *y = decoded(NB_TYPE_Q4_K, out, ROWS, COLS);
      double error = 0, constant = 0;
      for (size_t s = 0; s < SAMPLES; s++) {
        for (size_t row = 0; row < ROWS; row++) {
          double wanted = 0, got = 0, lost = 0;
          for (size_t j = 0; j < COLS; j++) {
            wanted += (double)p.w[row * COLS + j] * (double)full[s * COLS + j];
            got += (double)y[row * COLS + j] * (double)x[s * COLS + j];
            lost += (double)p.w[row * COLS + j] * (double)dx[s * COLS + j];
          }
          error += (wanted - got) * (wanted - got);
          constant += lost * lost;
        }
      }
      if (given) {
        CHECK(error < 0.7 * before);
        CHECK_NEAR((r.error + constant) / error, 1, 1e-3);
      }
      before = error;
      free(y);
    }
  }
  free(out);
  free(cross);
  free_problem(&p);
  free(dx);
  free(x);
  free(full);
}

static void bad_input_is_refused(void) {
  uint64_t state = 9;
  problem p = make_problem(64, &state);
  uint8_t out[ROWS * COLS * 2];
  nb_gptq_options o = nb_gptq_defaults();
  nb_gptq_matrix m = {.type = NB_TYPE_Q4_0, .rows = ROWS, .w = p.w, .out = out};
  nb_error err = {0};
  CHECK_EQ_INT(encode(NULL, &o, COLS, p.h, NULL, &m, 1, &err), NB_OK);
  const float kept = p.h[3], negative = p.h[5 * COLS + 5], weight = p.w[7];
  p.h[3] = NAN;
  CHECK_EQ_INT(encode(NULL, &o, COLS, p.h, NULL, &m, 1, &err), NB_E_ARGUMENT);
  CHECK_EQ_INT(encode(NULL, &o, COLS, p.h, p.h, &m, 1, &err), NB_E_ARGUMENT);
  p.h[3] = kept;
  p.h[5 * COLS + 5] = -1;
  CHECK_EQ_INT(encode(NULL, &o, COLS, p.h, NULL, &m, 1, &err), NB_E_ARGUMENT);
  CHECK(strstr(err.message, "input 5"));
  p.h[5 * COLS + 5] = negative;
  p.w[7] = INFINITY;
  CHECK_EQ_INT(encode(NULL, &o, COLS, p.h, NULL, &m, 1, &err), NB_E_ARGUMENT);
  p.w[7] = weight;
  m.type = NB_TYPE_F16;
  CHECK_EQ_INT(nb_gptq(NULL, &o, COLS, p.h, NULL, &m, 1, out, &err), NB_E_ARGUMENT);
  m.type = NB_TYPE_Q4_0;
  o.damping = -1;
  CHECK_EQ_INT(encode(NULL, &o, COLS, p.h, NULL, &m, 1, &err), NB_E_ARGUMENT);
  o = nb_gptq_defaults();
  // Symmetric, with a positive diagonal, and yet no sum of squares.
  for (size_t i = 0; i < COLS * COLS; i++) p.h[i] = i % (COLS + 1) == 0 ? 1 : -50;
  CHECK_EQ_INT(encode(NULL, &o, COLS, p.h, NULL, &m, 1, &err), NB_E_ARGUMENT);
  free_problem(&p);
}

static void grids_say_what_blocks_say(void) {
  uint64_t state = 10;
  for (size_t t = 0; t < N_BLOCK_TYPES; t++) {
    const nb_grid grid = nb_grid_of(ALL_TYPES[t]);
    float *x = gaussian_floats(COLS, 1, &state);
    uint8_t blocks[COLS / 32 * 34], copy[COLS / 32 * 34];
    nb_encode_row(ALL_TYPES[t], NB_ENCODE_SEARCH, x, NULL, COLS, blocks);
    float *y = decoded(ALL_TYPES[t], blocks, 1, COLS);
    for (size_t b = 0; b < COLS / grid.block; b++) {
      nb_grid_block block;
      nb_grid_take(&grid, blocks + b * grid.bytes, &block);
      nb_grid_put(&grid, &block, copy + b * grid.bytes);
      for (size_t i = 0; i < grid.block; i++) {
        const size_t g = i / grid.size;
        const float value = nb_grid_scale(&block, g) * nb_level_value(&grid.levels, block.q[i]) + nb_grid_shift(&block, g);
        CHECK(value == y[b * grid.block + i]);
      }
    }
    CHECK(memcmp(blocks, copy, COLS / grid.block * grid.bytes) == 0);
    free(y);
    free(x);
  }
}

int main(void) {
  the_sweep_is_plain_gptq();
  each_step_lowers_the_error();
  no_row_is_worse_than_searched();
  inputs_without_correlation_leave_nothing_to_make_up_for();
  threads_do_not_change_a_bit();
  matrices_of_one_input_do_not_touch_each_other();
  inputs_that_are_never_there_do_no_harm();
  shrunk_moments_of_few_samples_serve_better();
  few_samples_are_enough_to_run();
  what_earlier_layers_lost_is_made_up_for();
  bad_input_is_refused();
  grids_say_what_blocks_say();
  return check_result();
}
