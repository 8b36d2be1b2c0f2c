// Writes the inputs that the fuzzers start from: `npm run fuzz -- corpus` runs it.
//   corpus FOLDER   with subfolders gguf, tokenizer, generate, state
#include <stdio.h>

#include "state_util.h"

static const char *folder;
static int failed;

static void put(const char *name, const void *bytes, size_t n) {
  char path[1024];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(bytes, 1, n, f) != n) failed = 1;
  if (f) fclose(f);
}

static void models(void) {
  gguf_writer w, parts[TINY_PARTS];
  tiny_llama(&w);
  put("gguf/llama", w.bytes, w.n);
  put("gguf/llama-cut", w.bytes, w.n - 100);
  put("gguf/llama-header-cut", w.bytes, w.n_header - 40);
  gw_free(&w);
  tiny_qwen2(&w);
  put("gguf/qwen2", w.bytes, w.n);
  gw_free(&w);
  tiny_qwen3_split(parts);
  put("gguf/qwen3-part-1", parts[0].bytes, parts[0].n);
  for (int i = 0; i < TINY_PARTS; i++) gw_free(&parts[i]);
  gw_begin(&w, 3);
  gw_kv_u32(&w, "general.alignment", 64);
  tiny_bpe(&w, "deepseek-llm");
  gw_finish(&w);
  put("gguf/vocabulary", w.bytes, w.n);
  gw_free(&w);
}

static void texts(void) {
  static const char *const TEXTS[] = {
      "ab aab abab  aaaa\n\n aab<<s>x", "It's they'RE we'Ll  I'd\r\n\r\n x", "12345 1 22\t333 \xd9\xa1\xd9\xa2\xd9\xa3 \xe2\x85\xa7", "caf\xc3\xa9 cafe\xcc\x81 \xe4\xb8\xad\xe6\x96\x87\xe3\x81\x8b\xed\x95\x9c",
      "!!$$++<=>^`|~~ ..//\\ {}", "   \n  \t x  \xc2\xa0\xe3\x80\x80 y   ", "\xf0\x9f\x98\x80\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9 \xe2\x9c\x85", "\xff\xc3\xe4\xb8\xf0\x9f\x98 \x80\xbf \xed\xa0\x80",
      "<|im_end|><s><u><s>x<|im_", "\xe2\x96\x81 \xe2\x96\x81\xe2\x96\x81" "ab \xc4\xa0", "HelloWorld XMLHttp ABCdef \xc3\x89\xc3\xa9\xc3\x89", "a", " ", "\n", "if (x) {\n    return 'y';\n}\n"};
  for (unsigned i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
    for (unsigned k = 0; k < 3; k++) {  // each with three of the vocabularies
      char name[32], input[256];
      const unsigned which = (i * 4 + k * 5) % 15;
      const int n = snprintf(input, sizeof input, "%c%s", (int)(which ? which : 15), TEXTS[i]);
      snprintf(name, sizeof name, "tokenizer/%u-%u", i, k);
      put(name, input, (size_t)n);
    }
}

static void generation(void) {
  static const struct { const char *name, *bytes; size_t n; } INPUTS[] = {
      {"generate/stops-overlap", "\1\2\2aab\1xaaaab aaxab", 19}, {"generate/stops-none", "\1\0\0plain text", 13}, {"generate/stops-user", "\1\1\4User:\7text\nUser: no", 20},
      {"generate/greedy", "\0\1\0\0\0\0\0\0\0\x80?\0\0\0@\0\0\xc0?", 18}, {"generate/all-options", "\0\177\0\0\x80?\5\0\0\0ff&?\xcd\xccL=333?\0\0\xa0?\0\0\0\0\0\0\0?@\0\0\0\0\0\x80?\0\0\0@\0\0@@", 44},
      {"generate/not-numbers", "\0\0\0\0\0\xc0\x7f\0\0\x80\x7f\0\0\x80\xff\0\0\xc0\xff\0\0\0\0", 22}};
  for (size_t i = 0; i < sizeof INPUTS / sizeof *INPUTS; i++) put(INPUTS[i].name, INPUTS[i].bytes, INPUTS[i].n);
}

static void states(void) {
  bench b;
  size_t n;
  bench_open(&b, tiny_llama, &(nb_session_options){.n_ctx = STATE_N_CTX});
  uint8_t *bytes = save(b.session, NB_STR("[]"), &n);
  put("state/empty", bytes, n);
  free(bytes);
  fill(b.session);
  bytes = save(b.session, NB_STR("[{\"role\":\"user\"}]"), &n);
  put("state/evaluated", bytes, n);
  put("state/cut", bytes, n - 9);
  put("state/header-cut", bytes, 30);
  memset(bytes + NB_STATE_HEADER + 4 * STATE_TOKENS, 0x7e, 16);  // keys that are no numbers
  seal(bytes, n);
  put("state/not-numbers", bytes, n);
  free(bytes);
  nb_session_push(b.session, STATE_IDS, STATE_TOKENS, NULL);
  bytes = save(b.session, NB_STR(""), &n);
  put("state/waiting", bytes, n);
  bytes[32]++;  // one more evaluated than there are rows of
  seal(bytes, n);
  put("state/rows-missing", bytes, n);
  free(bytes);
  bench_close(&b);
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: corpus FOLDER\n");
    return 2;
  }
  folder = argv[1];
  models();
  texts();
  generation();
  states();
  if (failed) fprintf(stderr, "the files cannot be written\n");
  return failed;
}
