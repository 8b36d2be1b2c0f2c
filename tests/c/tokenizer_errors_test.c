// Vocabularies that are wrong: each is refused with words that name the field. And those that are strange, but can be used: no text becomes a
// control token that was not asked for, and a million tokens are no trouble.
#include <math.h>

#include "check.h"
#include "exercise.h"
#include "tiny_models.h"

typedef struct vocabulary {  // what to write; the defaults are a vocabulary that works
  const char *model, *pre;
  const tiny_token *tokens;
  size_t n_tokens, n_types, n_scores, n_merges;
  uint32_t types_kind, scores_kind;
  const char *const *merges;
  float first_score;
  const char *id_key;  // one more id
  uint32_t id;
  int add_bos, add_eos;  // -1: not written
  int squeeze;           // remove_extra_whitespaces
  const char *name;      // general.name
} vocabulary;

#define COUNT(a) (sizeof(a) / sizeof *(a))

static vocabulary spm(void) {
  return (vocabulary){.model = "llama", .tokens = TINY_SPM, .n_tokens = COUNT(TINY_SPM), .n_types = COUNT(TINY_SPM), .n_scores = COUNT(TINY_SPM),
                      .types_kind = NB_GGUF_I32, .scores_kind = NB_GGUF_F32, .add_bos = -1, .add_eos = -1};
}

static vocabulary bpe(void) {
  return (vocabulary){.model = "gpt2", .pre = "gpt-2", .tokens = TINY_BPE, .n_tokens = COUNT(TINY_BPE), .n_types = COUNT(TINY_BPE), .merges = TINY_MERGES,
                      .n_merges = COUNT(TINY_MERGES), .types_kind = NB_GGUF_I32, .add_bos = -1, .add_eos = -1};
}

static void write_vocabulary(gguf_writer *w, const vocabulary *v) {
  gw_begin(w, 3);
  if (v->name) gw_kv_str(w, "general.name", v->name);
  if (v->model) gw_kv_str(w, "tokenizer.ggml.model", v->model);
  if (v->pre) gw_kv_str(w, "tokenizer.ggml.pre", v->pre);
  if (v->tokens) {
    gw_array(w, "tokenizer.ggml.tokens", NB_GGUF_STRING, v->n_tokens);
    for (size_t i = 0; i < v->n_tokens; i++) gw_str(w, v->tokens[i].text);
  }
  if (v->n_types) {
    gw_array(w, "tokenizer.ggml.token_type", v->types_kind, v->n_types);
    for (size_t i = 0; i < v->n_types; i++) gw_int(w, v->types_kind == NB_GGUF_U8 ? 1 : 4, v->tokens[i].kind);
  }
  if (v->n_scores) {
    gw_array(w, "tokenizer.ggml.scores", v->scores_kind, v->n_scores);
    for (size_t i = 0; i < v->n_scores; i++) gw_f32(w, i ? -(float)i : v->first_score);
  }
  if (v->merges) {
    gw_array(w, "tokenizer.ggml.merges", NB_GGUF_STRING, v->n_merges);
    for (size_t i = 0; i < v->n_merges; i++) gw_str(w, v->merges[i]);
  }
  if (v->id_key) gw_kv_u32(w, v->id_key, v->id);
  if (v->add_bos >= 0) gw_kv_bool(w, "tokenizer.ggml.add_bos_token", v->add_bos);
  if (v->add_eos >= 0) gw_kv_bool(w, "tokenizer.ggml.add_eos_token", v->add_eos);
  if (v->squeeze) gw_kv_bool(w, "tokenizer.ggml.remove_extra_whitespaces", 1);
  gw_finish(w);
}

typedef struct made {
  nb_gguf *gguf;
  nb_tokenizer *tokenizer;
  nb_status status;
  nb_error err;
} made;

