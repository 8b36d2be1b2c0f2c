// Calibration layer by layer: the numbers of the whole model, bit by bit; statistics as plain sums of what the whole model multiplies with; the same
// for any number of threads, and when it goes on from saved activations; bad input and memory that runs out.
#include "failing_alloc.h"

#include "../../src/quantize/calibrate.h"

#include "check.h"
#include "exercise.h"
#include "teams.h"
#include "tiny_models.h"

enum { SAMPLES = 3, CTX = 21, MAX_LAYERS = 3 };

typedef struct file {
  gguf_writer w;
  nb_model *header, *model;  // the same file
} file;

static const tiny_shape FLOATS = {"llama", 3, 64, 96, 4, 2, 16, 28, NB_TYPE_F16, 0}, INTS = {"llama", 3, 64, 96, 4, 2, 16, 28, NB_TYPE_Q4_0, 0},
                        BIASED = {"qwen2", 2, 32, 64, 4, 2, 8, 24, NB_TYPE_Q8_0, 1}, NORMED = {"qwen3", 2, 32, 64, 2, 2, 16, 24, NB_TYPE_Q8_0, 0};

static void load_models(file *f) {
  nb_error err = {0};
  if (exercise_load(f->w.bytes, f->w.n, 0, 0, &f->model, &err) || exercise_load(f->w.bytes, f->w.n, 0, NB_LOAD_HEADER_ONLY, &f->header, &err)) {
    printf("%s\n", err.message);
    abort();
  }
}

static file make_file(const tiny_shape *s, uint32_t seed) {
  file f;
  gw_begin(&f.w, 3);
  f.w.random = seed;
  tiny_config(&f.w, s);
  if (!strcmp(s->arch, "llama")) tiny_spm(&f.w);
  else tiny_bpe(&f.w, "qwen2");
  tiny_ends(&f.w, s);
  if (!strcmp(s->arch, "llama")) gw_vector(&f.w, "rope_freqs.weight", s->head_dim / 2);
  for (uint32_t i = 0; i < s->n_layers; i++) tiny_layer(&f.w, s, i);
  gw_finish(&f.w);
  load_models(&f);
  return f;
}

static void free_file(file *f) {
  nb_model_free(f->model);
  nb_model_free(f->header);
  gw_free(&f->w);
}

static int32_t token_of(const file *f, size_t sample, size_t t) { return (int32_t)((sample * 31 + t * t * 7 + t) % f->model->config.n_vocab); }

static const uint8_t *bytes_of(const file *f, const char *name, nb_type *type, size_t *n) {
  const nb_gguf_tensor *t = nb_gguf_find_tensor(f->header->files[0], nb_str_of(name));
  if (!t) abort();
  *type = t->type;
  *n = (size_t)t->bytes;
  return f->w.bytes + nb_gguf_data_offset(f->header->files[0]) + t->offset;
}

static nb_status place(nb_calibration *c, nb_set set, const file *f, const char *name, nb_error *err) {
  nb_type type;
  size_t n, room = 0;
  const uint8_t *from = bytes_of(f, name, &type, &n);
  uint8_t *to = NULL;
  const nb_status s = nb_calibration_place(c, set, name, type, &to, &room, err);
  if (s) return s;
  CHECK_EQ_U64(room, n);
  memcpy(to, from, n);
  return NB_OK;
}

// All tensors of a layer whose names have `part` in them.
static nb_status place_layer(nb_calibration *c, nb_set set, const file *f, uint32_t layer, const char *part, nb_error *err) {
  char prefix[32];
  snprintf(prefix, sizeof prefix, "blk.%u.", (unsigned)layer);
  nb_status s = NB_OK;
  for (size_t i = 0; !s && i < f->w.n_tensors; i++) {
    const char *name = f->w.tensors[i].name;
    if (!strncmp(name, prefix, strlen(prefix)) && strstr(name, part)) s = place(c, set, f, name, err);
  }
  return s ? s : nb_calibration_bind(c, set, err);
}

