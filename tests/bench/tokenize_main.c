// How long a megabyte of text takes to tokenize: of one letter, of spaces, of mixed text.
//   tokenize VOCABULARY.gguf [TEXT FILE]
#include <time.h>

#include "../c/vocab_file.h"

static double seconds(void) {
  struct timespec t;
  timespec_get(&t, TIME_UTC);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void measure(const vocab_file *v, const char *what, nb_str text) {
  nb_token *ids = malloc((3 * text.len + 16) * sizeof *ids);
  double best = 1e9;
  size_t n = 0;
  for (int i = 0; i < 5; i++) {
    const double start = seconds();
    n = vocab_encode(v, text, 0, ids, 3 * text.len + 16);
    const double t = seconds() - start;
    if (t < best) best = t;
  }
  size_t length;
  const double start = seconds();
  free(vocab_decode(v, ids, n, 0, &length));
  printf("%-12s %9zu bytes %9zu tokens   encode %7.1f ms   decode %7.1f ms\n", what, text.len, n, best * 1e3, (seconds() - start) * 1e3);
  free(ids);
}

int main(int argc, char **argv) {
  static const struct { const char *name, *pattern; } PATTERNS[] = {
      {"letter a", "a"}, {"spaces", " "}, {"line breaks", "\n"}, {"digits", "1"}, {"marks", "!"}, {"ideographs", "\xe4\xb8\xad"},
      {"emoji", "\xf0\x9f\x98\x80"}, {"no UTF-8", "\xff"}, {"mixed", "The quick brown fox's 3 cafe\xcc\x81s, 12345!\n\n  \tjumps over it. "}};
  size_t n;
  vocab_file v;
  uint8_t *bytes = argc > 1 ? check_read_file("", argv[1], &n) : NULL;
  if (!bytes) {
    fprintf(stderr, "usage: tokenize VOCABULARY.gguf [TEXT FILE]  (absolute paths)\n");
    return 2;
  }
  if (!vocab_open(&v, argv[1], bytes, n)) return 1;
  char *text = malloc(1 << 20);
  for (size_t p = 0; p < sizeof PATTERNS / sizeof *PATTERNS; p++) {
    const size_t length = strlen(PATTERNS[p].pattern);
    for (size_t i = 0; i < 1 << 20; i++) text[i] = PATTERNS[p].pattern[i % length];
    measure(&v, PATTERNS[p].name, (nb_str){text, (1 << 20) / length * length});
  }
  free(text);
  if (argc > 2) {
    uint8_t *file = check_read_file("", argv[2], &n);
    if (file) measure(&v, "the file", (nb_str){(char *)file, n});
    free(file);
  }
  vocab_close(&v);
  free(bytes);
  return 0;
}