static made make(const vocabulary *v) {
  gguf_writer w;
  made m = {.gguf = nb_gguf_new()};
  size_t used;
  write_vocabulary(&w, v);
  if (nb_gguf_feed(m.gguf, w.bytes, w.n, &used, &m.err) || !nb_gguf_complete(m.gguf)) CHECK_FAIL("the header: %s", m.err.message);
  else m.status = typed(nb_tokenizer_new(m.gguf, &m.tokenizer, &m.err), &m.err);
  gw_free(&w);
  return m;
}

static void drop(made *m) {
  nb_tokenizer_free(m->tokenizer);
  nb_gguf_free(m->gguf);
}

static void ends_at(int line, const vocabulary *v, nb_status status, const char *words) {
  made m = make(v);
  check_count++;
  if (m.status != status || !strstr(m.err.message, words)) CHECK_FAIL("from line %d: %d \"%s\"; expected %d \"%s\"", line, m.status, m.err.message, status, words);
  CHECK((m.tokenizer != NULL) == (m.status == NB_OK));
  if (m.tokenizer) exercise_pieces(m.tokenizer);
  drop(&m);
}
#define ENDS(v, status, words) ends_at(__LINE__, &(v), status, words)

// ---- refused ----------------------------------------------------------------------------------------------------------------------

static void arrays(void) {
  vocabulary v = spm();
  ENDS(v, NB_OK, "");
  v.model = NULL;
  ENDS(v, NB_E_FORMAT, "tokenizer.ggml.model is missing");
  v.model = "bert";
  ENDS(v, NB_E_UNSUPPORTED, "the tokenizer \"bert\"");
  v = spm(), v.tokens = NULL, v.n_types = v.n_scores = 0;
  ENDS(v, NB_E_FORMAT, "tokenizer.ggml.tokens is missing");
  v = spm(), v.n_tokens = v.n_types = v.n_scores = 0;
  ENDS(v, NB_E_FORMAT, "tokenizer.ggml.tokens is empty");
  v = spm(), v.n_types--;
  ENDS(v, NB_E_FORMAT, "tokenizer.ggml.token_type has 27 entries for 28 tokens");
  v = spm(), v.n_tokens--;
  ENDS(v, NB_E_FORMAT, "tokenizer.ggml.token_type has 28 entries for 27 tokens");
  v = spm(), v.n_types = 0;
  ENDS(v, NB_E_FORMAT, "tokenizer.ggml.token_type is missing");
  v = spm(), v.types_kind = NB_GGUF_U8;
  ENDS(v, NB_E_FORMAT, "tokenizer.ggml.token_type is not an array of the expected type");
  v = spm(), v.types_kind = NB_GGUF_F32;
  ENDS(v, NB_E_FORMAT, "tokenizer.ggml.token_type is not an array of the expected type");
  v = spm(), v.types_kind = NB_GGUF_U32;  // as some files have it
  ENDS(v, NB_OK, "");
  v = spm(), v.n_scores--;
  ENDS(v, NB_E_FORMAT, "tokenizer.ggml.scores has 27 entries for 28 tokens");
  v = spm(), v.n_scores = 0;
  ENDS(v, NB_E_FORMAT, "tokenizer.ggml.scores is missing");
  v = spm(), v.scores_kind = NB_GGUF_I32;
  ENDS(v, NB_E_FORMAT, "tokenizer.ggml.scores is not an array of the expected type");
  v = spm(), v.first_score = NAN;
  ENDS(v, NB_E_FORMAT, "the score of token 0 is not a number");
  v = spm(), v.first_score = -INFINITY;
  ENDS(v, NB_OK, "");
  v = spm(), v.squeeze = 1;
  ENDS(v, NB_E_UNSUPPORTED, "remove_extra_whitespaces");
}

