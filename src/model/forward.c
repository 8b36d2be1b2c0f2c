#include "forward.h"

#include <math.h>
#include <stdlib.h>

#define ALIGN 16

// ---- memory -----------------------------------------------------------------------------------------------------------------

static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

// The widest input of any matrix.
static size_t max_cols(const nb_config *c) { return max_size(max_size(c->d_model, c->d_ff), (size_t)c->n_heads * c->head_dim); }

// Sizes of all buffers, in the order of the fields; plan and allocation walk the same list.
static size_t buffer_bytes(const nb_config *c, uint32_t n_ctx, size_t n_batch, uint64_t bytes[16]) {
  const size_t b = n_batch * sizeof(float), q = (size_t)c->n_heads * c->head_dim, kv = (size_t)c->n_kv_heads * c->head_dim;
  size_t n = 0;
  bytes[n++] = b * c->d_model;                                    // x
  bytes[n++] = b * c->d_model;                                    // xn
  bytes[n++] = b * q;                                             // q
  bytes[n++] = b * kv;                                            // k
  bytes[n++] = b * kv;                                            // v
  bytes[n++] = b * q;                                             // att
  bytes[n++] = b * c->d_ff;                                       // gate
  bytes[n++] = b * c->d_ff;                                       // up
  bytes[n++] = b * c->d_model;                                    // branch
  bytes[n++] = b * c->n_rot;                                      // cos_sin
  bytes[n++] = nb_attention_scratch(c->n_heads, c->n_kv_heads, c->head_dim) * sizeof(float);    // att_scratch
  bytes[n++] = nb_attention_partials(c->n_heads, c->head_dim, n_ctx, n_batch) * sizeof(float);  // att_partials
  bytes[n++] = c->n_rot / 2 * sizeof(double);                     // inv_freq
  bytes[n++] = (size_t)NB_HEAD_TILE * c->n_vocab * sizeof(float); // logits
  bytes[n++] = nb_act_bytes(NB_ACT_Q8_32, n_batch, nb_align_up(max_cols(c), 32));
  bytes[n++] = nb_act_bytes(NB_ACT_Q8_256, n_batch, nb_align_up(max_cols(c), 256));
  return n;
}

uint64_t nb_pass_bytes(const nb_model *m, uint32_t n_ctx, size_t n_batch) {
  uint64_t bytes[16];
  const size_t n = buffer_bytes(&m->config, n_ctx, n_batch, bytes);
  uint64_t sum = 0;
  for (size_t i = 0; i < n; i++) sum += nb_align_up(bytes[i], ALIGN);
  return sum;
}

nb_status nb_pass_init(nb_pass *p, const nb_model *m, nb_kvcache *cache, size_t n_batch, bool float_activations, nb_error *err) {
  *p = (nb_pass){.model = m, .cache = cache, .float_activations = float_activations, .n_batch = n_batch};
  const nb_config *c = &m->config;
  uint64_t bytes[16];
  const size_t n = buffer_bytes(c, cache->n_ctx, n_batch, bytes);
  void **fields[] = {(void **)&p->x, (void **)&p->xn, (void **)&p->q, (void **)&p->k, (void **)&p->v, (void **)&p->att, (void **)&p->gate,
                     (void **)&p->up, (void **)&p->branch, (void **)&p->cos_sin, (void **)&p->att_scratch, (void **)&p->att_partials,
                     (void **)&p->inv_freq, (void **)&p->logits, &p->act_buffer[NB_ACT_Q8_32], &p->act_buffer[NB_ACT_Q8_256]};
  for (size_t i = 0; i < n; i++) {
    size_t size;
    if (nb_to_size(nb_align_up(bytes[i] ? bytes[i] : 1, ALIGN), &size)) *fields[i] = aligned_alloc(ALIGN, size);
    if (!*fields[i]) {
      nb_pass_free(p);
      return nb_fail_nomem(err, "the working memory of a session", nb_pass_bytes(m, cache->n_ctx, n_batch));
    }
  }
  // theta_i = scale * base^(-2i / n_rot), divided by the model's own factor where it has some (RoFormer; Llama 3's scaling).
  for (uint32_t i = 0; i < c->n_rot / 2; i++) {
    double f = c->rope_scale * pow(c->rope_base, -2.0 * i / c->n_rot);
    p->inv_freq[i] = m->weights.rope_factors ? f / m->weights.rope_factors[i] : f;
  }
  return NB_OK;
}