// Up to the first layer. The main stream's embedding is that of `main`.
static nb_status start(const nb_calibration_options *o, const file *original, const file *quantized, nb_calibration **out, nb_error *err) {
  nb_calibration *c = *out = nb_calibration_new(original->header, o, err);
  if (!c) return err->status;
  for (uint32_t i = 0; i < o->n_samples; i++)
    for (uint32_t t = 0; t < o->n_ctx; t++) nb_calibration_tokens(c, i)[t] = token_of(original, i, t);
  nb_status s = place(c, NB_SET_ENDS, original, "output_norm.weight", err);
  if (!s && nb_gguf_find_tensor(original->header->files[0], NB_STR("rope_freqs.weight"))) s = place(c, NB_SET_ENDS, original, "rope_freqs.weight", err);
  if (!s) s = nb_calibration_bind(c, NB_SET_ENDS, err);
  for (int stream = 0; !s && stream < (o->reference ? NB_STREAMS : 1); stream++) {
    nb_type type;
    size_t n;
    const uint8_t *rows = bytes_of(stream == NB_STREAM_MAIN ? quantized : original, "token_embd.weight", &type, &n);
    const size_t n_vocab = original->model->config.n_vocab, row = n / n_vocab;
    for (size_t r = 0; !s && r < n_vocab; r += 5)
      s = nb_calibration_embed(c, 1u << stream, type, rows + r * row, r, n_vocab - r < 5 ? n_vocab - r : 5, err);
  }
  return s;
}

#define RUN_ALL(c, set, flags, err)                                                                                             \
  for (uint32_t run_i = 0; !s && run_i < SAMPLES; run_i++) s = nb_calibration_run(c, run_i, set, flags, err)

// ---- the whole model beside it --------------------------------------------------------------------------------------------------

typedef struct whole {
  nb_kvcache cache;
  nb_pass pass;
  float *inputs[MAX_LAYERS * 4];  // [SAMPLES, CTX, cols], as a tap of the whole model sees them
  float *x[SAMPLES], *xn[SAMPLES];
  size_t sample;
  const nb_model *model;
} whole;

static size_t cols_of(const nb_config *c, int site) { return site == 1 ? (size_t)c->n_heads * c->head_dim : site == 3 ? c->d_ff : c->d_model; }

static bool record(void *arg, const nb_matrix *w, const float *x, size_t n, size_t cols) {
  whole *u = arg;
  for (uint32_t l = 0; l < u->model->config.n_layers; l++) {
    const nb_layer *layer = &u->model->weights.layers[l];
    const nb_matrix *sites[4] = {&layer->q, &layer->attn_output, &layer->gate, &layer->down};
    for (int i = 0; i < 4; i++)
      if (w == sites[i]) memcpy(u->inputs[4 * l + i] + u->sample * n * cols, x, n * cols * sizeof *x);
  }
  return true;
}

static void run_whole(whole *u, const file *f, bool float_activations) {
  nb_error err;
  *u = (whole){.model = f->model};
  const nb_config *c = &f->model->config;
  if (nb_kvcache_init(&u->cache, c, CTX, &err) || nb_pass_init(&u->pass, f->model, &u->cache, CTX, NULL, float_activations, &err)) abort();
  for (uint32_t i = 0; i < 4 * c->n_layers; i++) u->inputs[i] = calloc(SAMPLES * CTX * cols_of(c, (int)(i % 4)), sizeof(float));
  u->pass.tap = record;
  u->pass.tap_arg = u;
  for (u->sample = 0; u->sample < SAMPLES; u->sample++) {
    int32_t tokens[CTX];
    for (size_t t = 0; t < CTX; t++) tokens[t] = token_of(f, u->sample, t);
    nb_pass_run(&u->pass, tokens, CTX, 0);
    const size_t bytes = CTX * c->d_model * sizeof(float);
    u->x[u->sample] = memcpy(malloc(bytes), u->pass.x, bytes);
    u->xn[u->sample] = memcpy(malloc(bytes), u->pass.xn, bytes);
  }
}

static void free_whole(whole *u) {
  for (int i = 0; i < MAX_LAYERS * 4; i++) free(u->inputs[i]);
  for (int i = 0; i < SAMPLES; i++) free(u->x[i]), free(u->xn[i]);
  nb_pass_free(&u->pass);
  nb_kvcache_free(&u->cache);
}

