// Real vocabularies: every case that comes with them gives the ids expected, and decodes back. Needs ../shared/data/vocab (see its README);
// skipped without it.
#include "vocab_file.h"

#define SEPARATOR "\n__ggml_vocab_test__\n"
#define MAX_IDS 4096

static const char *const VOCABS[] = {"llama-spm", "phi-3", "gpt-2", "llama-bpe", "qwen2", "falcon", "deepseek-coder", "deepseek-llm"};

static char folder[900];

// Every text decodes back, but for one thing: SentencePiece vocabularies write spaces as U+2581, and so cannot tell one from the other.
static bool comes_back(nb_str text) {
  for (size_t i = 0; i + 3 <= text.len; i++)
    if (memcmp(text.data + i, "\xe2\x96\x81", 3) == 0) return false;
  return true;
}

static void cases(const vocab_file *v, const char *name, char *texts, char *answers) {
  static nb_token expected[MAX_IDS];
  int n_cases = 0;
  for (char *line = answers; *line;) {
    char *end = strstr(texts, SEPARATOR);
    CHECK(end != NULL);
    if (!end) return;
    const nb_str text = {texts, (size_t)(end - texts)};
    texts = end + strlen(SEPARATOR);
    size_t n = 0;
    char *next = strchr(line, '\n');
    if (next) *next = 0;
    for (char *rest = line;; line = rest) {
      const long id = strtol(line, &rest, 10);
      if (rest == line) break;
      expected[n++] = (nb_token)id;
    }
    line = next ? next + 1 : line + strlen(line);
    vocab_check(v, name, text, 0, expected, n);
    if (comes_back(text)) vocab_check_back(v, name, text);
    n_cases++;
  }
  CHECK(n_cases >= 40);
  printf("%s: %d cases\n", name, n_cases);
}

// A text of n bytes made of a pattern. Work that grew with the square of the length would take hours here.
static void long_texts(const vocab_file *v, const char *name) {
  static const char *const PATTERNS[] = {"a", " ", "\n", "1", "!", "\xe4\xb8\xad", "\xff", "The quick brown fox's 3 cafe\xcc\x81s, 12345!\n\n  \t<"};
  const size_t n = 1 << 19;
  char *text = malloc(n);
  nb_token *ids = malloc(3 * (n + 16) * sizeof *ids);
  for (size_t p = 0; p < sizeof PATTERNS / sizeof *PATTERNS; p++) {
    const size_t length = strlen(PATTERNS[p]);
    for (size_t i = 0; i < n; i++) text[i] = PATTERNS[p][i % length];
    const size_t n_ids = vocab_encode(v, (nb_str){text, n / length * length}, NB_ENCODE_PARSE, ids, 3 * (n + 16));
    if (n_ids == 0) CHECK_FAIL("%s: nothing for the pattern %zu", name, p);
    check_count++;
  }
  free(text);
  free(ids);
}

static void vocabulary(const char *name) {
  char file[64], with[80];
  size_t n, n_texts, n_answers;
  snprintf(file, sizeof file, "ggml-vocab-%s.gguf", name);
  uint8_t *bytes = check_read_file(folder, file, &n);
  snprintf(with, sizeof with, "%s.inp", file);
  char *texts = (char *)check_read_file(folder, with, &n_texts);
  snprintf(with, sizeof with, "%s.out", file);
  char *answers = (char *)check_read_file(folder, with, &n_answers);
  CHECK(bytes && texts && answers);
  vocab_file v;
  if (bytes && texts && answers && vocab_open(&v, name, bytes, n)) {
    cases(&v, name, texts, answers);
    long_texts(&v, name);
    vocab_close(&v);
  }
  free(bytes);
  free(texts);
  free(answers);
}

int main(void) {
  size_t n;
  snprintf(folder, sizeof folder, "%s/data/vocab", check_shared_dir());
  uint8_t *probe = check_read_file(folder, "ggml-vocab-gpt-2.gguf.out", &n);
  if (!probe) {
    printf("skipped: there is no %s\n", folder);
    return 77;
  }
  free(probe);
  for (size_t i = 0; i < sizeof VOCABS / sizeof *VOCABS; i++) vocabulary(VOCABS[i]);
  return check_result();
}
