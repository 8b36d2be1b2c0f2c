// The loader: the same model however its bytes come, parts of split models in their order and no other, every hyper-parameter within its
// range, shapes that agree with them, and odd shapes that are safe to run.
#define _GNU_SOURCE  // memmem
#include <math.h>

#include "../../src/base/sha256.h"
#include "check.h"
#include "exercise.h"
#include "tiny_models.h"

// ---- changing a file ------------------------------------------------------------------------------------------------------------

// Where the value of a key stands.
static uint8_t *value_of(const gguf_writer *w, const char *key) {
  uint8_t *p = memmem(w->bytes, w->n_header, key, strlen(key));
  if (!p) {
    printf("there is no key %s\n", key);
    exit(1);
  }
  return p + strlen(key) + 4;
}

static void set_u32(gguf_writer *w, const char *key, uint32_t v) { memcpy(value_of(w, key), &v, 4); }
static void set_f32(gguf_writer *w, const char *key, float v) { memcpy(value_of(w, key), &v, 4); }
static void rename_key(gguf_writer *w, const char *key) { value_of(w, key)[-5] = '_'; }  // its last letter

static uint8_t *data_of(const gguf_writer *w, const char *name) {
  for (size_t i = 0; i < w->n_tensors; i++)
    if (!strcmp(w->tensors[i].name, name)) return w->bytes + w->n_header + w->tensors[i].offset;
  exit(1);
}

// The load must end so; words are looked for in its message.
static void ends_at(int line, gguf_writer *w, nb_status status, const char *words) {
  nb_error err = {0};
  nb_model *m;
  const nb_status s = exercise_load(w->bytes, w->n, 0, 0, &m, &err);
  check_count++;
  if (s != status || !strstr(err.message, words)) CHECK_FAIL("from line %d: status %d, \"%s\"; expected %d, \"%s\"", line, s, err.message, status, words);
  nb_model_free(m);
  gw_free(w);
}
#define ENDS(w, status, words) ends_at(__LINE__, w, status, words)

// ---- bytes in pieces --------------------------------------------------------------------------------------------------------------

static bool same_weights(const nb_model *a, const nb_model *b) {
  if (a->n_tensors != b->n_tensors) return false;
  for (size_t i = 0; i < a->n_tensors; i++) {
    if (a->tensors[i].info->bytes != b->tensors[i].info->bytes || a->tensors[i].layout != b->tensors[i].layout) return false;
    if (memcmp(a->tensors[i].data, b->tensors[i].data, (size_t)a->tensors[i].info->bytes)) return false;
  }
  return true;
}

static void pieces(void) {
  for (int kind = 0; kind < 2; kind++) {
    gguf_writer w;
    if (kind) tiny_qwen2(&w);  // packed in groups of rows
    else tiny_llama(&w);
    nb_error err;
    nb_model *whole, *m;
    CHECK(exercise_load(w.bytes, w.n, 0, 0, &whole, &err) == NB_OK);
    for (size_t piece = 1; piece < 300; piece++) {
      CHECK(exercise_load(w.bytes, w.n, piece, 0, &m, &err) == NB_OK);
      CHECK(m && same_weights(whole, m));
      nb_model_free(m);
    }
    nb_model_free(whole);
    gw_free(&w);
  }
}