// Within 1e-6 of the sum of the terms' magnitudes.
static void equals_sums_of(const nb_stats *s, const float *x, const float *reference) {
  const size_t n = SAMPLES * CTX, cols = s->cols;
  CHECK_EQ_U64(s->n, n);
  for (size_t i = 0; i < cols; i++) {
    double sum = 0, sum_sq = 0;
    for (size_t t = 0; t < n; t++) sum += (double)x[t * cols + i], sum_sq += (double)x[t * cols + i] * (double)x[t * cols + i];
    CHECK_NEAR(s->sum[i], sum, 0);
    CHECK_NEAR(s->sum_sq[i], sum_sq, 0);
    for (size_t j = 0; s->h && j < cols; j += 3) {
      double h = 0, h_size = 0, cross = 0, cross_size = 0;
      for (size_t t = 0; t < n; t++) {
        const double a = (double)x[t * cols + i] * (double)x[t * cols + j];
        h += a, h_size += fabs(a);
        if (!reference) continue;
        const double b = (double)x[t * cols + i] * ((double)reference[t * cols + j] - (double)x[t * cols + j]);
        cross += b, cross_size += fabs(b);
      }
      CHECK_NEAR((double)s->h[i * cols + j], h, 1e-6 * h_size);
      if (reference) CHECK_NEAR((double)s->cross[i * cols + j], cross, 1e-6 * cross_size);
    }
  }
}

// ---- tests ----------------------------------------------------------------------------------------------------------------------

static nb_calibration_options plain_options(void) { return (nb_calibration_options){.n_samples = SAMPLES, .n_ctx = CTX, .parts = {1, 1, 1, 1, 0}}; }

static void original_weights(const tiny_shape *shape, bool large) {
  file f = make_file(shape, 1);
  nb_error err = {0};
  if (large) {  // an F16 weight beyond what the kernels' own layout holds, behind rows that fit
    nb_type type;
    size_t n;
    const uint16_t two_hundred = 0x5a40;
    memcpy(f.w.bytes + (bytes_of(&f, "blk.1.ffn_down.weight", &type, &n) - f.w.bytes) + n - 2, &two_hundred, 2);
    nb_model_free(f.model);
    nb_model_free(f.header);
    load_models(&f);
    CHECK(f.model->weights.layers[1].down.layout == NB_LAYOUT_ROWS);
  }
  nb_calibration *c;
  const nb_calibration_options o = plain_options();
  whole u;
  run_whole(&u, &f, false);
  nb_status s = start(&o, &f, &f, &c, &err);
  const uint32_t n_layers = f.model->config.n_layers;
  for (uint32_t layer = 0; !s && layer < n_layers; layer++) {
    if ((s = nb_calibration_begin(c, layer, &err)) || (s = place_layer(c, NB_SET_ORIGINAL, &f, layer, "", &err))) break;
    RUN_ALL(c, NB_SET_ORIGINAL, NB_RUN_STATS | NB_RUN_ADVANCE, &err);
    nb_calibration_finish(c);
    for (int site = 0; site < 4; site++) equals_sums_of(nb_calibration_stats(c, (nb_site)site), u.inputs[4 * layer + (uint32_t)site], NULL);
    CHECK(nb_calibration_stats(c, NB_SITE_HEAD) == NULL);
  }
  for (uint32_t i = 0; !s && i < SAMPLES; i++)
    CHECK(!memcmp(nb_calibration_activations(c, NB_STREAM_MAIN, i), u.x[i], CTX * f.model->config.d_model * sizeof(float)));
  if (!s) s = nb_calibration_begin(c, n_layers, &err);
  RUN_ALL(c, NB_SET_ENDS, NB_RUN_STATS, &err);
  if (!s) {
    nb_calibration_finish(c);
    const size_t d = f.model->config.d_model;
    float *all = malloc(SAMPLES * CTX * d * sizeof *all);
    for (size_t i = 0; i < SAMPLES; i++) memcpy(all + i * CTX * d, u.xn[i], CTX * d * sizeof *all);
    equals_sums_of(nb_calibration_stats(c, NB_SITE_HEAD), all, NULL);
    CHECK(nb_calibration_stats(c, NB_SITE_QKV) == NULL);
    free(all);
  }
  CHECK_STR(s ? err.message : "", "");
  nb_calibration_free(c);
  free_whole(&u);
  free_file(&f);
}

typedef struct result {
  float x[NB_STREAMS][SAMPLES * CTX * 64];
  uint64_t stats_hash;
  nb_layer_error compared, drift;
} result;

static uint64_t hash_stats(const nb_stats *s, uint64_t h) {
  const size_t n = s->cols;
  h = nb_hash(s->max_abs, n * sizeof *s->max_abs, nb_hash(s->sum_sq, n * sizeof *s->sum_sq, nb_hash(s->sum, n * sizeof *s->sum, h)));
  return nb_hash(s->cross, n * n * sizeof *s->cross, nb_hash(s->h, n * n * sizeof *s->h, h));
}

