// Any text through the pre-tokenizers, both kinds of tokenizer and the decoder, beside the plain way of doing the same: merge the best pair,
// look again, until none is left.
#define _GNU_SOURCE  // memmem
#include "../../src/text/pretokenize.h"
#include "../c/exercise.h"
#include "../c/tiny_models.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

// Names of all families of rules.
static const char *const PRES[] = {"gpt-2", "llama-bpe", "qwen2", "falcon", "default", "deepseek-coder", "deepseek-llm", "deepseek-v3", "gpt-4o", "tekken",
                                   "smollm", "minicpm5", "qwen35", "dbrx"};
enum { N_PRES = sizeof PRES / sizeof *PRES };

static struct vocabulary {
  nb_gguf *gguf;
  nb_tokenizer *tokenizer;
} spm, bpe[N_PRES];

static struct vocabulary make(gguf_writer *w) {
  struct vocabulary v = {nb_gguf_new(), NULL};
  nb_error err;
  size_t used;
  gw_finish(w);
  PROMISED(v.gguf && nb_gguf_feed(v.gguf, w->bytes, w->n, &used, &err) == NB_OK && nb_gguf_complete(v.gguf));
  PROMISED(nb_tokenizer_new(v.gguf, &v.tokenizer, &err) == NB_OK);
  gw_free(w);
  return v;
}

static const char *const MERGES[][2] = {{"a", "b"}, {"b", "a"}, {TINY_BPE_SPACE, "a"}, {"a", "a"}, {"ab", "a"}, {TINY_BPE_SPACE, TINY_BPE_SPACE}, {"aa", "aa"},
                                        {"\xc3\x83", "\xc2\xa9"}, {"1", "1"}, {"'", "s"}, {TINY_BPE_SPACE "a", "b"}, {"\xc4\x8a", "\xc4\x8a"}, {"!", "!"}};
enum { N_MERGES = sizeof MERGES / sizeof *MERGES };

// All bytes, some merges over them, and special tokens.
static void full_bpe(gguf_writer *w, const char *pre) {
  static const tiny_token SPECIALS[] = {{"<s>", 3}, {"<s>x", 3}, {"<u>", 4}, {"<|im_end|>", 3}, {"aab<", 4}, {"", 5}};
  enum { N_SPECIALS = sizeof SPECIALS / sizeof *SPECIALS, N = 256 + N_MERGES + N_SPECIALS };
  static char spelled[N][24];
  tiny_token tokens[N];
  size_t n = 0;
  for (int b = 0; b < 256; b++, n++) {
    spelled[n][nb_utf8_put(nb_byte_char((uint8_t)b), spelled[n])] = 0;
    tokens[n] = (tiny_token){spelled[n], 1};
  }
  for (int i = 0; i < N_MERGES; i++, n++) {
    snprintf(spelled[n], sizeof spelled[n], "%s%s", MERGES[i][0], MERGES[i][1]);
    tokens[n] = (tiny_token){spelled[n], 1};
  }
  for (int i = 0; i < N_SPECIALS; i++) tokens[n++] = SPECIALS[i];
  gw_begin(w, 3);
  gw_kv_str(w, "tokenizer.ggml.model", "gpt2");
  gw_kv_str(w, "tokenizer.ggml.pre", pre);
  tiny_tokens(w, tokens, n);
  gw_array(w, "tokenizer.ggml.merges", NB_GGUF_STRING, N_MERGES);
  for (int i = 0; i < N_MERGES; i++) {
    char merge[24];
    snprintf(merge, sizeof merge, "%s %s", MERGES[i][0], MERGES[i][1]);
    gw_str(w, merge);
  }
  gw_kv_u32(w, "tokenizer.ggml.eos_token_id", 256 + N_MERGES + 3);
  gw_kv_u32(w, "tokenizer.ggml.bos_token_id", 256 + N_MERGES);
  gw_kv_bool(w, "tokenizer.ggml.add_bos_token", 0);
}

static void start(void) {
  gguf_writer w;
  if (spm.gguf) return;
  gw_begin(&w, 3);
  tiny_spm(&w);
  spm = make(&w);
  for (int i = 0; i < N_PRES; i++) {
    full_bpe(&w, PRES[i]);
    bpe[i] = make(&w);
  }
}

static nb_token find(const nb_tokenizer *t, const char *text, size_t n) {
  for (uint32_t id = 0; n && id < nb_tokenizer_n_vocab(t); id++)
    if (nb_str_eq(nb_tokenizer_piece(t, (nb_token)id), (nb_str){text, n})) return (nb_token)id;
  return NB_TOKEN_NONE;
}