// Matrices are rearranged on the way in, unless one of their halves is too large for that, wherever it is.
static void large_halves(nb_type type, uint32_t d_model, uint32_t d_ff, size_t step) {
  const tiny_shape shape = {"qwen3", 1, d_model, d_ff, 4, 2, 8, 24, type, 0};
  const char *const name = "blk.0.ffn_up.weight";
  const size_t bytes = (size_t)d_model * d_ff / nb_type_get(type)->block_size * nb_type_get(type)->block_bytes;
  for (size_t at = 0; at < bytes; at += step) {
    for (int large = 0; large < 2; large++) {
      gguf_writer w;
      nb_error err = {0};
      gw_begin(&w, 3);
      tiny_config(&w, &shape);
      tiny_bpe(&w, "gpt-2");
      tiny_ends(&w, &shape);
      tiny_layer(&w, &shape, 0);
      gw_finish(&w);
      uint8_t *file = data_of(&w, name);
      memcpy(file + at, large ? "\x00\x58" : "\xff\x57", 2);  // 128, and what is below it
      nb_model *m = NULL;
      CHECK(exercise_load(w.bytes, w.n, 7, 0, &m, &err) == NB_OK);
      if (m) {
        const nb_loaded_tensor *t = nb_find_loaded(m->tensors, m->n_tensors, NB_STR("blk.0.ffn_up.weight"));
        CHECK_EQ_INT(t->layout, large ? NB_LAYOUT_ROWS : nb_pack_layout(type, d_ff, d_model));
        CHECK(nb_pack_layout(type, d_ff, d_model) != NB_LAYOUT_ROWS);
        CHECK(m->weights.layers[0].up.layout == t->layout);
        CHECK((memcmp(t->data, file, bytes) == 0) == (large == 1));
      }
      nb_model_free(m);
      gw_free(&w);
    }
  }
}

static void header_only(void) {
  gguf_writer w;
  tiny_llama(&w);
  nb_error err;
  nb_model *m = NULL;
  CHECK(exercise_load(w.bytes, w.n_header, 0, NB_LOAD_HEADER_ONLY, &m, &err) == NB_OK);
  CHECK(m && m->arch == &nb_arch_llama && m->config.n_vocab == TINY_LLAMA.n_vocab && m->n_tensors == w.n_tensors);
  nb_session *s = NULL;
  CHECK_EQ_INT(nb_session_new(m, &(nb_session_options){0}, &s, &err), NB_E_ARGUMENT);  // nothing to run with
  CHECK(!s && strstr(err.message, "without its weights"));
  const uint64_t most = nb_session_bytes(m, &(nb_session_options){.n_ctx = NB_MAX_N_CTX, .n_batch = 512});
  CHECK(most > (uint64_t)NB_MAX_N_CTX * 8);
  CHECK_EQ_U64(nb_session_bytes(m, &(nb_session_options){.n_ctx = UINT32_MAX, .n_batch = UINT32_MAX}), most);
  nb_model_free(m);
  memcpy(value_of(&w, "general.architecture") + 8, "other", 5);  // can be looked at, not run
  CHECK(exercise_load(w.bytes, w.n_header, 0, NB_LOAD_HEADER_ONLY, &m, &err) == NB_OK);
  CHECK(m && !m->arch && m->n_tensors == w.n_tensors);
  nb_model_free(m);
  ENDS(&w, NB_E_UNSUPPORTED, "the architecture 'other' is not supported; this version runs llama, qwen2, qwen3");
}

// ---- split models -----------------------------------------------------------------------------------------------------------------

// Loads parts in the given order; checks the hash of each, or that none is written where none is asked for.
static nb_status load_parts_with(unsigned flags, const gguf_writer *const *parts, int n, nb_model **out, nb_error *err) {
  nb_loader *l = nb_loader_new(flags);
  nb_status s = NB_OK;
  bool more = true;
  for (int i = 0; i < n && !s; i++) {
    for (size_t at = 0; at < parts[i]->n && !s;) {
      size_t room;
      uint8_t *to = nb_loader_window(l, &room);
      const size_t part = parts[i]->n - at < room ? parts[i]->n - at : room;
      memcpy(to, parts[i]->bytes + at, part);
      s = nb_loader_commit(l, part, err);
      at += part;
    }
    uint8_t found[32] = {0}, expected[32] = {0};
    if (!s && (s = nb_loader_end_file(l, &more, found, err)) == NB_OK) {
      nb_sha256 sha;
      nb_sha256_init(&sha);
      nb_sha256_update(&sha, parts[i]->bytes, parts[i]->n);
      if (!(flags & NB_LOAD_NO_HASH)) nb_sha256_final(&sha, expected);
      CHECK(memcmp(found, expected, 32) == 0);
      CHECK_EQ_INT(more, i + 1 < TINY_PARTS);
    }
  }
  *out = s ? NULL : nb_loader_take(l, err);
  if (!s && !*out) s = err->status;
  nb_loader_free(l);
  return s;
}

