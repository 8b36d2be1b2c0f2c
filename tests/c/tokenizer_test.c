// The tokenizers against tests/vectors/tokenizer.txt, which make_tokenizer.py computes the plain way: each family of pre-tokenizers, byte
// fallback, unknown text, special tokens only where asked for, invalid UTF-8; decoding in whole characters, token by token.
#include "gguf_writer.h"
#include "vocab_file.h"

enum { MAX_TOKENS = 2048, MAX_IDS = 2048, MAX_BYTES = 4096 };

typedef struct token {
  char *text;
  size_t n;
  uint32_t kind;
  float score;
} token;

static token tokens[MAX_TOKENS];
static char *merges[MAX_TOKENS];
static size_t n_tokens, n_merges;

// The tokenizers of the variant at hand: by pre-tokenizer, or one of "-".
static struct {
  char name[32];
  vocab_file file;
} open[32];
static size_t n_open;
static bool bpe;
static int prefix, with_bytes;

static size_t from_hex(const char *hex, char *out) {
  size_t n = 0;
  for (unsigned b; sscanf(hex, "%2x", &b) == 1 && hex[0] > ' '; hex += 2) out[n++] = (char)b;
  return n;
}

static void close_all(void) {
  for (size_t i = 0; i < n_open; i++) vocab_close(&open[i].file);
  n_open = 0;
}

static bool in_variant(const token *t) { return with_bytes || t->kind != NB_TOKEN_BYTE; }

static const vocab_file *tokenizer(const char *name, size_t length) {
  for (size_t i = 0; i < n_open; i++)
    if (strlen(open[i].name) == length && memcmp(open[i].name, name, length) == 0) return &open[i].file;
  gguf_writer w;
  size_t n = 0;
  for (size_t i = 0; i < n_tokens; i++) n += in_variant(&tokens[i]);
  gw_begin(&w, 3);
  gw_array(&w, "tokenizer.ggml.tokens", NB_GGUF_STRING, n);
  for (size_t i = 0; i < n_tokens; i++)
    if (in_variant(&tokens[i])) gw_str_n(&w, tokens[i].text, tokens[i].n);
  gw_array(&w, "tokenizer.ggml.token_type", NB_GGUF_I32, n);
  for (size_t i = 0; i < n_tokens; i++)
    if (in_variant(&tokens[i])) gw_u32(&w, tokens[i].kind);
  snprintf(open[n_open].name, sizeof open[n_open].name, "%.*s", (int)length, name);
  if (bpe) {
    gw_kv_str(&w, "tokenizer.ggml.model", "gpt2");
    gw_kv_str(&w, "tokenizer.ggml.pre", open[n_open].name);
    gw_array(&w, "tokenizer.ggml.merges", NB_GGUF_STRING, n_merges);
    for (size_t i = 0; i < n_merges; i++) gw_str(&w, merges[i]);
    gw_kv_bool(&w, "tokenizer.ggml.add_bos_token", 0);
  } else {
    gw_kv_str(&w, "tokenizer.ggml.model", "llama");
    gw_array(&w, "tokenizer.ggml.scores", NB_GGUF_F32, n);
    for (size_t i = 0; i < n_tokens; i++)
      if (in_variant(&tokens[i])) gw_f32(&w, tokens[i].score);
    gw_kv_bool(&w, "tokenizer.ggml.add_space_prefix", prefix);
  }
  gw_finish(&w);
  const bool made = vocab_open(&open[n_open].file, open[n_open].name, w.bytes, w.n);
  gw_free(&w);
  if (!made) exit(check_result());
  return &open[n_open++].file;
}

static size_t read_ids(char *line, nb_token *ids) {
  size_t n = 0;
  for (char *rest = line;; line = rest) {
    const long id = strtol(line, &rest, 10);
    if (rest == line) return n;
    ids[n++] = (nb_token)id;
  }
}

