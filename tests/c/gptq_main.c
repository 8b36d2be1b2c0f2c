// Matrices of floats to blocks by GPTQ, AWQ, HQQ and what they are compared with (tests/reference/gptq.py).
//   gptq TYPE METHOD COLS W H [name=value …]      files: f32 [rows, cols]; f32 [cols, cols]
// METHOD: search, static, groups, best (src/quantize/gptq.h), hqq; awq+search and so on: with AWQ's scales. Options: scales=rtn|search|large damping=N
// alpha=N refine=N threads=N cross=FILE shrink=N rows=N (tried by AWQ) under=FILE (another H, up to four).
// Prints one line of JSON; `under` are the errors relative to the output's energy under each of these, `hash` is that of the blocks.
#define _DEFAULT_SOURCE  // clock_gettime
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../src/base/mem.h"
#include "../../src/quantize/awq.h"
#include "../../src/quantize/error.h"
#include "../../src/quantize/gptq.h"
#include "../../src/quantize/hqq.h"
#include "teams.h"

typedef struct arguments {
  nb_gptq_options options;
  unsigned threads;
  size_t rows_tried;
  float shrink;
  const char *cross, *under[4];
  int n_under;
} arguments;

static void fail(const char *what, const char *about) {
  fprintf(stderr, "%s: %s\n", about, what);
  exit(1);
}