static nb_status load_parts(const gguf_writer *const *parts, int n, nb_model **out, nb_error *err) { return load_parts_with(0, parts, n, out, err); }

static void split(void) {
  gguf_writer parts[TINY_PARTS], other;
  nb_error err;
  nb_model *m;
  tiny_qwen3_split(parts);
  const gguf_writer *right[] = {&parts[0], &parts[1], &parts[2]};
  CHECK(load_parts(right, 3, &m, &err) == NB_OK);
  CHECK(m && m->n_files == 3 && m->n_tensors == 25 && m->config.n_layers == 2);
  nb_model_free(m);
  CHECK(load_parts_with(NB_LOAD_NO_HASH, right, 3, &m, &err) == NB_OK);
  nb_model_free(m);
  CHECK_EQ_INT(load_parts(right, 2, &m, &err), NB_E_ARGUMENT);  // taken too early
  const gguf_writer *wrong[][3] = {{&parts[1], &parts[0], &parts[2]}, {&parts[0], &parts[2], &parts[1]}, {&parts[0], &parts[0], &parts[2]}};
  for (int i = 0; i < 3; i++) {
    CHECK_EQ_INT(load_parts(wrong[i], 3, &m, &err), NB_E_FORMAT);
    CHECK(strstr(err.message, "of a split model where part") != NULL);
  }
  static const struct { uint64_t no, count, total; int layer; const char *words; } OTHERS[] = {
      {2, 4, 25, 1, "this is part 3 of 4 of a split model where part 3 of 3 is expected"},
      {2, 3, 25, 0, "two parts of the model have a tensor blk.0."},
      {2, 3, 25, 2, "the model has no tensor blk.1."},
      {2, 3, 25, -1, "the parts hold 14 tensors where split.tensors.count says 25"}};
  for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) {
    gw_begin(&other, 3);
    tiny_split_keys(&other, OTHERS[i].no, OTHERS[i].count, OTHERS[i].total);
    if (OTHERS[i].layer >= 0) tiny_layer(&other, &TINY_QWEN3, (uint32_t)OTHERS[i].layer);
    gw_finish(&other);
    const gguf_writer *with[] = {&parts[0], &parts[1], &other};
    CHECK_EQ_INT(load_parts(with, 3, &m, &err), NB_E_FORMAT);
    if (!strstr(err.message, OTHERS[i].words)) CHECK_FAIL("\"%s\" where \"%s\" was expected", err.message, OTHERS[i].words);
    gw_free(&other);
  }
  for (int i = 0; i < TINY_PARTS; i++) gw_free(&parts[i]);
  gw_begin(&other, 3);
  tiny_config(&other, &TINY_QWEN3);
  tiny_split_keys(&other, 0, 513, 25);
  gw_finish(&other);
  ENDS(&other, NB_E_FORMAT, "split.count is 513, the limit is 512");
}

// ---- hyper-parameters -------------------------------------------------------------------------------------------------------------