static void tokens(void) {
  static tiny_token changed[COUNT(TINY_SPM)];
  char longest[2050], special[257];
  const struct { size_t at; tiny_token token; nb_status status; const char *words; } CASES[] = {
      {3, {"<0x-1>", 6}, NB_E_FORMAT, "token 3 is a byte token, but is not spelled <0x00> to <0xFF>"}, {3, {"<0xG0>", 6}, NB_E_FORMAT, "token 3"},
      {3, {"<0x100>", 6}, NB_E_FORMAT, "token 3"}, {3, {"<0x1>", 6}, NB_E_FORMAT, "token 3"}, {3, {"", 6}, NB_E_FORMAT, "token 3"}, {3, {"0x0A", 6}, NB_E_FORMAT, "token 3"},
      {3, {"<0xab>", 6}, NB_OK, ""}, {3, {"<0xFF>", 6}, NB_OK, ""}, {3, {"<0x-1>", 1}, NB_OK, ""},
      {8, {"b", 1}, NB_E_FORMAT, "tokens 8 and 9 are spelled alike"}, {8, {"", 1}, NB_OK, ""},  // without characters there may be many
      {8, {"a", 7}, NB_E_FORMAT, "token 8 has the type 7"}, {8, {"a", UINT32_MAX}, NB_E_FORMAT, "token 8 has the type 4294967295"}, {8, {"a", 0}, NB_OK, ""},
      {8, {longest, 1}, NB_E_FORMAT, "token 8 has 2049 bytes, the limit is 2048"}, {8, {longest + 1, 1}, NB_OK, ""},
      {8, {special, 3}, NB_E_FORMAT, "the special token 8 has 256 bytes, the limit is 255"}, {8, {special + 1, 3}, NB_OK, ""}};
  memset(longest, 'x', 2049), longest[2049] = 0;
  memset(special, 'y', 256), special[256] = 0;
  for (size_t i = 0; i < COUNT(CASES); i++) {
    vocabulary v = spm();
    memcpy(changed, TINY_SPM, sizeof changed);
    changed[CASES[i].at] = CASES[i].token;
    v.tokens = changed;
    ENDS(v, CASES[i].status, CASES[i].words);
  }
}

static void merges(void) {
  static const struct { const char *merge, *words; } CASES[] = {
      {"ab", "merge 0 is not two tokens with a space between"}, {"", "merge 0 is not two tokens"}, {" ", "merge 0 is not two tokens"}, {" a", "merge 0 is not two tokens"},
      {"a ", "the right part of merge 0"}, {"a zz", "the right part of merge 0"}, {"zz a", "the left part of merge 0"}, {"a a", "what merge 0 makes"},
      {"a b c", "the right part of merge 0"}};
  for (size_t i = 0; i < COUNT(CASES); i++) {
    vocabulary v = bpe();
    v.merges = &CASES[i].merge;
    v.n_merges = 1;
    ENDS(v, NB_E_FORMAT, CASES[i].words);
  }
  vocabulary v = bpe();
  ENDS(v, NB_OK, "");
  v.n_merges = 0;
  ENDS(v, NB_OK, "");
  v.merges = NULL;
  ENDS(v, NB_E_FORMAT, "tokenizer.ggml.merges is missing");
  v = bpe(), v.pre = NULL;
  ENDS(v, NB_E_UNSUPPORTED, "tokenizer.ggml.pre is missing");
  v.pre = "of another time";
  ENDS(v, NB_E_UNSUPPORTED, "tokenizer.ggml.pre = \"of another time\"");
  v = bpe(), v.n_types = 0;  // all of them plain
  ENDS(v, NB_OK, "");
}