void nb_pass_free(nb_pass *p) {
  void *all[] = {p->x, p->xn, p->q, p->k, p->v, p->att, p->gate, p->up, p->branch, p->cos_sin, p->att_scratch, p->att_partials, p->inv_freq,
                 p->logits, p->act_buffer[NB_ACT_Q8_32], p->act_buffer[NB_ACT_Q8_256]};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  *p = (nb_pass){0};
}

// ---- matrices ---------------------------------------------------------------------------------------------------------------

// The vectors [n, cols] that the next matrices are multiplied with.
static void set_input(nb_pass *p, const float *x, size_t n, size_t cols) {
  p->input = x;
  p->input_cols = cols;
  for (int i = 0; i < 3; i++) p->act[i].n = 0;
  p->act[NB_ACT_F32] = (nb_act){.kind = NB_ACT_F32, .n = n, .cols = cols, .x = x};
}

// y [n, rows] = input times w
static void multiply(nb_pass *p, const nb_matrix *w, float *y) {
  const nb_act_kind kind = p->float_activations ? NB_ACT_F32 : nb_act_kind_of(w->type);
  nb_act *a = &p->act[kind];
  if (a->n == 0) {
    nb_act_place(a, kind, p->act[NB_ACT_F32].n, p->input_cols, p->act_buffer[kind]);
    nb_quantize_act(a, p->input);
  }
  nb_matmul(w, a, y, w->rows, 0, w->rows);
}

static void add_bias(nb_pass *p, float *y, const float *bias, size_t n) {
  if (!bias) return;
  for (size_t t = 0; t < p->n; t++) nb_add(y + t * n, bias, n);
}

// ---- steps ------------------------------------------------------------------------------------------------------------------

void nb_pass_norm(nb_pass *p, const float *w) {
  const nb_config *c = &p->model->config;
  for (size_t t = 0; t < p->n; t++) nb_rms_norm(p->xn + t * c->d_model, p->x + t * c->d_model, w, c->d_model, c->norm_eps);
  set_input(p, p->xn, p->n, c->d_model);
}

void nb_pass_qkv(nb_pass *p, const nb_layer *l) {
  const nb_config *c = &p->model->config;
  multiply(p, &l->q, p->q);
  multiply(p, &l->k, p->k);
  multiply(p, &l->v, p->v);
  add_bias(p, p->q, l->q_bias, (size_t)c->n_heads * c->head_dim);
  add_bias(p, p->k, l->k_bias, (size_t)c->n_kv_heads * c->head_dim);
  add_bias(p, p->v, l->v_bias, (size_t)c->n_kv_heads * c->head_dim);
}

void nb_pass_qk_norm(nb_pass *p, const nb_layer *l) {
  const nb_config *c = &p->model->config;
  for (size_t i = 0; i < p->n * c->n_heads; i++) nb_rms_norm(p->q + i * c->head_dim, p->q + i * c->head_dim, l->q_norm, c->head_dim, c->norm_eps);
  for (size_t i = 0; i < p->n * c->n_kv_heads; i++) nb_rms_norm(p->k + i * c->head_dim, p->k + i * c->head_dim, l->k_norm, c->head_dim, c->norm_eps);
}