static void integers(void) {
  static const struct { const char *key; uint32_t lo, hi; } RANGES[] = {
      {"block_count", 1, 1024}, {"embedding_length", 1, 1 << 16}, {"feed_forward_length", 1, 1 << 20}, {"attention.head_count", 1, 1024},
      {"attention.head_count_kv", 1, 1024}, {"attention.key_length", 2, 1024}, {"attention.value_length", 2, 1024}, {"context_length", 1, 1 << 30},
      {"rope.dimension_count", 2, 4}};
  for (size_t i = 0; i < sizeof RANGES / sizeof *RANGES; i++) {
    const uint32_t outside[] = {RANGES[i].lo - 1, RANGES[i].hi + 1, INT32_MAX, 1u << 31, UINT32_MAX};
    for (int k = 0; k < 5; k++) {
      gguf_writer w;
      char words[96];
      tiny_llama(&w);
      set_u32(&w, tiny_key(&TINY_LLAMA, RANGES[i].key), outside[k]);
      snprintf(words, sizeof words, "llama.%s is %u, outside %u..%u", RANGES[i].key, (unsigned)outside[k], (unsigned)RANGES[i].lo, (unsigned)RANGES[i].hi);
      ENDS(&w, NB_E_FORMAT, words);
    }
  }
  static const char *const REQUIRED[] = {"block_count", "embedding_length", "feed_forward_length", "attention.head_count", "context_length",
                                         "attention.layer_norm_rms_epsilon"};
  for (size_t i = 0; i < sizeof REQUIRED / sizeof *REQUIRED; i++) {
    gguf_writer w;
    char words[96];
    tiny_llama(&w);
    // head_count is the beginning of head_count_kv, too: the first in the file is meant
    rename_key(&w, tiny_key(&TINY_LLAMA, REQUIRED[i]));
    snprintf(words, sizeof words, "the model has no llama.%s in its metadata", REQUIRED[i]);
    ENDS(&w, NB_E_FORMAT, words);
  }
  gguf_writer w;
  tiny_llama(&w);
  set_u32(&w, "llama.attention.head_count_kv", 3);
  ENDS(&w, NB_E_FORMAT, "attention.head_count 2 is not a multiple of attention.head_count_kv 3");
  tiny_llama(&w);
  set_u32(&w, "llama.rope.dimension_count", 3);
  ENDS(&w, NB_E_FORMAT, "rope.dimension_count 3 is odd");
  tiny_llama(&w);
  set_u32(&w, "llama.attention.value_length", 8);
  ENDS(&w, NB_E_UNSUPPORTED, "attention.value_length 8 differs");
  tiny_llama(&w);
  set_u32(&w, "llama.attention.key_length", 8);
  set_u32(&w, "llama.attention.value_length", 8);
  ENDS(&w, NB_E_FORMAT, "where the metadata asks for");
  tiny_llama(&w);
  set_u32(&w, "llama.block_count", 2);
  ENDS(&w, NB_E_FORMAT, "the model has no tensor blk.1.attn_norm.weight");
  tiny_qwen2(&w);
  set_u32(&w, "qwen2.feed_forward_length", 64);
  ENDS(&w, NB_E_FORMAT, "tensor blk.0.ffn_gate.weight has shape [32, 32, 1, 1] where the metadata asks for [32, 64]");
}

static void floats(void) {
  static const struct { const char *key; float lo, hi; } RANGES[] = {{"llama.rope.freq_base", 1e-3f, 1e12f}, {"llama.attention.layer_norm_rms_epsilon", 1e-12f, 1e-1f}};
  for (size_t i = 0; i < 2; i++) {
    const float outside[] = {NAN, -NAN, INFINITY, -INFINITY, 0, -0.0f, -1, RANGES[i].lo / 2, RANGES[i].hi * 2};
    for (int k = 0; k < 9; k++) {
      gguf_writer w;
      tiny_llama(&w);
      set_f32(&w, RANGES[i].key, outside[k]);
      ENDS(&w, NB_E_FORMAT, RANGES[i].key);
    }
    for (int k = 0; k < 2; k++) {  // the ends of the range run
      gguf_writer w;
      nb_error err;
      tiny_llama(&w);
      set_f32(&w, RANGES[i].key, k ? RANGES[i].hi : RANGES[i].lo);
      CHECK(exercise(w.bytes, w.n, 0, NB_STR("ab abc"), 4, &err) == NB_OK);
      gw_free(&w);
    }
  }
  const float factors[] = {NAN, INFINITY, 0, -1, 1e-7f, 1e7f};
  for (int k = 0; k < 6; k++) {
    gguf_writer w;
    tiny_llama(&w);
    memcpy(data_of(&w, "rope_freqs.weight") + 4, &factors[k], 4);
    ENDS(&w, NB_E_FORMAT, "rope_freqs.weight: factor 1 is");
  }
}