static void save(nb_calibration *c, result *r) {
  for (uint32_t i = 0; i < 2 * SAMPLES; i++)
    memcpy(r->x[i / SAMPLES] + i % SAMPLES * CTX * 64, nb_calibration_activations(c, (nb_stream)(i / SAMPLES), i % SAMPLES), CTX * 64 * sizeof(float));
}

// One layer with everything: quantized weights, reference, differences. u, v: the whole models, to check against, or NULL.
static nb_status one_layer(nb_calibration *c, uint32_t layer, const file *original, const file *quantized, const whole *u, const whole *v, result *r, nb_error *err) {
  nb_status s = nb_calibration_begin(c, layer, err);
  if (!s) s = place_layer(c, NB_SET_ORIGINAL, original, layer, "", err);
  // statistics with the quantized weights too, so that the whole quantized model can be looked at for what they must be
  if (!s) s = place_layer(c, NB_SET_QUANTIZED, quantized, layer, "", err);
  RUN_ALL(c, NB_SET_QUANTIZED, NB_RUN_STATS | NB_RUN_REFERENCE, err);
  if (s) return s;
  nb_calibration_finish(c);
  for (int site = 0; site < 4; site++) {
    const nb_stats *stats = nb_calibration_stats(c, (nb_site)site);
    if (u) equals_sums_of(stats, v->inputs[4 * layer + (uint32_t)site], u->inputs[4 * layer + (uint32_t)site]);
    r->stats_hash = hash_stats(stats, r->stats_hash);
  }
  for (uint32_t i = 0; !s && i < SAMPLES; i++) s = nb_calibration_compare(c, i, &r->compared, err);
  RUN_ALL(c, NB_SET_QUANTIZED, NB_RUN_ADVANCE, err);
  if (!s) s = nb_calibration_drift(c, SAMPLES - 1, &r->drift, err);
  return s;
}

static nb_calibration_options full_options(nb_team *team) {
  return (nb_calibration_options){.n_samples = SAMPLES, .n_ctx = CTX, .reference = true, .parts = {3, 3, 3, 3, 1}, .team = team};
}

static nb_status whole_run(nb_team *team, uint32_t stop, const file *original, const file *quantized, const whole *u, const whole *v, result *r, nb_error *err) {
  const nb_calibration_options o = full_options(team);
  nb_calibration *c;
  *r = (result){0};
  nb_status s = start(&o, original, quantized, &c, err);
  for (uint32_t layer = 0; !s && layer < stop; layer++) s = one_layer(c, layer, original, quantized, u, v, r, err);
  if (!s) save(c, r);
  nb_calibration_free(c);
  return s;
}

static void quantized_weights(void) {
  file original = make_file(&FLOATS, 1), quantized = make_file(&INTS, 9);
  whole u, v;
  run_whole(&u, &original, false);
  run_whole(&v, &quantized, false);
  static result first, other;
  nb_error err = {0};
  CHECK_EQ_INT(whole_run(NULL, 3, &original, &quantized, &u, &v, &first, &err), NB_OK);
  for (uint32_t i = 0; i < SAMPLES; i++) {
    CHECK(!memcmp(first.x[NB_STREAM_MAIN] + i * CTX * 64, v.x[i], CTX * 64 * sizeof(float)));
    CHECK(!memcmp(first.x[NB_STREAM_REFERENCE] + i * CTX * 64, u.x[i], CTX * 64 * sizeof(float)));
  }
  double difference = 0, output = 0;
  for (size_t i = 0; i < CTX * 64; i++) {
    const double wanted = (double)u.x[SAMPLES - 1][i], d = (double)v.x[SAMPLES - 1][i] - wanted;
    difference += d * d, output += wanted * wanted;
  }
  CHECK(first.drift.difference == difference && first.drift.output == output && difference > 0);
  CHECK(first.compared.difference > 0 && first.compared.change > 0);
  for (unsigned threads = 1; threads <= 4; threads++) {
    nb_team *team = team_start(threads);
    CHECK_EQ_INT(whole_run(team, 3, &original, &quantized, NULL, NULL, &other, &err), NB_OK);
    CHECK(!memcmp(&other, &first, sizeof other));
    team_end(team);
  }
  free_whole(&u);
  free_whole(&v);
  free_file(&original);
  free_file(&quantized);
}

