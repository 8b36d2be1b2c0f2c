// A tokenizer from a vocabulary file, and the cases that come with it.
#ifndef NB_TESTS_VOCAB_FILE_H
#define NB_TESTS_VOCAB_FILE_H

#include "../../src/text/tokenizer.h"
#include "check.h"

typedef struct vocab_file {
  nb_gguf *gguf;
  nb_tokenizer *tokenizer;
} vocab_file;

CHECK_UNUSED static void vocab_close(vocab_file *v) {
  nb_tokenizer_free(v->tokenizer);
  nb_gguf_free(v->gguf);
  *v = (vocab_file){0};
}

// Fails the test and leaves *v empty where the bytes make no tokenizer.
CHECK_UNUSED static bool vocab_open(vocab_file *v, const char *name, const uint8_t *bytes, size_t n) {
  *v = (vocab_file){.gguf = nb_gguf_new()};
  nb_error err = {0};
  size_t used;
  nb_status s = nb_gguf_feed(v->gguf, bytes, n, &used, &err);
  if (!s && !nb_gguf_complete(v->gguf)) s = nb_fail(&err, NB_E_TRUNCATED, "the header is not complete");
  if (!s) s = nb_tokenizer_new(v->gguf, &v->tokenizer, &err);
  check_count++;
  if (!s) return true;
  CHECK_FAIL("%s: %s", name, err.message);
  vocab_close(v);
  return false;
}

// The ids of a text, at most `capacity`, none where it fails.
CHECK_UNUSED static size_t vocab_encode(const vocab_file *v, nb_str text, unsigned flags, nb_token *ids, size_t capacity) {
  nb_error err = {0};
  size_t n = 0;
  if (nb_tokenizer_encode(v->tokenizer, text.data, text.len, flags, ids, capacity, &n, &err)) CHECK_FAIL("%s", err.message);
  return n < capacity ? n : capacity;
}

// The text of ids; the caller frees it.
CHECK_UNUSED static char *vocab_decode(const vocab_file *v, const nb_token *ids, size_t n, unsigned flags, size_t *length) {
  const size_t max = nb_decoder_max(v->tokenizer);
  char *text = malloc((n + 1) * max);
  nb_decoder d;
  nb_decoder_init(&d, v->tokenizer, flags);
  *length = 0;
  for (size_t i = 0; i < n; i++) *length += nb_decoder_push(&d, ids[i], text + *length, max);
  *length += nb_decoder_finish(&d, text + *length, max);
  return text;
}

CHECK_UNUSED static void vocab_print_text(nb_str s) {
  printf("  text \"");
  for (size_t i = 0; i < s.len && i < 200; i++) {
    const uint8_t c = (uint8_t)s.data[i];
    if (c < 32 || c == 127) printf("\\x%02x", c);
    else putchar(c);
  }
  printf("\"\n");
}

CHECK_UNUSED static void vocab_print_ids(const char *what, const nb_token *ids, size_t n) {
  printf("  %s", what);
  for (size_t i = 0; i < n && i < 60; i++) printf(" %d", (int)ids[i]);
  printf("\n");
}

// Compares the ids of a text with those expected; says where they part.
CHECK_UNUSED static void vocab_check(const vocab_file *v, const char *name, nb_str text, unsigned flags, const nb_token *expected, size_t n_expected) {
  const size_t capacity = 3 * text.len + 16;
  nb_token *ids = malloc(capacity * sizeof *ids);
  const size_t n = vocab_encode(v, text, flags, ids, capacity);
  check_count++;
  if (n != n_expected || memcmp(ids, expected, n * sizeof *ids)) {
    CHECK_FAIL("%s: other tokens than expected", name);
    if (check_failures <= 20) {
      vocab_print_text(text);
      vocab_print_ids("found   ", ids, n);
      vocab_print_ids("expected", expected, n_expected);
    }
  }
  free(ids);
}

// Encoding and decoding give the text again.
CHECK_UNUSED static void vocab_check_back(const vocab_file *v, const char *name, nb_str text) {
  const size_t capacity = 3 * text.len + 16;
  nb_token *ids = malloc(capacity * sizeof *ids);
  size_t length;
  char *back = vocab_decode(v, ids, vocab_encode(v, text, 0, ids, capacity), 0, &length);
  check_count++;
  if (length != text.len || memcmp(back, text.data, length)) {
    CHECK_FAIL("%s: the text does not come back", name);
    if (check_failures <= 20) {
      vocab_print_text(text);
      vocab_print_text((nb_str){back, length});
    }
  }
  free(back);
  free(ids);
}

#endif