void nb_pass_rope(nb_pass *p) {
  const nb_config *c = &p->model->config;
  for (size_t t = 0; t < p->n; t++) {
    const float *cs = p->cos_sin + t * c->n_rot;
    nb_rope(p->q + t * c->n_heads * c->head_dim, c->n_heads, c->head_dim, c->n_rot, c->rope_order, cs);
    nb_rope(p->k + t * c->n_kv_heads * c->head_dim, c->n_kv_heads, c->head_dim, c->n_rot, c->rope_order, cs);
  }
}

void nb_pass_attention(nb_pass *p, const nb_layer *l) {
  const nb_config *c = &p->model->config;
  const size_t q = (size_t)c->n_heads * c->head_dim, kv = p->cache->stride;
  const float scale = (float)(1 / sqrt(c->head_dim));
  for (size_t t = 0; t < p->n; t++) {
    nb_f32_to_f16_row(nb_kvcache_k(p->cache, p->layer, p->pos + (uint32_t)t), p->k + t * kv, kv);
    nb_f32_to_f16_row(nb_kvcache_v(p->cache, p->layer, p->pos + (uint32_t)t), p->v + t * kv, kv);
  }
  const nb_attention_call call = {.out = p->att, .q = p->q, .n_queries = p->n, .k = nb_kvcache_k(p->cache, p->layer, 0),
                                  .v = nb_kvcache_v(p->cache, p->layer, 0), .kv_stride = kv, .n_heads = c->n_heads,
                                  .n_kv_heads = c->n_kv_heads, .head_dim = c->head_dim, .first = 0, .n = p->pos + 1, .scale = scale,
                                  .partials = p->att_partials};
  nb_attention(&call, p->att_scratch);
  set_input(p, p->att, p->n, q);
  multiply(p, &l->attn_output, p->branch);
  add_bias(p, p->branch, l->attn_output_bias, c->d_model);
  nb_add(p->x, p->branch, p->n * c->d_model);
}

void nb_pass_swiglu(nb_pass *p, const nb_layer *l) {
  const nb_config *c = &p->model->config;
  multiply(p, &l->gate, p->gate);
  multiply(p, &l->up, p->up);
  nb_swiglu(p->gate, p->up, p->n * c->d_ff);
  set_input(p, p->gate, p->n, c->d_ff);
  multiply(p, &l->down, p->branch);
  nb_add(p->x, p->branch, p->n * c->d_model);
}

// ---- the pass ---------------------------------------------------------------------------------------------------------------

void nb_pass_run(nb_pass *p, const int32_t *tokens, size_t n, uint32_t pos) {
  const nb_model *m = p->model;
  const nb_config *c = &m->config;
  p->n = n;
  p->pos = pos;
  p->logits_n = 0;
  for (size_t t = 0; t < n; t++) {
    nb_dequantize_row(&m->weights.embedding, (size_t)tokens[t], p->x + t * c->d_model);
    for (uint32_t i = 0; i < c->n_rot / 2; i++) {
      const double angle = (double)(pos + t) * p->inv_freq[i];
      p->cos_sin[t * c->n_rot + 2 * i] = (float)cos(angle);
      p->cos_sin[t * c->n_rot + 2 * i + 1] = (float)sin(angle);
    }
  }
  for (p->layer = 0; p->layer < c->n_layers; p->layer++) m->arch->layer(p, &m->weights.layers[p->layer]);
  nb_pass_norm(p, m->weights.output_norm);
}

const float *nb_pass_logits(nb_pass *p, size_t i) {
  const nb_config *c = &p->model->config;
  if (i < p->logits_first || i >= p->logits_first + p->logits_n) {
    p->logits_first = i;
    p->logits_n = p->n - i < NB_HEAD_TILE ? p->n - i : NB_HEAD_TILE;
    set_input(p, p->xn + i * c->d_model, p->logits_n, c->d_model);
    multiply(p, &p->model->weights.head, p->logits);
  }
  return p->logits + (i - p->logits_first) * c->n_vocab;
}
