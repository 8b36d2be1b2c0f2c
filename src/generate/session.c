#include "session_state.h"

#include <assert.h>
#include <stdlib.h>

#define DEFAULT_N_CTX 4096
#define DEFAULT_N_BATCH 32
#define MAX_N_BATCH 512

static nb_session_options resolve(const nb_model *m, const nb_session_options *o) {
  nb_session_options r = *o;
  if (r.n_ctx == 0) r.n_ctx = m->config.n_ctx_train < DEFAULT_N_CTX ? m->config.n_ctx_train : DEFAULT_N_CTX;
  if (r.n_batch == 0) r.n_batch = DEFAULT_N_BATCH;
  if (r.n_batch > r.n_ctx) r.n_batch = r.n_ctx;
  return r;
}

uint64_t nb_session_bytes(const nb_model *m, const nb_session_options *options) {
  nb_session_options o = resolve(m, options);
  // More is refused by nb_session_new; sizes up to the limits fit into 32 bits each.
  if (o.n_ctx > NB_MAX_N_CTX) o.n_ctx = NB_MAX_N_CTX;
  if (o.n_batch > MAX_N_BATCH) o.n_batch = MAX_N_BATCH;
  return nb_kvcache_bytes(&m->config, o.n_ctx) + nb_pass_bytes(m, o.n_ctx, o.n_batch, nb_team_size(o.team)) + (uint64_t)o.n_ctx * sizeof(nb_token) + sizeof(nb_session);
}

nb_status nb_session_check(const nb_model *m, const nb_session_options *options, nb_error *err) {
  const nb_session_options o = resolve(m, options);
  if (o.n_ctx > NB_MAX_N_CTX) return nb_fail(err, NB_E_ARGUMENT, "a context of %u tokens is more than the limit of %u", (unsigned)o.n_ctx, NB_MAX_N_CTX);
  if (o.n_batch > MAX_N_BATCH) return nb_fail(err, NB_E_ARGUMENT, "a batch of %u tokens is more than the limit of %d", (unsigned)o.n_batch, MAX_N_BATCH);
  return NB_OK;
}

nb_status nb_session_new(const nb_model *m, const nb_session_options *options, nb_session **out, nb_error *err) {
  *out = NULL;
  if (!m->arch || !m->weights.embedding.data) return nb_fail(err, NB_E_ARGUMENT, "the model was loaded without its weights, and cannot run");
  nb_status st = nb_session_check(m, options, err);
  if (st) return st;
  const nb_session_options o = resolve(m, options);
  nb_session *s = calloc(1, sizeof *s);
  if (!s) return nb_fail_nomem(err, "a session", sizeof *s);
  s->model = m;
  st = nb_kvcache_init(&s->cache, &m->config, o.n_ctx, err);
  if (!st) st = nb_pass_init(&s->pass, m, &s->cache, o.n_batch, o.team, o.float_activations, err);
  if (!st && !(s->tokens = malloc(o.n_ctx * sizeof *s->tokens))) st = nb_fail_nomem(err, "the history", o.n_ctx * sizeof *s->tokens);
  if (st) {
    nb_session_free(s);
    return st;
  }
  *out = s;
  return NB_OK;
}

nb_status nb_session_clone(const nb_session *s, nb_session **out, nb_error *err) {
  const nb_session_options o = {.n_ctx = s->cache.n_ctx, .n_batch = (uint32_t)s->pass.n_batch, .float_activations = s->pass.float_activations, .team = s->pass.team};
  const nb_status st = nb_session_new(s->model, &o, out, err);
  if (st) return st;
  nb_session *c = *out;
  const size_t n = s->n_evaluated * s->cache.stride * sizeof(uint16_t);
  for (uint32_t i = 0; n && i < s->model->config.n_layers; i++) {
    memcpy(nb_kvcache_k(&c->cache, i, 0), nb_kvcache_k(&s->cache, i, 0), n);
    memcpy(nb_kvcache_v(&c->cache, i, 0), nb_kvcache_v(&s->cache, i, 0), n);
  }
  if (s->n_tokens) memcpy(c->tokens, s->tokens, s->n_tokens * sizeof *s->tokens);
  c->n_tokens = s->n_tokens;
  c->n_evaluated = s->n_evaluated;
  nb_session_forget_from(c, s->n_tokens ? s->n_tokens - 1 : 0);  // it has no logits yet
  return NB_OK;
}