static void goes_on_from_saved_activations(void) {
  file original = make_file(&FLOATS, 1), quantized = make_file(&INTS, 9);
  static result wanted, saved, got;
  nb_error err = {0};
  CHECK_EQ_INT(whole_run(NULL, 3, &original, &quantized, NULL, NULL, &wanted, &err), NB_OK);
  CHECK_EQ_INT(whole_run(NULL, 1, &original, &quantized, NULL, NULL, &saved, &err), NB_OK);
  const nb_calibration_options o = full_options(NULL);
  nb_calibration *c = nb_calibration_new(original.header, &o, &err);
  nb_status s = place(c, NB_SET_ENDS, &original, "output_norm.weight", &err);
  if (!s) s = place(c, NB_SET_ENDS, &original, "rope_freqs.weight", &err);
  if (!s) s = nb_calibration_bind(c, NB_SET_ENDS, &err);
  for (uint32_t i = 0; i < 2 * SAMPLES; i++)
    memcpy(nb_calibration_activations(c, (nb_stream)(i / SAMPLES), i % SAMPLES), saved.x[i / SAMPLES] + i % SAMPLES * CTX * 64, CTX * 64 * sizeof(float));
  got = saved;
  for (uint32_t layer = 1; !s && layer < 3; layer++) s = one_layer(c, layer, &original, &quantized, NULL, NULL, &got, &err);
  CHECK_EQ_INT(s, NB_OK);
  save(c, &got);
  CHECK(!memcmp(&got, &wanted, sizeof got));
  nb_calibration_free(c);
  free_file(&original);
  free_file(&quantized);
}

static void what_is_not_quantized_stays(void) {
  file original = make_file(&FLOATS, 1), quantized = make_file(&INTS, 9);
  nb_calibration_options o = plain_options();
  nb_error err = {0};
  nb_calibration *c;
  nb_layer_error none = {0}, some = {0}, ints = {0}, floats = {0};
  nb_status s = start(&o, &original, &original, &c, &err);
  if (!s) s = nb_calibration_begin(c, 0, &err);
  if (!s) s = place_layer(c, NB_SET_ORIGINAL, &original, 0, "", &err);
  if (!s) s = place_layer(c, NB_SET_QUANTIZED, &original, 0, "nothing", &err);
  if (!s) s = nb_calibration_compare(c, 0, &none, &err);
  if (!s) s = place_layer(c, NB_SET_QUANTIZED, &quantized, 0, "ffn_down.weight", &err);
  if (!s) s = nb_calibration_compare(c, 0, &some, &err);
  CHECK_EQ_INT(s, NB_OK);
  CHECK(none.difference == 0 && none.output > 0 && some.difference > 0);
  if (!s) s = place_layer(c, NB_SET_QUANTIZED, &quantized, 0, ".weight", &err);
  if (!s) s = nb_calibration_compare(c, 0, &ints, &err);
  nb_calibration_free(c);
  o.float_activations = true;
  if (!s) s = start(&o, &original, &original, &c, &err);
  if (!s) s = nb_calibration_begin(c, 0, &err);
  if (!s) s = place_layer(c, NB_SET_ORIGINAL, &original, 0, "", &err);
  if (!s) s = place_layer(c, NB_SET_QUANTIZED, &quantized, 0, ".weight", &err);
  if (!s) s = nb_calibration_compare(c, 0, &floats, &err);
  CHECK_EQ_INT(s, NB_OK);
  CHECK(floats.difference != ints.difference && floats.output == ints.output);
  nb_calibration_free(c);
  free_file(&original);
  free_file(&quantized);
}

#define REFUSES(call, code, words)                                                          \
  do {                                                                                      \
    err = (nb_error){0};                                                                    \
    CHECK_EQ_INT(call, code);                                                               \
    if (!strstr(err.message, words)) CHECK_FAIL("\"%s\" does not say: %s", err.message, words); \
  } while (0)