static void *take(uint64_t bytes) {
  void *p = bytes <= SIZE_MAX / 2 ? malloc((size_t)(bytes ? bytes : 1)) : NULL;
  if (!p) fail("out of memory", "gptq");
  return p;
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static nb_type type_named(const char *name) {
  for (uint32_t id = 0; id < NB_TYPE_LIMIT; id++) {
    const nb_type_info *info = nb_type_get(id);
    if (info->block_size >= 32 && !strcmp(info->name, name)) return (nb_type)id;
  }
  fail("not a type with blocks", name);
  return NB_TYPE_LIMIT;
}

// A file of floats whose number is a multiple of `unit`.
static float *read_floats(const char *path, size_t unit, size_t *units) {
  FILE *f = fopen(path, "rb");
  if (!f || fseek(f, 0, SEEK_END)) fail("cannot be read", path);
  const long bytes = ftell(f);
  rewind(f);
  *units = (size_t)bytes / (unit * sizeof(float));
  if (bytes <= 0 || *units * unit * sizeof(float) != (size_t)bytes) fail("does not hold whole rows", path);
  float *x = take((uint64_t)bytes);
  if (fread(x, 1, (size_t)bytes, f) != (size_t)bytes) fail("cannot be read", path);
  fclose(f);
  return x;
}

static arguments parse(int argc, char **argv) {
  arguments a = {.options = nb_gptq_defaults(), .threads = 1};
  for (int i = 6; i < argc; i++) {
    char *value = strchr(argv[i], '=');
    if (!value) fail("not name=value", argv[i]);
    *value++ = 0;
    const char *name = argv[i];
    if (!strcmp(name, "scales")) a.options.scales = !strcmp(value, "rtn") ? NB_ENCODE_RTN : !strcmp(value, "large") ? NB_ENCODE_SEARCH_LARGE : NB_ENCODE_SEARCH;
    else if (!strcmp(name, "damping")) a.options.damping = strtof(value, NULL);
    else if (!strcmp(name, "alpha")) a.options.alpha = strtof(value, NULL);
    else if (!strcmp(name, "refine")) a.options.refine = (unsigned)strtoul(value, NULL, 10);
    else if (!strcmp(name, "threads")) a.threads = (unsigned)strtoul(value, NULL, 10);
    else if (!strcmp(name, "shrink")) a.shrink = strtof(value, NULL);
    else if (!strcmp(name, "rows")) a.rows_tried = strtoul(value, NULL, 10);
    else if (!strcmp(name, "under") && a.n_under < 4) a.under[a.n_under++] = value;
    else if (!strcmp(name, "cross")) a.cross = value;
    else fail("not an option", name);
  }
  return a;
}

// The scales of input channels, put into w and h.
static void scale(const arguments *a, nb_team *team, nb_type type, float *w, size_t rows, float *h, size_t cols, float *scales) {
  const nb_awq_matrix matrix = {type, rows, w};
  nb_awq_report report;
  nb_error err = {0};
  void *scratch = take(nb_awq_scratch_bytes(cols, &matrix, 1, a->threads));
  if (nb_awq(team, a->options.scales, a->rows_tried, cols, h, NULL, &matrix, 1, scales, &report, scratch, &err)) fail(err.message, "awq");
  free(scratch);
  nb_awq_scale_columns(w, rows, cols, scales);
  nb_awq_scale_moments(h, cols, scales);
  printf("{\"exponent\": %g, ", (double)report.exponent);
}

// tr((W - W') H (W - W')^T) / tr(W H W^T) with the H of a file; w and the blocks may be scaled.
static double error_under(const char *path, nb_team *team, nb_type type, const float *w, const uint8_t *blocks, size_t rows, size_t cols,
                          const float *scales) {
  size_t n;
  float *h = read_floats(path, cols, &n);
  if (n != cols) fail("not [cols, cols]", path);
  nb_awq_scale_moments(h, cols, scales);
  double *errors = take(rows * sizeof *errors);
  void *scratch = take(nb_error_scratch_bytes(cols, nb_team_size(team)));
  nb_output_errors(team, type, w, blocks, rows, cols, h, NULL, scratch, errors);
  const double error = nb_sum_errors(errors, rows);
  nb_output_errors(team, type, w, NULL, rows, cols, h, NULL, scratch, errors);
  const double energy = nb_sum_errors(errors, rows);
  free(scratch);
  free(errors);
  free(h);
  return error / energy;
}

static const char *const WAYS[] = {"search", "static", "groups", "best"};

int main(int argc, char **argv) {
  if (argc < 6) {
    fprintf(stderr, "usage: gptq TYPE search|static|groups|best|hqq|awq+… COLS W H [name=value …]\n");
    return 2;
  }
  arguments a = parse(argc, argv);
  const nb_type type = type_named(argv[1]);
  const nb_type_info *info = nb_type_get(type);
  const bool scaled = !strncmp(argv[2], "awq+", 4);
  const char *method = scaled ? argv[2] + 4 : argv[2];
  const size_t cols = strtoul(argv[3], NULL, 10);
  if (cols == 0 || cols % info->block_size) fail("not a multiple of the type's block size", argv[3]);
  size_t rows, n, m;
  float *w = read_floats(argv[4], cols, &rows), *h = read_floats(argv[5], cols, &n), *cross = a.cross ? read_floats(a.cross, cols, &m) : NULL;
  if (n != cols || (cross && m != cols)) fail("not [cols, cols]", argv[5]);
  nb_shrink_moments(h, cols, a.shrink);
  const size_t row_bytes = cols / info->block_size * info->block_bytes;
  uint8_t *out = take((uint64_t)rows * row_bytes);
  float *scales = take(cols * sizeof *scales);
  for (size_t j = 0; j < cols; j++) scales[j] = 1;
  nb_team *t = team_start(a.threads);
  const double start = seconds();
  if (scaled) scale(&a, t, type, w, rows, h, cols, scales);
  else printf("{");
  if (!strcmp(method, "hqq")) {
    const nb_hqq_options options = nb_hqq_defaults();
    for (size_t r = 0; r < rows; r++) nb_hqq_row(type, &options, w + r * cols, cols, out + r * row_bytes);
  } else {
    int way = 0;
    while (way < 4 && strcmp(method, WAYS[way])) way++;
    if (way == 4) fail("not a method", method);
    a.options.order = (nb_gptq_order)way;
    nb_gptq_matrix matrix = {.type = type, .rows = rows, .w = w, .out = out};
    nb_error err = {0};
    void *scratch = take(nb_gptq_scratch_bytes(&a.options, cols, &matrix, 1, a.threads));
    if (nb_gptq(t, &a.options, cols, h, cross, &matrix, 1, scratch, &err)) fail(err.message, "gptq");
    const nb_gptq_report *r = &matrix.report;
    printf("\"energy\": %.9g, \"searched\": %.9g, \"error\": %.9g, \"damping\": %g, \"dead\": %zu, \"rows\": [%zu, %zu, %zu], ", r->energy, r->searched,
           r->error, (double)r->damping, r->dead, r->rows_search, r->rows_static, r->rows_groups);
    free(scratch);
  }
  printf("\"seconds\": %.4f, \"under\": [", seconds() - start);
  for (int i = 0; i < a.n_under; i++) printf("%s%.6g", i ? ", " : "", error_under(a.under[i], t, type, w, out, rows, cols, scales));
  printf("], \"hash\": \"%016llx\"}\n", (unsigned long long)nb_hash(out, rows * row_bytes, 0));
  team_end(t);
  free(scales);
  free(out);
  free(cross);
  free(h);
  free(w);
  return 0;
}