static void roles(void) {
  static const char *const KEYS[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id",
                                     "tokenizer.ggml.unknown_token_id"};
  const uint32_t n = COUNT(TINY_BPE), outside[] = {n, n + 1, INT32_MAX, 1u << 31, UINT32_MAX};
  for (size_t k = 0; k < COUNT(KEYS); k++)
    for (size_t i = 0; i < COUNT(outside); i++) {
      vocabulary v = bpe();
      v.id_key = KEYS[k], v.id = outside[i];
      ENDS(v, NB_E_FORMAT, KEYS[k]);
      v.id = n - 1;
      ENDS(v, NB_OK, "");
    }
  vocabulary v = bpe();
  v.id_key = "tokenizer.ggml.padding_token_id", v.id = n;  // files have it just past the end
  made m = make(&v);
  CHECK(m.status == NB_OK && nb_tokenizer_pad(m.tokenizer) == NB_TOKEN_NONE);
  drop(&m);
  v = bpe(), v.add_bos = 1;
  ENDS(v, NB_E_FORMAT, "tokenizer.ggml.bos_token_id is missing");
  v = bpe(), v.add_eos = 1;
  ENDS(v, NB_E_FORMAT, "tokenizer.ggml.eos_token_id is missing");
  v.id_key = "tokenizer.ggml.eos_token_id", v.id = 23;
  m = make(&v);
  CHECK(m.status == NB_OK && nb_tokenizer_eos(m.tokenizer) == 23 && nb_tokenizer_add_eos(m.tokenizer) && nb_tokenizer_is_eog(m.tokenizer, 23));
  CHECK(!nb_tokenizer_is_eog(m.tokenizer, 22) && !nb_tokenizer_is_eog(m.tokenizer, -1) && !nb_tokenizer_is_eog(m.tokenizer, 24));
  drop(&m);
}

// ---- text stays text --------------------------------------------------------------------------------------------------------------

static size_t encode(const made *m, const char *text, unsigned flags, nb_token *ids, nb_status *status) {
  nb_error err = {0};
  size_t n = 0;
  *status = typed(nb_tokenizer_encode(m->tokenizer, text, strlen(text), flags, ids, 64, &n, &err), &err);
  return n;
}

static void no_control_from_text(void) {
  nb_token ids[64];
  nb_status s;
  // The file calls the end of a turn a plain token, and has a merge that makes it.
  static const tiny_token TOKENS[] = {{"<|", 1}, {"end", 1}, {"|>", 1}, {"<|end", 1}, {"<|end|>", 1}, {"<", 1}, {"|", 1}, {">", 1}, {"e", 1}, {"n", 1}, {"d", 1}, {"en", 1}};
  static const char *const MERGES[] = {"< |", "e n", "en d", "| >", "<| end", "<|end |>"};
  vocabulary v = bpe();
  v.tokens = TOKENS, v.n_tokens = COUNT(TOKENS), v.n_types = 0, v.merges = MERGES, v.n_merges = COUNT(MERGES);
  made m = make(&v);
  CHECK(m.status == NB_OK && nb_tokenizer_kind(m.tokenizer, 4) == NB_TOKEN_CONTROL && nb_tokenizer_is_eog(m.tokenizer, 4));
  size_t n = encode(&m, "<|end|>", 0, ids, &s);
  CHECK(s == NB_OK && n > 1);
  for (size_t i = 0; i < n; i++) CHECK(ids[i] != 4);
  CHECK(encode(&m, "<|end|>", NB_ENCODE_PARSE, ids, &s) == 1 && ids[0] == 4);
  drop(&m);
  // A merge makes a control token, or a word is one as a whole.
  static tiny_token control[COUNT(TOKENS)];
  memcpy(control, TOKENS, sizeof control);
  control[1].kind = NB_TOKEN_CONTROL;
  v.tokens = control, v.n_types = v.n_tokens;
  for (int i = 0; i < 2; i++) {
    v.pre = i ? "llama-bpe" : "gpt-2";
    v.add_bos = 0;
    m = make(&v);
    n = encode(&m, "end", 0, ids, &s);
    CHECK(m.status == NB_OK && s == NB_OK && n == 2 && ids[0] == 11 && ids[1] == 10);
    CHECK(encode(&m, "end", NB_ENCODE_PARSE, ids, &s) == 1 && ids[0] == 1);
    drop(&m);
  }
  // The file gives a control token for text that has no other: such text is refused.
  v = bpe(), v.id_key = "tokenizer.ggml.unknown_token_id", v.id = 22;
  m = make(&v);
  CHECK(m.status == NB_OK && encode(&m, "ab z", 0, ids, &s) == 0 && s == NB_E_UNSUPPORTED);
  CHECK(encode(&m, "ab", 0, ids, &s) == 1 && s == NB_OK);
  drop(&m);
  v.id = 20;  // <unk>
  m = make(&v);
  n = encode(&m, "abz", 0, ids, &s);
  CHECK(m.status == NB_OK && s == NB_OK && n == 2 && ids[1] == 20);
  CHECK(encode(&m, "<unk>", 0, ids, &s) > 1 && encode(&m, "<unk>", NB_ENCODE_PARSE, ids, &s) == 1);
  drop(&m);
}