static void refuses_what_is_wrong(void) {
  file f = make_file(&FLOATS, 1), other = make_file(&INTS, 2);
  nb_error err = {0};
  nb_calibration_options o = plain_options();
  o.n_samples = 0;
  REFUSES(nb_calibration_new(f.header, &o, &err) == NULL, 1, "0 samples");
  o = plain_options();
  o.n_ctx = 65;
  REFUSES(nb_calibration_new(f.header, &o, &err) == NULL, 1, "longer than the 64");
  o = plain_options();
  o.parts[0] = NB_STATS_CROSS;
  REFUSES(nb_calibration_new(f.header, &o, &err) == NULL, 1, "reference stream");
  o = plain_options();
  nb_calibration *c = nb_calibration_new(f.header, &o, &err);
  uint8_t *to;
  size_t n;
  nb_layer_error e;
  REFUSES(nb_calibration_begin(c, 0, &err), NB_E_ARGUMENT, "ends of the model");
  REFUSES(nb_calibration_bind(c, NB_SET_ENDS, &err), NB_E_FORMAT, "no tensor output_norm.weight");
  REFUSES(nb_calibration_run(c, 0, NB_SET_ORIGINAL, NB_RUN_ADVANCE, &err), NB_E_ARGUMENT, "no layer");
  REFUSES(nb_calibration_place(c, NB_SET_ORIGINAL, "blk.9.attn_q.weight", NB_TYPE_F32, &to, &n, &err), NB_E_ARGUMENT, "no tensor blk.9");
  REFUSES(nb_calibration_place(c, NB_SET_ORIGINAL, "blk.0.attn_q.weight", NB_TYPE_Q4_K, &to, &n, &err), NB_E_ARGUMENT, "rows of 64 numbers");
  REFUSES(nb_calibration_place(c, NB_SET_ORIGINAL, "blk.0.attn_q.weight", (nb_type)16, &to, &n, &err), NB_E_UNSUPPORTED, "type 16");
  nb_calibration_free(c);

  CHECK_EQ_INT(start(&o, &f, &f, &c, &err), NB_OK);
  const uint8_t zeros[64 * 4] = {0};
  REFUSES(nb_calibration_embed(c, 1, NB_TYPE_F32, zeros, 3, 1, &err), NB_E_ARGUMENT, "do not follow");
  REFUSES(nb_calibration_embed(c, 2, NB_TYPE_F32, zeros, 0, 1, &err), NB_E_ARGUMENT, "reference stream");
  REFUSES(nb_calibration_embed(c, 1, NB_TYPE_Q4_K, zeros, 0, 1, &err), NB_E_ARGUMENT, "rows have 64");
  nb_calibration_tokens(c, 1)[2] = 28;
  REFUSES(nb_calibration_embed(c, 1, NB_TYPE_F32, zeros, 0, 1, &err), NB_E_ARGUMENT, "token 28 of sample 1");
  nb_calibration_tokens(c, 1)[2] = 0;
  CHECK_EQ_INT(nb_calibration_embed(c, 1, NB_TYPE_F32, zeros, 0, 1, &err), NB_OK);
  REFUSES(nb_calibration_begin(c, 0, &err), NB_E_ARGUMENT, "rows of the embedding are missing");
  REFUSES(nb_calibration_begin(c, 4, &err), NB_E_ARGUMENT, "no layer 4");
  nb_calibration_free(c);

  CHECK_EQ_INT(start(&o, &f, &f, &c, &err), NB_OK);
  REFUSES(nb_calibration_place(c, NB_SET_ENDS, "output_norm.weight", NB_TYPE_F32, &to, &n, &err), NB_E_ARGUMENT, "too late");
  REFUSES(nb_calibration_bind(c, NB_SET_ORIGINAL, &err), NB_E_ARGUMENT, "no layer was begun");
  CHECK_EQ_INT(nb_calibration_begin(c, 0, &err), NB_OK);
  REFUSES(nb_calibration_run(c, 0, NB_SET_ORIGINAL, NB_RUN_ADVANCE, &err), NB_E_ARGUMENT, "original weights are not bound");
  CHECK_EQ_INT(place(c, NB_SET_ORIGINAL, &f, "blk.1.attn_norm.weight", &err), NB_OK);
  REFUSES(place_layer(c, NB_SET_ORIGINAL, &f, 0, "", &err), NB_E_ARGUMENT, "blk.1.attn_norm.weight does not belong");
  nb_calibration_drop(c, NB_SET_ORIGINAL);
  REFUSES(place_layer(c, NB_SET_ORIGINAL, &f, 0, "ffn", &err), NB_E_FORMAT, "no tensor blk.0.attn_norm.weight");
  CHECK_EQ_INT(place_layer(c, NB_SET_ORIGINAL, &f, 0, "", &err), NB_OK);
  REFUSES(nb_calibration_run(c, SAMPLES, NB_SET_ORIGINAL, NB_RUN_ADVANCE, &err), NB_E_ARGUMENT, "no sample 3");
  REFUSES(nb_calibration_run(c, 0, NB_SET_QUANTIZED, NB_RUN_ADVANCE, &err), NB_E_ARGUMENT, "quantized weights are not bound");
  REFUSES(nb_calibration_run(c, 0, NB_SET_ENDS, NB_RUN_STATS, &err), NB_E_ARGUMENT, "after the last layer");
  REFUSES(nb_calibration_run(c, 0, NB_SET_ORIGINAL, NB_RUN_REFERENCE, &err), NB_E_ARGUMENT, "reference stream is not kept");
  REFUSES(nb_calibration_compare(c, 0, &e, &err), NB_E_ARGUMENT, "quantized weights are not bound");
  REFUSES(nb_calibration_drift(c, 0, &e, &err), NB_E_ARGUMENT, "reference stream is not kept");
  CHECK(nb_calibration_tokens(c, SAMPLES) == NULL && nb_calibration_activations(c, NB_STREAM_REFERENCE, 0) == NULL);
  // A tensor that is placed anew unbinds what was bound to the one before.
  CHECK_EQ_INT(place(c, NB_SET_ORIGINAL, &f, "blk.0.attn_q.weight", &err), NB_OK);
  REFUSES(nb_calibration_run(c, 0, NB_SET_ORIGINAL, NB_RUN_ADVANCE, &err), NB_E_ARGUMENT, "original weights are not bound");
  nb_calibration_free(c);

  o.reference = true;
  o.parts[0] = NB_STATS_CROSS;
  CHECK_EQ_INT(start(&o, &f, &f, &c, &err), NB_OK);
  CHECK_EQ_INT(nb_calibration_begin(c, 0, &err), NB_OK);
  CHECK_EQ_INT(place_layer(c, NB_SET_ORIGINAL, &f, 0, "", &err), NB_OK);
  REFUSES(nb_calibration_run(c, 0, NB_SET_ORIGINAL, NB_RUN_STATS, &err), NB_E_ARGUMENT, "need the reference stream to run");
  nb_calibration_free(c);
  free_file(&f);
  free_file(&other);
}