// ids NAMES ID ...
static void check_ids(char *line, nb_str text, unsigned flags) {
  static nb_token expected[MAX_IDS];
  char *end = strchr(line, ' ');
  if (!end) end = line + strlen(line);
  const size_t n = read_ids(end, expected);
  for (const char *name = line; name < end;) {
    const size_t length = strcspn(name, ", ");
    const vocab_file *v = tokenizer(name, length);
    char label[64];
    snprintf(label, sizeof label, "%.*s, flags %u", (int)length, name, flags);
    vocab_check(v, label, text, flags, expected, n);
    // The count is right when there is no room, and what there is room for is written.
    nb_error err;
    size_t needed;
    nb_token some[3] = {-5, -5, -5};
    CHECK(nb_tokenizer_encode(v->tokenizer, text.data, text.len, flags, some, 2, &needed, &err) == NB_OK && needed == n);
    CHECK(some[2] == -5 && (n < 1 || some[0] == expected[0]) && (n < 2 || some[1] == expected[1]));
    name += length;
    if (*name == ',') name++;
    else break;
  }
}

// decoded FLAGS HEX ID ...
static void check_decoded(char *line) {
  static nb_token ids[MAX_IDS];
  static char expected[MAX_BYTES];
  const unsigned flags = (unsigned)strtoul(line, &line, 10);
  char *hex = line + 1, *rest = strchr(hex, ' ');
  if (!rest) rest = hex + strlen(hex);
  const size_t length = from_hex(hex, expected), n = read_ids(rest, ids);
  const vocab_file *v = bpe ? tokenizer("gpt-2", 5) : tokenizer("-", 1);
  size_t found;
  char *text = vocab_decode(v, ids, n, flags, &found);
  check_count++;
  if (found != length || memcmp(text, expected, length)) {
    CHECK_FAIL("decoded with flags %u", flags);
    if (check_failures <= 20) {
      vocab_print_ids("of ids  ", ids, n);
      vocab_print_text((nb_str){text, found});
      vocab_print_text((nb_str){expected, length});
    }
  }
  free(text);
}

static void forget_vocabulary(void) {
  for (size_t i = 0; i < n_tokens; i++) free(tokens[i].text);
  for (size_t i = 0; i < n_merges; i++) free(merges[i]);
  n_tokens = n_merges = 0;
}

static void add_token(char *line) {
  token *t = &tokens[n_tokens++];
  t->kind = (uint32_t)strtoul(line, &line, 10);
  t->text = malloc(strlen(line) + 1);
  t->n = from_hex(line + 1, t->text);
  char *score = strchr(line + 1, ' ');
  t->score = score ? (float)atof(score) : 0;
}

static void add_merge(char *line) {
  char *m = malloc(strlen(line) + 1);
  const size_t left = from_hex(line, m);
  m[left] = ' ';
  const size_t right = from_hex(strchr(line, ' ') + 1, m + left + 1);
  m[left + 1 + right] = 0;
  merges[n_merges++] = m;
}

int main(void) {
  static char text[MAX_BYTES];
  size_t n, n_text = 0, counts[3] = {0};
  unsigned flags = 0;
  char *lines = (char *)check_read_file(check_vectors_dir(), "tokenizer.txt", &n);
  CHECK(lines != NULL);
  if (!lines) return check_result();
  bool tested = false;  // the vocabulary is complete: another token line begins the next one
  for (char *line = lines, *next; *line; line = next) {
    next = strchr(line, '\n');
    if (next) *next++ = 0;
    else next = line + strlen(line);
    if (!strncmp(line, "token ", 6)) {
      if (tested) close_all(), forget_vocabulary();
      tested = false;
      add_token(line + 6);
    } else if (!strncmp(line, "merge ", 6)) {
      add_merge(line + 6);
    } else if (!strncmp(line, "variant ", 8)) {
      close_all();
      tested = true;
      bpe = !strcmp(line + 8, "bpe");
      prefix = with_bytes = 1;
      if (!bpe) CHECK(sscanf(line + 8, "spm %d %d", &prefix, &with_bytes) == 2);
      counts[0]++;
    } else if (!strncmp(line, "text ", 5)) {
      char *hex = line + 5;
      flags = (unsigned)strtoul(hex, &hex, 10);
      n_text = *hex ? from_hex(hex + 1, text) : 0;
      counts[1]++;
    } else if (!strncmp(line, "ids ", 4)) {
      check_ids(line + 4, (nb_str){text, n_text}, flags);
    } else if (!strncmp(line, "decoded ", 8)) {
      check_decoded(line + 8);
      counts[2]++;
    } else {
      CHECK(line[0] == '#');
    }
  }
  close_all();
  forget_vocabulary();
  free(lines);
  CHECK(counts[0] == 4 && counts[1] > 300 && counts[2] > 300);
  printf("%zu variants, %zu texts, %zu decoded\n", counts[0], counts[1], counts[2]);
  return check_result();
}
