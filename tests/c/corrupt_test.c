// Damaged files. Every truncation, every byte of the header set to five other values, every integer of the header to twelve boundary values:
// each load ends in a status with a message or in a model with which tokenizing and generating are safe. AddressSanitizer watches the
// native run; in WebAssembly the same files run through the 32-bit arithmetic.
#include "check.h"
#include "exercise.h"
#include "tiny_models.h"

// A length that a damaged header claims may be more than there is memory: malloc says so, as it does without the sanitizer.
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1:max_allocation_size_mb=1024"; }

static int n_loaded, n_refused[NB_E_INTEGRITY + 1];

static nb_status try_file(const uint8_t *bytes, size_t n) {
  nb_error err = {0};
  // A copy of its own length, so that reads past it are seen.
  uint8_t *copy = malloc(n ? n : 1);
  memcpy(copy, bytes, n);
  const nb_status s = exercise(copy, n, 0, NB_STR(TINY_TEXT), n, &err);
  exercise_header(copy, n, 61, &err);
  free(copy);
  check_count++;
  if (s) n_refused[s]++;
  else n_loaded++;
  return s;
}

static void truncations(const gguf_writer *w) {
  nb_error err;
  nb_model *m;
  for (size_t n = 0; n < w->n; n++) {
    uint8_t *copy = malloc(n ? n : 1);
    memcpy(copy, w->bytes, n);
    const nb_status s = exercise_load(copy, n, 0, 0, &m, &err);
    if (s == NB_OK) nb_model_free(m);
    // The last tensor ends with the file: nothing is left out unnoticed.
    CHECK_EQ_INT(s, NB_E_TRUNCATED);
    const nb_status header = exercise_header(copy, n, 0, &err);
    CHECK_EQ_INT(header, n < w->n_header ? NB_E_TRUNCATED : NB_OK);
    free(copy);
  }
}

static void bytes(gguf_writer *w) {
  for (size_t at = 0; at < w->n_header; at++) {
    const uint8_t b = w->bytes[at], values[] = {0, 0xff, b ^ 1, b ^ 0x80, b ^ 0x20};
    for (int i = 0; i < 5; i++) {
      if (values[i] == b) continue;
      w->bytes[at] = values[i];
      try_file(w->bytes, w->n);
    }
    w->bytes[at] = b;
  }
}

static void integers(gguf_writer *w) {
  for (size_t f = 0; f < w->n_fields; f++) {
    const size_t at = w->fields[f].at, width = (size_t)w->fields[f].width;
    uint64_t v = 0;
    memcpy(&v, w->bytes + at, width);
    const uint64_t max = width == 8 ? UINT64_MAX : ((uint64_t)1 << 8 * width) - 1, half = max / 2;
    const uint64_t values[12] = {0, 1, 2, v - 1, v + 1, 2 * v, half, half + 1, max - 1, max, half >> (4 * width), 1u << (width == 1 ? 4 : 20) % (8 * width)};
    for (int i = 0; i < 12; i++) {
      memcpy(w->bytes + at, &values[i], width);
      try_file(w->bytes, w->n);
    }
    memcpy(w->bytes + at, &v, width);
  }
}

// Weights that are infinite or no numbers at all may compute to nothing, but not to a fault.
static void weights(gguf_writer *w) {
  static const uint8_t PATTERNS[][4] = {{0xff, 0xff, 0xff, 0xff}, {0, 0, 0x80, 0x7f}, {0, 0x7c, 0, 0x7c}, {0xff, 0xff, 0x7f, 0x7f}, {0, 0, 0, 0}, {1, 0, 0, 0x80}};
  uint8_t *copy = malloc(w->n);
  for (size_t p = 0; p < sizeof PATTERNS / sizeof *PATTERNS; p++)
    for (size_t i = 0; i <= w->n_tensors; i++) {  // one tensor, or all of them
      memcpy(copy, w->bytes, w->n);
      const size_t from = i < w->n_tensors ? w->n_header + (size_t)w->tensors[i].offset : w->n_header;
      const size_t to = i < w->n_tensors ? from + (size_t)w->tensors[i].bytes : w->n;
      for (size_t k = from; k < to; k++) copy[k] = PATTERNS[p][(k - from) % 4];
      try_file(copy, w->n);
    }
  free(copy);
}

static void every_damage(const char *name, gguf_writer *w) {
  CHECK_EQ_INT(try_file(w->bytes, w->n), NB_OK);
  memset(n_refused, 0, sizeof n_refused);
  n_loaded = 0;
  truncations(w);
  bytes(w);
  integers(w);
  weights(w);
  printf("%s: %zu bytes of header, %zu integers: %d damaged files loaded, %d broke the format, %d unsupported, %d cut short, %d out of memory, %d other\n", name,
         w->n_header, w->n_fields, n_loaded, n_refused[NB_E_FORMAT], n_refused[NB_E_UNSUPPORTED], n_refused[NB_E_TRUNCATED], n_refused[NB_E_NOMEM],
         n_refused[NB_E_CONTEXT] + n_refused[NB_E_ARGUMENT] + n_refused[NB_E_INTEGRITY]);
  // Each kind of end must have been met, or the damage does not reach what it should.
  CHECK(n_loaded > 100 && n_refused[NB_E_FORMAT] > 1000 && n_refused[NB_E_UNSUPPORTED] > 10 && n_refused[NB_E_TRUNCATED] > 10);
  gw_free(w);
}

int main(void) {
  gguf_writer w;
  tiny_llama(&w);
  every_damage("llama", &w);
  tiny_qwen2(&w);
  every_damage("qwen2", &w);
  return check_result();
}