// A model with one more piece of metadata, or tensor, written by `add`.
static void more(nb_status status, const char *words, void (*add)(gguf_writer *w)) {
  gguf_writer w;
  gw_begin(&w, 3);
  tiny_config(&w, &TINY_LLAMA);
  tiny_spm(&w);
  tiny_ends(&w, &TINY_LLAMA);
  tiny_layer(&w, &TINY_LLAMA, 0);
  add(&w);
  gw_finish(&w);
  ENDS(&w, status, words);
}

static void nothing(gguf_writer *w) { (void)w; }
static void experts(gguf_writer *w) { gw_kv_u32(w, "llama.expert_count", 8); }
static void yarn(gguf_writer *w) { gw_kv_str(w, "llama.rope.scaling.type", "yarn"); }
static void linear(gguf_writer *w) {
  gw_kv_str(w, "llama.rope.scaling.type", "linear");
  gw_kv_f32(w, "llama.rope.scaling.factor", 4);
}
static void linear_zero(gguf_writer *w) {
  gw_kv_str(w, "llama.rope.scaling.type", "linear");
  gw_kv_f32(w, "llama.rope.scaling.factor", 0);
}
static void not_a_number(gguf_writer *w) { gw_kv_f32(w, "llama.rope.scale_linear", NAN); }
static void bias(gguf_writer *w) { gw_vector(w, "blk.0.ffn_up.bias", 8); }
static void wrong_bias(gguf_writer *w) { gw_vector(w, "blk.0.attn_q.bias", 7); }

static void kinds_of_model(void) {
  more(NB_OK, "", nothing);
  more(NB_OK, "", linear);
  more(NB_E_UNSUPPORTED, "the model is a mixture of 8 experts", experts);
  more(NB_E_UNSUPPORTED, "llama.rope.scaling.type is 'yarn'; this version runs none and linear", yarn);
  more(NB_E_FORMAT, "llama.rope.scaling.factor is 0", linear_zero);
  more(NB_E_FORMAT, "llama.rope.scale_linear is nan", not_a_number);
  more(NB_E_UNSUPPORTED, "tensor blk.0.ffn_up.bias is not part of the architecture 'llama'", bias);
  more(NB_E_FORMAT, "tensor blk.0.attn_q.bias has shape [7, 1, 1, 1]", wrong_bias);
}

// As many rows and columns as asked for, but more than one of them.
static void stacked_matrix(void) {
  for (uint32_t d = 2; d < 4; d++) {
    gguf_writer w;
    gw_begin(&w, 3);
    tiny_config(&w, &TINY_LLAMA);
    tiny_spm(&w);
    tiny_ends(&w, &TINY_LLAMA);
    tiny_layer(&w, &TINY_LLAMA, 0);
    gw_tensor_plan *last = &w.tensors[w.n_tensors - 1];
    last->n_dims = d + 1;
    last->dims[2] = last->dims[3] = 1;
    last->dims[d] = 2;
    last->bytes *= 2;
    gw_finish(&w);
    ENDS(&w, NB_E_FORMAT, d == 2 ? "tensor blk.0.ffn_down.weight has shape [8, 8, 2, 1]" : "tensor blk.0.ffn_down.weight has shape [8, 8, 1, 2]");
  }
}

// ---- shapes -----------------------------------------------------------------------------------------------------------------------

