#include "forward.h"

#include <math.h>
#include <stdlib.h>

#define ALIGN 16

// ---- memory -----------------------------------------------------------------------------------------------------------------

static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

// The widest input of any matrix.
static size_t max_cols(const nb_config *c) { return max_size(max_size(c->d_model, c->d_ff), (size_t)c->n_heads * c->head_dim); }

// Floats of attention's scratch, of one thread.
static size_t scratch_floats(const nb_config *c) { return (size_t)nb_align_up(nb_attention_scratch(c->n_heads, c->n_kv_heads, c->head_dim), 16); }

// Sizes of all buffers, in the order of the fields; plan and allocation walk the same list.
static size_t buffer_bytes(const nb_config *c, uint32_t n_ctx, size_t n_batch, unsigned n_threads, uint64_t bytes[16]) {
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
  bytes[n++] = n_threads * scratch_floats(c) * sizeof(float);     // att_scratch
  bytes[n++] = nb_attention_partials(c->n_heads, c->head_dim, n_ctx, n_batch) * sizeof(float);  // att_partials
  bytes[n++] = c->n_rot / 2 * sizeof(double);                     // inv_freq
  bytes[n++] = (size_t)NB_HEAD_TILE * c->n_vocab * sizeof(float); // logits
  bytes[n++] = nb_act_bytes(NB_ACT_Q8_32, n_batch, nb_align_up(max_cols(c), 32));
  bytes[n++] = nb_act_bytes(NB_ACT_Q8_256, n_batch, nb_align_up(max_cols(c), 256));
  return n;
}

uint64_t nb_pass_bytes(const nb_model *m, uint32_t n_ctx, size_t n_batch, unsigned n_threads) {
  uint64_t bytes[16];
  const size_t n = buffer_bytes(&m->config, n_ctx, n_batch, n_threads, bytes);
  uint64_t sum = 0;
  for (size_t i = 0; i < n; i++) sum += nb_align_up(bytes[i], ALIGN);
  return sum;
}