// ---- the plain way ------------------------------------------------------------------------------------------------------------

static bool spells(const char *p, size_t n, const char *text) { return strlen(text) == n && memcmp(p, text, n) == 0; }

// A piece of text as tokens: starts from bytes, joins the leftmost pair of the first merge that applies, and looks again.
static size_t plain_bpe(const nb_tokenizer *t, nb_str piece, nb_token *ids) {
  char spelling[64 * 2 + 1];
  size_t n = piece.len, from[65];
  from[0] = 0;
  for (size_t i = 0; i < n; i++) from[i + 1] = from[i] + nb_utf8_put(nb_byte_char((uint8_t)piece.data[i]), spelling + from[i]);
  for (int rank = 0; rank < N_MERGES; rank++) {
    for (size_t i = 0; i + 1 < n; i++) {
      if (!spells(spelling + from[i], from[i + 1] - from[i], MERGES[rank][0])) continue;
      if (!spells(spelling + from[i + 1], from[i + 2] - from[i + 1], MERGES[rank][1])) continue;
      memmove(from + i + 1, from + i + 2, (n - i - 1) * sizeof *from);
      n--;
      rank = -1;  // from the first merge again
      break;
    }
  }
  for (size_t i = 0; i < n; i++) ids[i] = find(t, spelling + from[i], from[i + 1] - from[i]);
  return n;
}

static void check_pieces(const char *name, nb_str text, const nb_tokenizer *t) {
  const nb_pre_info *pre = nb_pretokenizer_find(nb_str_of(name));
  PROMISED(pre != NULL);
  static nb_token found[4096], expected[4096];
  nb_pieces p;
  nb_str piece;
  size_t at = 0, n_expected = 0, n_found = 0;
  bool short_pieces = text.len <= 256 && !memmem(text.data, text.len, "<u>", 3) && !memmem(text.data, text.len, "aab<", 4);
  nb_pieces_start(&p, pre->pretokenizer, text.data, text.len);
  while (nb_pieces_next(&p, &piece)) {
    PROMISED(piece.len > 0 && piece.data == text.data + at && piece.len <= text.len - at);
    at += piece.len;
    if (piece.len > 64) short_pieces = false;
    if (short_pieces && pre->whole_words) {
      char spelling[64 * 2];
      size_t n = 0;
      for (size_t i = 0; i < piece.len; i++) n += nb_utf8_put(nb_byte_char((uint8_t)piece.data[i]), spelling + n);
      const nb_token whole = find(t, spelling, n);
      if (whole != NB_TOKEN_NONE && nb_tokenizer_kind(t, whole) == NB_TOKEN_NORMAL) {
        expected[n_expected++] = whole;
        continue;
      }
    }
    if (short_pieces) n_expected += plain_bpe(t, piece, expected + n_expected);
  }
  PROMISED(at == text.len);
  nb_error err;
  if (!short_pieces) return;
  PROMISED(nb_tokenizer_encode(t, text.data, text.len, 0, found, 4096, &n_found, &err) == NB_OK);
  PROMISED(n_found == n_expected && (n_found == 0 || memcmp(found, expected, n_found * sizeof *found) == 0));
}

// Decoding gives the text back: exactly where it is UTF-8, and else with U+FFFD for what is not.
static void check_back(const nb_tokenizer *t, nb_str text) {
  nb_error err;
  size_t n = 0, length;
  nb_token *ids = malloc((3 * text.len + 8) * sizeof *ids);
  PROMISED(ids && nb_tokenizer_encode(t, text.data, text.len, 0, ids, 3 * text.len + 8, &n, &err) == NB_OK);
  char *back = exercise_decode(t, ids, n, 0, &length);
  bool valid = true;
  for (size_t i = 0, k; i < text.len && valid; i += k) valid = (k = nb_utf8_length(text.data + i, text.len - i)) > 0;
  if (valid) PROMISED(length == text.len && (length == 0 || memcmp(back, text.data, length) == 0));
  free(back);
  free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  nb_error err;
  start();
  if (n < 1) return 0;
  const nb_str text = {(const char *)data + 1, n - 1};
  const int which = data[0] % (N_PRES + 1);
  if (which == N_PRES) {
    exercise_text(spm.tokenizer, text, &err);
  } else {
    PROMISED(exercise_text(bpe[which].tokenizer, text, &err) == NB_OK);
    check_pieces(PRES[which], text, bpe[which].tokenizer);
    check_back(bpe[which].tokenizer, text);
  }
  return 0;
}