// Sizes that fill no register: nothing may be read or written past the ends.
static void odd_shapes(void) {
  static const tiny_shape SHAPES[] = {
      {"llama", 1, 1, 1, 1, 1, 2, 28, NB_TYPE_F32, 1},    {"llama", 2, 5, 3, 1, 1, 3, 28, NB_TYPE_F32, 0},   {"qwen3", 1, 7, 9, 6, 2, 5, 24, NB_TYPE_F16, 0},
      {"qwen2", 1, 33, 31, 3, 1, 7, 24, NB_TYPE_BF16, 1}, {"qwen3", 1, 2, 17, 4, 4, 80, 24, NB_TYPE_F32, 1},  {"llama", 1, 96, 32, 3, 3, 32, 29, NB_TYPE_Q8_0, 0},
      {"llama", 1, 64, 96, 5, 1, 64, 25, NB_TYPE_Q4_0, 0}, {"qwen2", 1, 32, 64, 7, 7, 32, 24, NB_TYPE_Q5_1, 1}, {"qwen3", 1, 256, 256, 1, 1, 256, 24, NB_TYPE_Q4_K, 0},
      {"llama", 1, 256, 512, 2, 1, 128, 31, NB_TYPE_Q6_K, 1}, {"llama", 1, 32, 32, 1, 1, 32, 24, NB_TYPE_IQ4_NL, 0}, {"llama", 1, 1, 1, 1, 1, 1024, 1, NB_TYPE_F32, 0}};
  for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++)
    for (uint64_t seed = 4; seed < 6; seed++) {
      const tiny_shape *s = &SHAPES[i];
      gguf_writer w;
      nb_error err = {0};
      gw_begin(&w, 3);
      tiny_config(&w, s);
      if (s->head_dim % 2) gw_kv_u32(&w, tiny_key(s, "rope.dimension_count"), s->head_dim - 1);
      if (s->arch[0] == 'l') tiny_spm(&w);
      else tiny_bpe(&w, "gpt-2");
      tiny_ends(&w, s);
      for (uint32_t k = 0; k < s->n_layers; k++) tiny_layer(&w, s, k);
      gw_finish(&w);
      const nb_status st = exercise(w.bytes, w.n, 0, NB_STR("ab abc"), seed, &err);
      check_count++;
      // random bits as scales may make weights that are no numbers: then there is nothing to sample from
      if (st && !strstr(err.message, "the model's output holds no number")) CHECK_FAIL("shape %zu: %s", i, err.message);
      gw_free(&w);
    }
}

// Names in messages are quoted without what would act on a terminal, and cut between characters.
static void messages(void) {
  nb_error err;
  nb_fail(&err, NB_E_FORMAT, "the key %s occurs twice", "a\x1b[2J\nb\x7f" "\xc2\x9b" "c\xc3\xa9");
  CHECK_STR(err.message, "the key a?[2J?b??\?c\xc3\xa9 occurs twice");
  for (size_t n = 300; n < 330; n++) {
    char text[400];
    memset(text, 'x', n);
    strcpy(text + n, "\xf0\x9f\x98\x80\xe4\xb8\xad\xc3\xa9 and more that does not fit");
    nb_fail(&err, NB_E_FORMAT, "%s", text);
    for (size_t i = 0, k; err.message[i]; i += k) {
      k = nb_utf8_length(err.message + i, strlen(err.message + i));
      CHECK(k > 0);
      if (k == 0) break;
    }
    CHECK(strlen(err.message) >= 300);
  }
}

int main(void) {
  pieces();
  large_halves(NB_TYPE_F16, 8, 12, 10);
  large_halves(NB_TYPE_Q4_0, 64, 96, 11 * 18);
  header_only();
  split();
  integers();
  floats();
  kinds_of_model();
  stacked_matrix();
  odd_shapes();
  messages();
  return check_result();
}
