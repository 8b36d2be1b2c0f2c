// How fast the matrix products are: GMAC/s (10^9 weights times activations a second) and GB/s of weights, for every type and variant.
//
//   kernels [TYPE …] [--scalar] [--quick]           natively: SIMD goes through SIMDe, so these are not the figures that ship
//   node wasm/wasi.mjs build/wasm-simd128/kernels_main.wasm Q4_0 Q4_K
//
// Three cases: a matrix that stays in the cache times one vector, one that streams from memory times one vector (what a step of
// decoding is), and a cached one times 32 vectors (what reading a prompt is). The variants of a type take turns, and the median of
// their turns is shown, so that a machine that slows down slows all of them. --scalar adds the specification, --quick measures less.
#include <time.h>

#include "kernels_matmul_util.h"

enum { COLS = 2048, MAX_TURNS = 9, MAX_ALTERNATIVES = 8 };

typedef struct setting {
  const char *name;
  size_t bytes;  // of the matrix, about
  size_t n;      // vectors
} setting;

static double now(void) {
  struct timespec t;
  timespec_get(&t, TIME_UTC);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_size(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b; }

typedef struct options {
  int turns;
  double turn_seconds;
  bool scalar;
} options;

// Seconds of one product: as many of them as fill a turn, at least one.
static double one_turn(const variant *v, const nb_matrix *w, const nb_act *a, float *y, double seconds) {
  const double start = now();
  double elapsed = 0;
  int runs = 0;
  while (runs == 0 || elapsed < seconds) {
    v->fn(w, a, y, w->rows, 0, w->rows);
    runs++;
    elapsed = now() - start;
  }
  return elapsed / runs;
}

// Codes of 8 bits as one operand: on the machines that take it, for the types that have them.
static bool measurable(const variant *v) {
#ifdef NB_RELAXED
  const bool is_signed = v->fn == matmul_x8_relaxed_i32_signed, is_unsigned = v->fn == matmul_x8_relaxed_i32_unsigned;
  if (!is_signed && !is_unsigned) return true;
  return takes(is_signed ? NB_X8_SIGNED_BYTES : NB_X8_UNSIGNED_BYTES) && (v->type == NB_TYPE_Q8_0 || v->type == NB_TYPE_IQ4_NL || v->type == NB_TYPE_IQ4_XS);
#else
  (void)v;
  return true;
#endif
}

static size_t alternatives_of(nb_type type, bool scalar, variant *out) {
  size_t n = 0;
  if (type == NB_TYPE_F32 || type == NB_TYPE_F16 || type == NB_TYPE_BF16) {
    if (scalar) out[n++] = (variant){"scalar", type, NB_LAYOUT_ROWS, nb_matmul_any_f32_scalar};
#ifdef NB_SIMD128
    out[n++] = (variant){"simd128", type, NB_LAYOUT_ROWS, nb_matmul_any_f32_simd128};
    if (type == NB_TYPE_F16) out[n++] = (variant){"simd128", type, NB_LAYOUT_F16_BELOW_128, nb_matmul_any_f32_simd128};
#endif
    return n;
  }
  if (scalar) out[n++] = (variant){"scalar", type, NB_LAYOUT_ROWS, specification_of(type)};
  for (size_t v = 0; v < N_VARIANTS; v++) {
    if (VARIANTS[v].type == type && VARIANTS[v].fn != nb_matmul && measurable(&VARIANTS[v])) out[n++] = VARIANTS[v];
  }
  return n;
}

static void measure(nb_type type, const setting *s, const options *o, uint64_t *state) {
  const nb_type_info *info = nb_type_get(type);
  const size_t row_bytes = COLS / info->block_size * info->block_bytes, rows = (s->bytes / row_bytes + 7) / 8 * 8;
  test_matrix m = matrix_new(type, rows, COLS, state), packed = packed_copy(&m);
  float *x = malloc(s->n * COLS * sizeof *x), *y = malloc(s->n * rows * sizeof *y);
  if (!x || !y) abort();
  random_floats(x, s->n * COLS, state);
  test_act quantized = {.a = {.kind = NB_ACT_F32, .n = s->n, .cols = COLS, .x = x}};
  if (info->block_size > 1) {
    quantized = act_new(nb_act_kind_of(type), s->n, COLS);
    nb_quantize_act(&quantized.a, x);
  }
  variant alternatives[MAX_ALTERNATIVES];
  const size_t n = alternatives_of(type, o->scalar, alternatives);
  double seconds[MAX_ALTERNATIVES][MAX_TURNS];
  for (int turn = -1; turn < o->turns; turn++) {  // the first one warms up
    for (size_t i = 0; i < n; i++) {
      const double t = one_turn(&alternatives[i], alternatives[i].layout == NB_LAYOUT_ROWS ? &m.w : &packed.w, &quantized.a, y, o->turn_seconds);
      if (turn >= 0) seconds[i][turn] = t;
    }
  }
  static const char *const layouts[] = {[NB_LAYOUT_ROWS] = "rows", [NB_LAYOUT_X8] = "x8", [NB_LAYOUT_F16_BELOW_128] = "pairs"};
  for (size_t i = 0; i < n; i++) {
    qsort(seconds[i], (size_t)o->turns, sizeof(double), by_size);
    const double t = seconds[i][o->turns / 2];
    printf("%-7s %-5s %-8s %-9s %3zu vectors %8.2f GMAC/s %7.2f GB/s\n", info->name, layouts[alternatives[i].layout], alternatives[i].name, s->name,
           s->n, (double)(rows * COLS * s->n) / t * 1e-9, (double)(rows * row_bytes) / t * 1e-9);
  }
  fflush(stdout);
  if (info->block_size > 1) act_free(&quantized);
  free(x);
  free(y);
  free_both(&m, &packed);
}

int main(int argc, char **argv) {
  static const setting settings[] = {{"cached", 128 << 10, 1}, {"streaming", 96 << 20, 1}, {"cached", 128 << 10, 32}};
  options o = {MAX_TURNS, 0.02, false};
  bool some = false, wanted[NB_TYPE_LIMIT] = {false};
  for (int i = 1; i < argc; i++) {
    bool known = false;
    for (size_t t = 0; t < N_ALL_TYPES; t++) {
      if (strcmp(nb_type_get(ALL_TYPES[t])->name, argv[i]) == 0) wanted[ALL_TYPES[t]] = some = known = true;
    }
    if (strcmp(argv[i], "--scalar") == 0) o.scalar = known = true;
    if (strcmp(argv[i], "--quick") == 0) o.turns = 3, o.turn_seconds = 0.005, known = true;
    if (!known) {
      fprintf(stderr, "%s is neither a type that has kernels, as in Q4_0, nor --scalar or --quick\n", argv[i]);
      return 2;
    }
  }
  uint64_t state = 5;
  for (size_t t = 0; t < N_ALL_TYPES; t++) {
    for (size_t s = 0; s < sizeof settings / sizeof settings[0]; s++) {
      if (!some || wanted[ALL_TYPES[t]]) measure(ALL_TYPES[t], &settings[s], &o, &state);
    }
  }
  return 0;
}
