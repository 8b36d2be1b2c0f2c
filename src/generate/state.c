#include "state.h"

#include "../base/sha256.h"
#include "session_state.h"

static const char MAGIC[8] = {'N', 'B', 'L', 'S', 'T', 'A', 'T', 'E'};

typedef struct header {
  char magic[8];
  uint32_t version, type, n_layers, stride, n_ctx, n_tokens, n_evaluated, n_note;
  uint8_t fingerprint[32];
} header;

_Static_assert(sizeof(header) == NB_STATE_HEADER, "no padding: it is read and written as it is");

// ---- which model ------------------------------------------------------------------------------------------------------------

static void hash_floats(nb_sha256 *h, const float *x, size_t n) {
  if (x) nb_sha256_update(h, x, n * sizeof *x);
}

// The first row, as the format defines it: the same from every layout.
static void hash_matrix(nb_sha256 *h, nb_pass *p, const nb_matrix *w) {
  const nb_config *c = &p->model->config;
  if (!w->data) return;
  // Buffers that hold nothing between passes, as wide as the inputs of matrices are.
  float *row = w->cols == c->d_model ? p->branch : w->cols == c->d_ff ? p->gate : p->att;
  nb_dequantize_row(w, 0, row);
  hash_floats(h, row, w->cols);
}

static void fingerprint(nb_session *s, uint8_t out[32]) {
  const nb_model *m = s->model;
  const nb_config *c = &m->config;
  nb_sha256 h;
  nb_sha256_init(&h);
  nb_sha256_update(&h, m->arch->name, strlen(m->arch->name) + 1);
  _Static_assert(sizeof(nb_config) == 13 * 4, "no padding");
  nb_sha256_update(&h, c, sizeof *c);
  const uint8_t floats = s->pass.float_activations;
  nb_sha256_update(&h, &floats, 1);
  for (size_t i = 0; i < m->n_tensors; i++) {
    const nb_gguf_tensor *t = m->tensors[i].info;
    const uint32_t type = t->type;
    nb_sha256_update(&h, t->name.data, t->name.len);
    nb_sha256_update(&h, &type, sizeof type);
    nb_sha256_update(&h, t->dims, sizeof t->dims);
  }
  hash_matrix(&h, &s->pass, &m->weights.embedding);
  hash_matrix(&h, &s->pass, &m->weights.head);
  hash_floats(&h, m->weights.output_norm, c->d_model);
  hash_floats(&h, m->weights.rope_factors, c->n_rot / 2);
  for (uint32_t i = 0; i < c->n_layers; i++) {
    const nb_layer *l = &m->weights.layers[i];
    const nb_matrix *matrices[] = {&l->q, &l->k, &l->v, &l->attn_output, &l->gate, &l->up, &l->down};
    hash_floats(&h, l->attn_norm, c->d_model);
    hash_floats(&h, l->ffn_norm, c->d_model);
    for (size_t k = 0; k < sizeof matrices / sizeof *matrices; k++) hash_matrix(&h, &s->pass, matrices[k]);
  }
  nb_sha256_final(&h, out);
}

// ---- saving -----------------------------------------------------------------------------------------------------------------

static uint64_t row_bytes(const nb_session *s, uint32_t n) { return (uint64_t)n * s->cache.stride * sizeof(uint16_t); }

// At most 2^10 layers * 2 * 2^20 positions * 2^20 numbers * 2 bytes: fits in 64 bits.
static uint64_t total_bytes(const nb_session *s, uint32_t n_tokens, uint32_t n_evaluated, size_t n_note) {
  return NB_STATE_HEADER + (uint64_t)n_tokens * sizeof(nb_token) + 2 * s->model->config.n_layers * row_bytes(s, n_evaluated) + n_note + NB_STATE_HASH;
}

uint64_t nb_state_bytes(const nb_session *s, size_t n_note) { return total_bytes(s, s->n_tokens, s->n_evaluated, n_note); }

static uint8_t *put(uint8_t *to, const void *from, size_t n) {
  if (n) memcpy(to, from, n);
  return to + n;
}

void nb_state_save(nb_session *s, nb_str note, uint8_t *out) {
  header h = {.version = 1, .type = NB_TYPE_F16, .n_layers = s->model->config.n_layers, .stride = (uint32_t)s->cache.stride, .n_ctx = s->cache.n_ctx,
              .n_tokens = s->n_tokens, .n_evaluated = s->n_evaluated, .n_note = (uint32_t)note.len};
  memcpy(h.magic, MAGIC, sizeof MAGIC);
  fingerprint(s, h.fingerprint);
  uint8_t *at = put(out, &h, sizeof h);
  at = put(at, s->tokens, s->n_tokens * sizeof *s->tokens);
  const size_t n = (size_t)row_bytes(s, s->n_evaluated);
  for (uint32_t i = 0; i < h.n_layers; i++) {
    at = put(at, nb_kvcache_k(&s->cache, i, 0), n);
    at = put(at, nb_kvcache_v(&s->cache, i, 0), n);
  }
  at = put(at, note.data, note.len);
  nb_sha256 sha;
  nb_sha256_init(&sha);
  nb_sha256_update(&sha, out, (size_t)(at - out));
  nb_sha256_final(&sha, at);
}