nb_status nb_pass_init(nb_pass *p, const nb_model *m, nb_kvcache *cache, size_t n_batch, nb_team *team, bool float_activations, nb_error *err) {
  *p = (nb_pass){.model = m, .cache = cache, .team = team, .float_activations = float_activations, .n_batch = n_batch};
  const nb_config *c = &m->config;
  uint64_t bytes[16];
  const size_t n = buffer_bytes(c, cache->n_ctx, n_batch, nb_team_size(team), bytes);
  void **fields[] = {(void **)&p->x, (void **)&p->xn, (void **)&p->q, (void **)&p->k, (void **)&p->v, (void **)&p->att, (void **)&p->gate,
                     (void **)&p->up, (void **)&p->branch, (void **)&p->cos_sin, (void **)&p->att_scratch, (void **)&p->att_partials,
                     (void **)&p->inv_freq, (void **)&p->logits, &p->act_buffer[NB_ACT_Q8_32], &p->act_buffer[NB_ACT_Q8_256]};
  for (size_t i = 0; i < n; i++) {
    size_t size;
    if (nb_to_size(nb_align_up(bytes[i] ? bytes[i] : 1, ALIGN), &size)) *fields[i] = aligned_alloc(ALIGN, size);
    if (!*fields[i]) {
      nb_pass_free(p);
      return nb_fail_nomem(err, "the working memory of a session", nb_pass_bytes(m, cache->n_ctx, n_batch, nb_team_size(team)));
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

// ---- work for all threads -----------------------------------------------------------------------------------------------------
// Every unit of work gives the same numbers whichever thread takes it, so results do not depend on their number.

typedef void token_fn(nb_pass *p, size_t t, const void *arg);

typedef struct token_job {
  nb_pass *p;
  token_fn *work;
  const void *arg;
} token_job;

static void run_tokens(nb_share *share, void *arg) {
  const token_job *j = arg;
  for (size_t t; (t = nb_team_claim(share)) < j->p->n;) j->work(j->p, t, j->arg);
}

// work(t) for each token of the pass; a single one is not worth a job.
static void each_token(nb_pass *p, token_fn *work, const void *arg) {
  token_job j = {p, work, arg};
  nb_team_run(p->n > 1 ? p->team : NULL, run_tokens, &j);
}

// ---- matrices ---------------------------------------------------------------------------------------------------------------

// The vectors [n, cols] that the next matrices are multiplied with.
static void set_input(nb_pass *p, const float *x, size_t n, size_t cols) {
  p->input_cols = cols;
  for (int i = 0; i < 3; i++) p->act[i].n = 0;
  p->act[NB_ACT_F32] = (nb_act){.kind = NB_ACT_F32, .n = n, .cols = cols, .x = x};
}

static void quantize_token(nb_pass *p, size_t t, const void *arg) {
  nb_act one = nb_act_vector(arg, t);
  nb_quantize_act(&one, p->act[NB_ACT_F32].x + t * p->input_cols);
}

// The input as a matrix wants it, converted when the first one asks.
static const nb_act *input_for(nb_pass *p, const nb_matrix *w) {
  const nb_act_kind kind = p->float_activations ? NB_ACT_F32 : nb_act_kind_of(w->type);
  nb_act *a = &p->act[kind];
  const size_t n = p->act[NB_ACT_F32].n;
  if (a->n == 0) {
    nb_act_place(a, kind, n, p->input_cols, p->act_buffer[kind]);
    if (n == p->n) each_token(p, quantize_token, a);
    else nb_quantize_act(a, p->act[NB_ACT_F32].x);
  }
  return a;
}

// One product with the input, and what is done with its rows at once.
typedef struct product {
  const nb_matrix *w;
  float *y;              // [n, rows]
  const float *bias;     // added, where there is one
  float *sum;            // [n, rows]: y is added to it, where there is one
  const nb_act *a;
} product;

typedef struct product_job {
  const product *products;
  size_t n_products;
  bool gated;        // products are gate and up of the same shape: y of the first becomes swiglu(gate, up)
  size_t unit_rows;  // rows of one unit, a multiple of 8
} product_job;

static void multiply_rows(const product *m, size_t row0, size_t row1) {
  const size_t rows = m->w->rows;
  nb_matmul(m->w, m->a, m->y, rows, row0, row1);
  for (size_t t = 0; t < m->a->n; t++) {
    float *y = m->y + t * rows + row0;
    if (m->bias) nb_add(y, m->bias + row0, row1 - row0);
    if (m->sum) nb_add(m->sum + t * rows + row0, y, row1 - row0);
  }
}

static void run_products(nb_share *share, void *arg) {
  const product_job *j = arg;
  size_t first = 0, i = 0;  // the first unit of product i
  for (;;) {
    const size_t unit = nb_team_claim(share);
    size_t units;
    while (unit >= first + (units = (j->products[i].w->rows + j->unit_rows - 1) / j->unit_rows)) {
      first += units;
      if (++i == (j->gated ? 1 : j->n_products)) return;
    }
    const product *m = &j->products[i];
    const size_t rows = m->w->rows, row0 = (unit - first) * j->unit_rows, row1 = row0 + j->unit_rows < rows ? row0 + j->unit_rows : rows;
    multiply_rows(m, row0, row1);
    if (!j->gated) continue;
    multiply_rows(m + 1, row0, row1);
    for (size_t t = 0; t < m->a->n; t++) nb_swiglu(m->y + t * rows + row0, m[1].y + t * rows + row0, row1 - row0);
  }
}

#define UNITS_OF_A_THREAD 4  // of a job: enough for a thread that was held up to be helped by the others

static void multiply(nb_pass *p, product *products, size_t n_products, bool gated) {
  const nb_act *x = &p->act[NB_ACT_F32];
  if (p->tap && !p->tap(p->tap_arg, products[0].w, x->x, x->n, x->cols)) return;
  size_t rows = 0;
  for (size_t i = 0; i < n_products; i++) {
    products[i].a = input_for(p, products[i].w);
    rows += products[i].w->rows;
  }
  if (gated) rows /= 2;
  const size_t threads = nb_team_size(p->team), parts = threads == 1 ? 1 : threads * UNITS_OF_A_THREAD;
  product_job j = {products, n_products, gated, (size_t)nb_align_up((rows + parts - 1) / parts, 8)};
  nb_team_run(p->team, run_products, &j);
}

// ---- steps ------------------------------------------------------------------------------------------------------------------

static void norm_token(nb_pass *p, size_t t, const void *w) {
  const nb_config *c = &p->model->config;
  nb_rms_norm(p->xn + t * c->d_model, p->x + t * c->d_model, w, c->d_model, c->norm_eps);
}

void nb_pass_norm(nb_pass *p, const float *w) {
  each_token(p, norm_token, w);
  set_input(p, p->xn, p->n, p->model->config.d_model);
}

void nb_pass_qkv(nb_pass *p, const nb_layer *l) {
  multiply(p, (product[]){{.w = &l->q, .y = p->q, .bias = l->q_bias}, {.w = &l->k, .y = p->k, .bias = l->k_bias}, {.w = &l->v, .y = p->v, .bias = l->v_bias}}, 3, false);
}

static void qk_norm_token(nb_pass *p, size_t t, const void *layer) {
  const nb_config *c = &p->model->config;
  const nb_layer *l = layer;
  const size_t d = c->head_dim;
  for (size_t i = t * c->n_heads; i < (t + 1) * c->n_heads; i++) nb_rms_norm(p->q + i * d, p->q + i * d, l->q_norm, d, c->norm_eps);
  for (size_t i = t * c->n_kv_heads; i < (t + 1) * c->n_kv_heads; i++) nb_rms_norm(p->k + i * d, p->k + i * d, l->k_norm, d, c->norm_eps);
}

void nb_pass_qk_norm(nb_pass *p, const nb_layer *l) { each_token(p, qk_norm_token, l); }

static void rope_token(nb_pass *p, size_t t, const void *unused) {
  (void)unused;
  const nb_config *c = &p->model->config;
  const float *cs = p->cos_sin + t * c->n_rot;
  nb_rope(p->q + t * c->n_heads * c->head_dim, c->n_heads, c->head_dim, c->n_rot, c->rope_order, cs);
  nb_rope(p->k + t * c->n_kv_heads * c->head_dim, c->n_kv_heads, c->head_dim, c->n_rot, c->rope_order, cs);
}

void nb_pass_rope(nb_pass *p) { each_token(p, rope_token, NULL); }

static void cache_token(nb_pass *p, size_t t, const void *unused) {
  (void)unused;
  const size_t kv = p->cache->stride;
  nb_f32_to_f16_row(nb_kvcache_k(p->cache, p->layer, p->pos + (uint32_t)t), p->k + t * kv, kv);
  nb_f32_to_f16_row(nb_kvcache_v(p->cache, p->layer, p->pos + (uint32_t)t), p->v + t * kv, kv);
}

typedef struct attention_job {
  nb_pass *p;
  const nb_attention_call *call;
  size_t units, rows;
} attention_job;

static void run_attention(nb_share *share, void *arg) {
  const attention_job *j = arg;
  float *scratch = j->p->att_scratch + share->index * scratch_floats(&j->p->model->config);
  for (size_t u; (u = nb_team_claim(share)) < j->units;) nb_attention_unit(j->call, u, scratch);
}

#define MERGE_ROWS 64  // rows of a unit of merging

static void run_merge(nb_share *share, void *arg) {
  const attention_job *j = arg;
  for (size_t row; (row = nb_team_claim(share) * MERGE_ROWS) < j->rows;) {
    nb_attention_merge(j->call, row, row + MERGE_ROWS < j->rows ? row + MERGE_ROWS : j->rows);
  }
}

void nb_pass_attention(nb_pass *p, const nb_layer *l) {
  const nb_config *c = &p->model->config;
  each_token(p, cache_token, NULL);
  const nb_attention_call call = {.out = p->att, .q = p->q, .n_queries = p->n, .k = nb_kvcache_k(p->cache, p->layer, 0),
                                  .v = nb_kvcache_v(p->cache, p->layer, 0), .kv_stride = p->cache->stride, .n_heads = c->n_heads,
                                  .n_kv_heads = c->n_kv_heads, .head_dim = c->head_dim, .first = 0, .n = p->pos + 1,
                                  .scale = (float)(1 / sqrt(c->head_dim)), .partials = p->att_partials};
  attention_job j = {p, &call, nb_attention_units(&call), nb_attention_merge_rows(&call)};
  nb_team_run(p->team, run_attention, &j);
  if (j.rows > 0) nb_team_run(j.rows < MERGE_ROWS ? NULL : p->team, run_merge, &j);
  set_input(p, p->att, p->n, (size_t)c->n_heads * c->head_dim);
  multiply(p, &(product){.w = &l->attn_output, .y = p->branch, .bias = l->attn_output_bias, .sum = p->x}, 1, false);
}

void nb_pass_swiglu(nb_pass *p, const nb_layer *l) {
  multiply(p, (product[]){{.w = &l->gate, .y = p->gate}, {.w = &l->up, .y = p->up}}, 2, true);
  set_input(p, p->gate, p->n, p->model->config.d_ff);
  multiply(p, &(product){.w = &l->down, .y = p->branch, .sum = p->x}, 1, false);
}

// ---- the pass ---------------------------------------------------------------------------------------------------------------

void nb_pass_begin(nb_pass *p, size_t n, uint32_t pos) {
  const uint32_t n_rot = p->model->config.n_rot;
  p->n = n;
  p->pos = pos;
  p->logits_n = 0;
  for (size_t t = 0; t < n; t++) {
    for (uint32_t i = 0; i < n_rot / 2; i++) {
      const double angle = (double)(pos + t) * p->inv_freq[i];
      p->cos_sin[t * n_rot + 2 * i] = (float)cos(angle);
      p->cos_sin[t * n_rot + 2 * i + 1] = (float)sin(angle);
    }
  }
}

void nb_pass_run(nb_pass *p, const int32_t *tokens, size_t n, uint32_t pos) {
  const nb_model *m = p->model;
  const nb_config *c = &m->config;
  nb_pass_begin(p, n, pos);
  for (size_t t = 0; t < n; t++) nb_dequantize_row(&m->weights.embedding, (size_t)tokens[t], p->x + t * c->d_model);
  for (p->layer = 0; p->layer < c->n_layers; p->layer++) m->arch->layer(p, &m->weights.layers[p->layer]);
  nb_pass_norm(p, m->weights.output_norm);
}

const float *nb_pass_logits(nb_pass *p, size_t i) {
  const nb_config *c = &p->model->config;
  if (i < p->logits_first || i >= p->logits_first + p->logits_n) {
    p->logits_first = i;
    p->logits_n = p->n - i < NB_HEAD_TILE ? p->n - i : NB_HEAD_TILE;
    set_input(p, p->xn + i * c->d_model, p->logits_n, c->d_model);
    multiply(p, &(product){.w = &p->model->weights.head, .y = p->logits}, 1, false);
  }
  return p->logits + (i - p->logits_first) * c->n_vocab;
}