// Phi-3's added tokens swallow the white space behind them, but only those.
static void phi3(void) {
  nb_token ids[64], plain[64];
  nb_status s;
  vocabulary v = spm();
  made usual = make(&v);
  v.name = "Phi-3 mini";
  made m = make(&v);
  CHECK(m.status == NB_OK);
  const size_t n = encode(&m, "<|im_end|> \n\tab<s> a", NB_ENCODE_PARSE, ids, &s), n_plain = encode(&usual, "<|im_end|>ab<s> a", NB_ENCODE_PARSE, plain, &s);
  CHECK(n == n_plain && memcmp(ids, plain, n * sizeof *ids) == 0);
  CHECK(encode(&usual, "<|im_end|> \n\tab<s> a", NB_ENCODE_PARSE, ids, &s) > n);
  drop(&m);
  drop(&usual);
}

static void a_million_tokens(void) {
  const size_t n = 1 << 20;
  gguf_writer w;
  gw_begin(&w, 3);
  gw_kv_str(&w, "tokenizer.ggml.model", "llama");
  gw_array(&w, "tokenizer.ggml.tokens", NB_GGUF_STRING, n);
  for (size_t i = 0; i < n; i++) {
    char text[16];
    const uint64_t length = (uint64_t)snprintf(text, sizeof text, "t%zx", i);
    gw_raw(&w, &length, 8);
    gw_raw(&w, text, (size_t)length);
  }
  gw_array(&w, "tokenizer.ggml.token_type", NB_GGUF_I32, n);
  for (size_t i = 0; i < n; i++) {
    const uint32_t kind = i % 3 ? NB_TOKEN_NORMAL : NB_TOKEN_USER_DEFINED;
    gw_raw(&w, &kind, 4);
  }
  gw_array(&w, "tokenizer.ggml.scores", NB_GGUF_F32, n);
  for (size_t i = 0; i < n; i++) gw_f32(&w, -(float)i);
  gw_kv_bool(&w, "tokenizer.ggml.add_bos_token", 0);
  gw_kv_u32(&w, "tokenizer.ggml.unknown_token_id", 0);
  gw_finish(&w);
  nb_gguf *g = nb_gguf_new();
  nb_tokenizer *t = NULL;
  nb_error err = {0};
  size_t used, needed = 0;
  CHECK(nb_gguf_feed(g, w.bytes, w.n, &used, &err) == NB_OK && nb_gguf_complete(g));
  CHECK(nb_tokenizer_new(g, &t, &err) == NB_OK);
  nb_token id = -1;
  CHECK(t && nb_tokenizer_encode(t, "tffffc", 6, 0, &id, 1, &needed, &err) == NB_OK && needed == 1 && id == 0xffffc);  // user-defined: found as a whole
  nb_tokenizer_free(t);
  nb_gguf_free(g);
  gw_free(&w);
}

int main(void) {
  arrays();
  tokens();
  merges();
  roles();
  no_control_from_text();
  phi3();
  a_million_tokens();
  return check_result();
}