// ---- restoring --------------------------------------------------------------------------------------------------------------

static nb_status another_model(nb_error *err) {
  return nb_fail(err, NB_E_UNSUPPORTED, "the session was saved with another model, or another file of it; restore it with that one");
}

nb_status nb_state_check(nb_session *s, const uint8_t *bytes, size_t n, nb_state *out, nb_error *err) {
  header h;
  if (memcmp(bytes, MAGIC, n < sizeof MAGIC ? n : sizeof MAGIC)) return nb_fail(err, NB_E_FORMAT, "these bytes are no saved session");
  if (n < NB_STATE_HEADER) return nb_fail(err, NB_E_TRUNCATED, "the saved session ends after %zu bytes, inside of its header", n);
  memcpy(&h, bytes, sizeof h);
  if (h.version != 1 || h.type != NB_TYPE_F16)
    return nb_fail(err, NB_E_UNSUPPORTED, "the session was saved in version %u with keys of type %u, which this version does not read", (unsigned)h.version, (unsigned)h.type);
  if (h.n_layers != s->model->config.n_layers || h.stride != s->cache.stride) return another_model(err);
  if (h.n_tokens > NB_MAX_N_CTX || h.n_evaluated > h.n_tokens || h.n_note > NB_STATE_MAX_NOTE)
    return nb_fail(err, NB_E_FORMAT, "the saved session claims %u tokens, %u of them evaluated, and a note of %u bytes", (unsigned)h.n_tokens, (unsigned)h.n_evaluated,
                   (unsigned)h.n_note);
  const uint64_t total = total_bytes(s, h.n_tokens, h.n_evaluated, h.n_note);
  if (n != total)
    return nb_fail(err, n < total ? NB_E_TRUNCATED : NB_E_FORMAT, "the saved session has %zu bytes where its header describes %llu", n, (unsigned long long)total);

  uint8_t hash[NB_STATE_HASH];
  nb_sha256 sha;
  nb_sha256_init(&sha);
  nb_sha256_update(&sha, bytes, n - NB_STATE_HASH);
  nb_sha256_final(&sha, hash);
  if (memcmp(hash, bytes + n - NB_STATE_HASH, sizeof hash)) return nb_fail(err, NB_E_INTEGRITY, "the saved session is damaged: its hash is another");
  fingerprint(s, hash);
  if (memcmp(hash, h.fingerprint, sizeof hash)) return another_model(err);

  if (h.n_tokens > s->cache.n_ctx)
    return nb_fail(err, NB_E_CONTEXT, "the saved session has %u tokens, the context holds %u; ask for a longer one", (unsigned)h.n_tokens, (unsigned)s->cache.n_ctx);
  *out = (nb_state){.n_tokens = h.n_tokens, .n_evaluated = h.n_evaluated, .tokens = bytes + NB_STATE_HEADER};
  for (uint32_t i = 0; i < h.n_tokens; i++) {
    const uint32_t id = nb_load_u32(out->tokens + 4 * (size_t)i);
    if (id >= s->model->config.n_vocab)
      return nb_fail(err, NB_E_FORMAT, "token %d at position %u of the saved session is outside the vocabulary of %u", (int)id, (unsigned)i, (unsigned)s->model->config.n_vocab);
  }
  out->rows = out->tokens + 4 * (size_t)h.n_tokens;
  out->note = (nb_str){(const char *)bytes + n - NB_STATE_HASH - h.n_note, h.n_note};
  return NB_OK;
}

void nb_state_restore(nb_session *s, const nb_state *state) {
  const size_t n = (size_t)row_bytes(s, state->n_evaluated);
  const uint8_t *at = state->rows;
  if (state->n_tokens) memcpy(s->tokens, state->tokens, state->n_tokens * sizeof *s->tokens);
  for (uint32_t i = 0; n && i < s->model->config.n_layers; i++, at += 2 * n) {
    memcpy(nb_kvcache_k(&s->cache, i, 0), at, n);
    memcpy(nb_kvcache_v(&s->cache, i, 0), at + n, n);
  }
  s->n_tokens = state->n_tokens;
  s->n_evaluated = state->n_evaluated;
  nb_session_forget_from(s, state->n_tokens ? state->n_tokens - 1 : 0);  // the logits behind the last token were not saved
}