void nb_session_free(nb_session *s) {
  if (!s) return;
  nb_pass_free(&s->pass);
  nb_kvcache_free(&s->cache);
  free(s->tokens);
  free(s);
}

uint32_t nb_session_n_ctx(const nb_session *s) { return s->cache.n_ctx; }
uint32_t nb_session_n_vocab(const nb_session *s) { return s->model->config.n_vocab; }
uint32_t nb_session_n_tokens(const nb_session *s) { return s->n_tokens; }
uint32_t nb_session_n_evaluated(const nb_session *s) { return s->n_evaluated; }
const nb_token *nb_session_tokens(const nb_session *s) { return s->tokens; }

nb_status nb_session_push(nb_session *s, const nb_token *ids, size_t n, nb_error *err) {
  if (n > s->cache.n_ctx - s->n_tokens)
    return nb_fail(err, NB_E_CONTEXT, "%zu more tokens do not fit: %u of %u are used; shorten the input or ask for a longer context", n,
                   (unsigned)s->n_tokens, (unsigned)s->cache.n_ctx);
  for (size_t i = 0; i < n; i++)
    if (ids[i] < 0 || (uint32_t)ids[i] >= s->model->config.n_vocab)
      return nb_fail(err, NB_E_ARGUMENT, "token %d at position %zu is outside the vocabulary of %u", (int)ids[i], i, (unsigned)s->model->config.n_vocab);
  if (n) memcpy(s->tokens + s->n_tokens, ids, n * sizeof *ids);
  s->n_tokens += (uint32_t)n;
  return NB_OK;
}

void nb_session_eval(nb_session *s, size_t max, uint32_t *left) {
  size_t n = s->n_tokens - s->n_evaluated;
  if (n > s->pass.n_batch) n = s->pass.n_batch;
  if (n > max) n = max;
  if (n) nb_pass_run(&s->pass, s->tokens + s->n_evaluated, n, s->n_evaluated);
  s->n_evaluated += (uint32_t)n;
  *left = s->n_tokens - s->n_evaluated;
}

void nb_session_forget_from(nb_session *s, uint32_t n) {
  if (s->n_evaluated > n) s->n_evaluated = n;
  s->pass.n = 0;
}

void nb_session_truncate(nb_session *s, uint32_t n) {
  if (n >= s->n_tokens) return;
  s->n_tokens = n;
  nb_session_forget_from(s, n ? n - 1 : 0);
}

void nb_session_slide(nb_session *s, uint32_t keep, uint32_t discard) {
  if (keep > s->n_tokens) keep = s->n_tokens;
  if (discard > s->n_tokens - keep) discard = s->n_tokens - keep;
  if (discard == 0) return;
  memmove(s->tokens + keep, s->tokens + keep + discard, (s->n_tokens - keep - discard) * sizeof *s->tokens);
  s->n_tokens -= discard;
  nb_session_forget_from(s, keep < s->n_tokens ? keep : s->n_tokens ? s->n_tokens - 1 : 0);
}

size_t nb_session_n_pass(const nb_session *s) { return s->pass.n; }

const float *nb_session_logits(nb_session *s, size_t i) {
  assert(i < s->pass.n);
  return nb_pass_logits(&s->pass, i);
}

const float *nb_session_hidden(const nb_session *s, size_t i) {
  assert(i < s->pass.n);
  return s->pass.xn + i * s->model->config.d_model;
}