// Every allocation fails once: it is said, nothing leaks.
static void memory_runs_out(void) {
  file original = make_file(&BIASED, 1);
  const long before = alloc_live;
  long failures = 0;
  for (long at = 0;; at++) {
    static result r;
    nb_error err = {0};
    alloc_reset(at, false);
    nb_calibration_options o = full_options(NULL);
    nb_calibration *c;
    nb_status s = start(&o, &original, &original, &c, &err);
    if (!s) s = one_layer(c, 0, &original, &original, NULL, NULL, &r, &err);
    if (!s) s = nb_calibration_begin(c, 2, &err);
    nb_calibration_free(c);
    CHECK_EQ_INT(alloc_live, before);
    CHECK_EQ_INT(s, alloc_failed ? NB_E_NOMEM : NB_OK);
    if (!alloc_failed) break;
    CHECK(strstr(err.message, "memory"));
    failures++;
  }
  alloc_reset(-1, false);
  CHECK(failures > 40);
  free_file(&original);
}

static void counts_its_bytes(void) {
  file f = make_file(&FLOATS, 1);
  const nb_calibration_options o = plain_options(), more = {.n_samples = SAMPLES, .n_ctx = CTX, .parts = {1, 1, 1, 1, 0}, .reference = true};
  const uint64_t sample = CTX * 64 * sizeof(float);
  CHECK_EQ_U64(nb_calibration_bytes(f.header, &more) - nb_calibration_bytes(f.header, &o), SAMPLES * sample);
  CHECK(nb_calibration_bytes(f.header, &o) > SAMPLES * sample + 2 * (3 * 64 * 64 + 96 * 96));
  free_file(&f);
}

int main(void) {
  original_weights(&TINY_LLAMA, false);
  original_weights(&FLOATS, false);
  original_weights(&FLOATS, true);
  original_weights(&INTS, false);
  original_weights(&BIASED, false);
  original_weights(&NORMED, false);
  quantized_weights();
  goes_on_from_saved_activations();
  what_is_not_quantized_stays();
  refuses_what_is_wrong();
  memory_runs_out();
  counts_its_bytes();
  return check_result();
}
