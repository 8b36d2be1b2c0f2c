#include "calibrate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SET 64             // tensors of a set; no architecture's layer has a quarter of it
#define MAX_TOKENS (1u << 26)  // of all samples

// A tensor as it was handed in.
typedef struct placed {
  nb_gguf_tensor info;  // the header's, but for type and size
  uint8_t *data;
  nb_layout layout;     // of data: as in the file until it is bound
} placed;

typedef struct tensor_set {
  placed tensors[MAX_SET];
  size_t n;
  nb_loaded_tensor table[MAX_SET];  // what it is bound from, sorted by name; of NB_SET_QUANTIZED with those of NB_SET_ORIGINAL
  size_t n_table;
  nb_layer layer;
  bool bound;
} tensor_set;

struct nb_calibration {
  const nb_model *header;
  nb_calibration_options o;
  nb_model model;           // the header's configuration with one layer: what the pass works with
  nb_kvcache cache;         // of one layer
  nb_pass pass;
  bool ready;               // the ends are bound, the pass has its memory
  uint32_t layer;
  bool begun;
  tensor_set sets[NB_SETS];
  int32_t *tokens;          // [n_samples, n_ctx]
  float **x[NB_STREAMS];    // [n_samples] of [n_ctx, d_model]
  size_t embedded[NB_STREAMS];  // rows of the embedding that were given
  nb_stats stats[NB_SITES];
  float *inputs[NB_SITES];  // [n_ctx, cols] of the reference stream, for sites with NB_STATS_CROSS
  float *wanted;            // [n_ctx, d_model] of nb_calibration_compare

  // the run under way, for the tap
  tensor_set *set;
  bool recording;           // the reference stream's inputs
  bool skip_down;           // the layer's output is not needed
};

// ---- sizes --------------------------------------------------------------------------------------------------------------------

static size_t site_cols(const nb_config *c, nb_site site) {
  return site == NB_SITE_ATTN_OUTPUT ? (size_t)c->n_heads * c->head_dim : site == NB_SITE_DOWN ? c->d_ff : c->d_model;
}

static nb_model one_layer(const nb_model *header) {
  nb_model m = {.arch = header->arch, .config = header->config};
  m.config.n_layers = 1;
  return m;
}

uint64_t nb_calibration_bytes(const nb_model *header, const nb_calibration_options *o) {
  const nb_model m = one_layer(header);
  const nb_config *c = &m.config;
  const uint64_t sample = (uint64_t)o->n_ctx * c->d_model * sizeof(float);
  uint64_t sum = (uint64_t)o->n_samples * (sample * (o->reference ? 2 : 1) + o->n_ctx * sizeof(int32_t)) + sample;
  sum += nb_kvcache_bytes(c, o->n_ctx) + nb_pass_bytes(&m, o->n_ctx, o->n_ctx, nb_team_size(o->team));
  for (int site = 0; site < NB_SITE_HEAD; site++) {  // those of the head come when these are gone, and are not larger
    const size_t cols = site_cols(c, (nb_site)site);
    sum += nb_stats_bytes(cols, o->parts[site]);
    if (o->parts[site] & NB_STATS_CROSS) sum += (uint64_t)o->n_ctx * cols * sizeof(float);
  }
  return sum;
}

// ---- life ---------------------------------------------------------------------------------------------------------------------

static void *zeros(uint64_t count, size_t size) {
  size_t bytes;
  return nb_to_size(count * size, &bytes) ? calloc(bytes ? bytes : 1, 1) : NULL;
}

static nb_status check_options(const nb_model *header, const nb_calibration_options *o, nb_error *err) {
  if (!header->arch) return nb_fail(err, NB_E_UNSUPPORTED, "only models that run here can be calibrated; this version runs %s", nb_arch_names());
  if (!header->config.n_vocab) return nb_fail(err, NB_E_FORMAT, "the model has no tensor token_embd.weight");
  if (o->n_samples < 1 || o->n_ctx < 1 || (uint64_t)o->n_samples * o->n_ctx > MAX_TOKENS)
    return nb_fail(err, NB_E_ARGUMENT, "%u samples of %u tokens: there must be at least one of each, and at most %u tokens in all", (unsigned)o->n_samples,
                   (unsigned)o->n_ctx, MAX_TOKENS);
  if (o->n_ctx > header->config.n_ctx_train)
    return nb_fail(err, NB_E_CONTEXT, "samples of %u tokens are longer than the %u that the model was trained on; make them shorter", (unsigned)o->n_ctx,
                   (unsigned)header->config.n_ctx_train);
  for (int site = 0; site < NB_SITES; site++)
    if (o->parts[site] & NB_STATS_CROSS && (!o->reference || site == NB_SITE_HEAD))
      return nb_fail(err, NB_E_ARGUMENT, "differences from the original model need the reference stream, and a layer");
  return NB_OK;
}

nb_calibration *nb_calibration_new(const nb_model *header, const nb_calibration_options *o, nb_error *err) {
  if (check_options(header, o, err)) return NULL;
  nb_calibration *c = calloc(1, sizeof *c);
  if (!c) {
    nb_fail_nomem(err, "the calibration", sizeof *c);
    return NULL;
  }
  c->header = header;
  c->o = *o;
  c->model = one_layer(header);
  const nb_config *config = &c->model.config;
  c->tokens = zeros((uint64_t)o->n_samples * o->n_ctx, sizeof *c->tokens);
  bool ok = c->tokens != NULL;
  for (int stream = 0; ok && stream < (o->reference ? NB_STREAMS : 1); stream++) {
    ok = (c->x[stream] = zeros(o->n_samples, sizeof *c->x[stream])) != NULL;
    for (uint32_t i = 0; ok && i < o->n_samples; i++) ok = (c->x[stream][i] = zeros((uint64_t)o->n_ctx * config->d_model, sizeof(float))) != NULL;
  }
  for (int site = 0; ok && site < NB_SITES; site++)
    if (o->parts[site] & NB_STATS_CROSS) ok = (c->inputs[site] = zeros((uint64_t)o->n_ctx * site_cols(config, (nb_site)site), sizeof(float))) != NULL;
  ok = ok && (c->wanted = zeros((uint64_t)o->n_ctx * config->d_model, sizeof(float)));
  if (ok) return c;
  nb_calibration_free(c);
  nb_fail(err, NB_E_NOMEM, "not enough memory for the activations of %u samples of %u tokens (%llu bytes); take fewer samples", (unsigned)o->n_samples,
          (unsigned)o->n_ctx, (unsigned long long)nb_calibration_bytes(header, o));
  return NULL;
}

static void unbind(tensor_set *s) {
  for (size_t i = 0; i < s->n_table; i++) free(s->table[i].as_floats);
  s->n_table = 0;
  s->layer = (nb_layer){0};
  s->bound = false;
}

void nb_calibration_drop(nb_calibration *c, nb_set set) {
  tensor_set *s = &c->sets[set];
  if (set == NB_SET_ORIGINAL) unbind(&c->sets[NB_SET_QUANTIZED]);  // which may have tensors of it
  unbind(s);
  for (size_t i = 0; i < s->n; i++) free(s->tensors[i].data);
  s->n = 0;
}

void nb_calibration_free(nb_calibration *c) {
  if (!c) return;
  for (int set = 0; set < NB_SETS; set++) nb_calibration_drop(c, (nb_set)set);
  for (int stream = 0; stream < NB_STREAMS; stream++) {
    for (uint32_t i = 0; c->x[stream] && i < c->o.n_samples; i++) free(c->x[stream][i]);
    free(c->x[stream]);
  }
  for (int site = 0; site < NB_SITES; site++) {
    nb_stats_free(&c->stats[site]);
    free(c->inputs[site]);
  }
  if (c->ready) nb_pass_free(&c->pass);
  nb_kvcache_free(&c->cache);
  free(c->tokens);
  free(c->wanted);
  free(c);
}

int32_t *nb_calibration_tokens(nb_calibration *c, uint32_t sample) { return sample < c->o.n_samples ? c->tokens + (size_t)sample * c->o.n_ctx : NULL; }

float *nb_calibration_activations(nb_calibration *c, nb_stream stream, uint32_t sample) {
  return c->x[stream] && sample < c->o.n_samples ? c->x[stream][sample] : NULL;
}

// ---- weights ------------------------------------------------------------------------------------------------------------------

static int printable(nb_str s) { return (int)(s.len < 80 ? s.len : 80); }

static const nb_gguf_tensor *in_header(const nb_model *header, nb_str name) {
  for (size_t i = 0; i < header->n_tensors; i++)
    if (nb_str_eq(header->tensors[i].info->name, name)) return header->tensors[i].info;
  return NULL;
}

static placed *find_placed(tensor_set *s, nb_str name) {
  for (size_t i = 0; i < s->n; i++)
    if (nb_str_eq(s->tensors[i].info.name, name)) return &s->tensors[i];
  return NULL;
}

nb_status nb_calibration_place(nb_calibration *c, nb_set set, const char *name, nb_type type, uint8_t **data, size_t *bytes, nb_error *err) {
  tensor_set *s = &c->sets[set];
  const nb_str wanted = nb_str_of(name);
  const nb_gguf_tensor *known = in_header(c->header, wanted);
  if (!known) return nb_fail(err, NB_E_ARGUMENT, "the model has no tensor %.*s", printable(wanted), name);
  if (set == NB_SET_ENDS && c->ready) return nb_fail(err, NB_E_ARGUMENT, "tensor %.*s comes too late: the calibration has begun", printable(wanted), name);
  const nb_type_info *info = nb_type_get(type);
  if (!info->block_size) return nb_fail(err, NB_E_UNSUPPORTED, "tensor %.*s: type %u does not run here", printable(wanted), name, (unsigned)type);
  if (known->dims[0] % info->block_size)
    return nb_fail(err, NB_E_ARGUMENT, "tensor %.*s: rows of %llu numbers are no whole blocks of %u, which %s needs", printable(wanted), name,
                   (unsigned long long)known->dims[0], (unsigned)info->block_size, info->name);
  nb_gguf_tensor t = *known;
  t.type = type;
  t.bytes = known->dims[0] / info->block_size * info->block_bytes;  // of a row: the header's reader has checked that they can be counted
  uint64_t rows;
  if (!nb_mul_u64(known->dims[1], known->dims[2], &rows) || !nb_mul_u64(rows, known->dims[3], &rows) || !nb_mul_u64(t.bytes, rows, &t.bytes) ||
      !nb_to_size(t.bytes, bytes))
    return nb_fail_nomem(err, "a tensor", t.bytes);
  placed *to = find_placed(s, wanted);
  if (!to && s->n == MAX_SET) return nb_fail(err, NB_E_ARGUMENT, "more than %d tensors for one layer", MAX_SET);
  unbind(s);
  if (set == NB_SET_ORIGINAL) unbind(&c->sets[NB_SET_QUANTIZED]);
  uint8_t *memory = malloc(*bytes ? *bytes : 1);
  if (!memory) return nb_fail_nomem(err, "a tensor", t.bytes);
  if (to) free(to->data);
  else to = &s->tensors[s->n++];
  *to = (placed){.info = t, .data = memory, .layout = NB_LAYOUT_ROWS};
  *data = memory;
  return NB_OK;
}

// Rearranges the groups of rows as the loader does; where the layout cannot hold their numbers they stay as they were.
static nb_status pack(placed *p, nb_error *err) {
  if (p->info.n_dims != 2 || p->layout != NB_LAYOUT_ROWS) return NB_OK;
  const size_t rows = (size_t)p->info.dims[1];
  const nb_layout layout = nb_pack_layout(p->info.type, rows, (size_t)p->info.dims[0]);
  if (layout == NB_LAYOUT_ROWS) return NB_OK;
  const size_t row_bytes = (size_t)(p->info.bytes / rows), group = nb_pack_group_rows(layout);
  uint8_t *scratch = malloc(group * row_bytes);
  if (!scratch) return nb_fail_nomem(err, "rearranging weights", group * row_bytes);
  size_t r = 0;
  bool fits = true;
  while (fits && r + group <= rows) {
    fits = nb_pack_group(p->info.type, layout, row_bytes, p->data + r * row_bytes, scratch);
    if (fits) r += group;
  }
  for (; !fits && r > 0; r -= group) nb_unpack_group(p->info.type, layout, row_bytes, p->data + (r - group) * row_bytes, scratch);
  free(scratch);
  if (fits) p->layout = layout;
  return NB_OK;
}

static nb_status pack_all(tensor_set *s, nb_error *err) {
  nb_status status = NB_OK;
  for (size_t i = 0; i < s->n && !status; i++) status = pack(&s->tensors[i], err);
  return status;
}

static void list(tensor_set *s, const placed *p) { s->table[s->n_table++] = (nb_loaded_tensor){.info = &p->info, .data = p->data, .layout = p->layout}; }

// The pass is made when the rope factors are known.
static nb_status bind_ends(nb_calibration *c, nb_binder *b) {
  nb_weights *w = &c->model.weights;
  nb_bind_vector(b, -1, "output_norm.weight", c->model.config.d_model, NB_BIND_REQUIRED, &w->output_norm);
  nb_bind_vector(b, -1, "rope_freqs.weight", c->model.config.n_rot / 2, NB_BIND_OPTIONAL, &w->rope_factors);
  if (b->status) return b->status;
  if (!w->rope_factors && in_header(c->header, NB_STR("rope_freqs.weight"))) return nb_fail(b->err, NB_E_ARGUMENT, "tensor rope_freqs.weight is missing");
  for (uint32_t i = 0; w->rope_factors && i < c->model.config.n_rot / 2; i++)
    if (!(w->rope_factors[i] >= 1e-6f && w->rope_factors[i] <= 1e6f))
      return nb_fail(b->err, NB_E_FORMAT, "rope_freqs.weight: factor %u is %g, outside 1e-6..1e6", (unsigned)i, (double)w->rope_factors[i]);
  if (c->ready) return NB_OK;
  nb_status s = nb_kvcache_init(&c->cache, &c->model.config, c->o.n_ctx, b->err);
  if (s) return s;
  if ((s = nb_pass_init(&c->pass, &c->model, &c->cache, c->o.n_ctx, c->o.team, false, b->err))) {
    nb_kvcache_free(&c->cache);
    return s;
  }
  nb_pass_begin(&c->pass, c->o.n_ctx, 0);
  c->ready = true;
  return NB_OK;
}

nb_status nb_calibration_bind(nb_calibration *c, nb_set set, nb_error *err) {
  tensor_set *s = &c->sets[set], *original = &c->sets[NB_SET_ORIGINAL];
  if (s->bound) return NB_OK;
  if (set != NB_SET_ENDS && !(c->begun && c->layer < c->header->config.n_layers)) return nb_fail(err, NB_E_ARGUMENT, "no layer was begun");
  unbind(s);
  nb_status status = pack_all(s, err);
  if (!status && set == NB_SET_QUANTIZED) status = pack_all(original, err);
  if (status) return status;
  for (size_t i = 0; i < s->n; i++) list(s, &s->tensors[i]);
  for (size_t i = 0; set == NB_SET_QUANTIZED && i < original->n; i++) {
    if (find_placed(s, original->tensors[i].info.name)) continue;
    if (s->n_table == MAX_SET) return nb_fail(err, NB_E_ARGUMENT, "more than %d tensors for one layer", MAX_SET);
    list(s, &original->tensors[i]);
  }
  nb_sort_tensors(s->table, s->n_table);
  nb_binder b = {.config = &c->model.config, .tensors = s->table, .n_tensors = s->n_table, .err = err};
  if (set == NB_SET_ENDS) {
    status = bind_ends(c, &b);
  } else {
    c->model.arch->bind(&b, (int)c->layer, &s->layer);
    status = b.status;
  }
  for (size_t i = 0; !status && i < s->n_table; i++) {
    const nb_str name = s->table[i].info->name;
    if (!s->table[i].used) status = nb_fail(err, NB_E_ARGUMENT, "tensor %.*s does not belong to this layer", printable(name), name.data);
  }
  if (status) unbind(s);
  else s->bound = true;
  return status;
}

// ---- running ------------------------------------------------------------------------------------------------------------------

nb_status nb_calibration_embed(nb_calibration *c, unsigned streams, nb_type type, const uint8_t *rows, size_t row0, size_t n, nb_error *err) {
  const nb_config *config = &c->model.config;
  const nb_type_info *info = nb_type_get(type);
  if (!info->block_size || config->d_model % info->block_size)
    return nb_fail(err, NB_E_ARGUMENT, "the embedding cannot be of type %u: rows have %u numbers", (unsigned)type, (unsigned)config->d_model);
  const nb_matrix m = {.data = rows, .type = type, .layout = NB_LAYOUT_ROWS, .rows = n, .cols = config->d_model,
                       .row_bytes = (size_t)config->d_model / info->block_size * info->block_bytes};
  for (int stream = 0; stream < NB_STREAMS; stream++) {
    if (!(streams >> stream & 1)) continue;
    if (!c->x[stream]) return nb_fail(err, NB_E_ARGUMENT, "the reference stream is not kept");
    if ((row0 && row0 != c->embedded[stream]) || n > config->n_vocab - row0)
      return nb_fail(err, NB_E_ARGUMENT, "rows %zu to %zu of the embedding do not follow those before them", row0, row0 + n);
  }
  for (uint32_t i = 0; i < c->o.n_samples; i++) {
    for (uint32_t t = 0; t < c->o.n_ctx; t++) {
      const int32_t token = c->tokens[(size_t)i * c->o.n_ctx + t];
      if (token < 0 || (uint32_t)token >= config->n_vocab)
        return nb_fail(err, NB_E_ARGUMENT, "token %d of sample %u is not one of the %u that the model has", (int)token, (unsigned)i, (unsigned)config->n_vocab);
      if ((size_t)token < row0 || (size_t)token - row0 >= n) continue;
      for (int stream = 0; stream < NB_STREAMS; stream++)
        if (streams >> stream & 1) nb_dequantize_row(&m, (size_t)token - row0, c->x[stream][i] + (size_t)t * config->d_model);
    }
  }
  for (int stream = 0; stream < NB_STREAMS; stream++)
    if (streams >> stream & 1) c->embedded[stream] = row0 + n;
  return NB_OK;
}

nb_status nb_calibration_begin(nb_calibration *c, uint32_t layer, nb_error *err) {
  const uint32_t n_layers = c->header->config.n_layers;
  if (!c->ready) return nb_fail(err, NB_E_ARGUMENT, "the ends of the model are not bound");
  if (layer > n_layers) return nb_fail(err, NB_E_ARGUMENT, "there is no layer %u, the model has %u", (unsigned)layer, (unsigned)n_layers);
  for (int stream = 0; layer == 0 && stream < NB_STREAMS; stream++)
    if (c->x[stream] && c->embedded[stream] != c->model.config.n_vocab) return nb_fail(err, NB_E_ARGUMENT, "rows of the embedding are missing");
  nb_calibration_drop(c, NB_SET_ORIGINAL);
  nb_calibration_drop(c, NB_SET_QUANTIZED);
  c->begun = false;
  const bool head = layer == n_layers;
  for (int site = 0; site < NB_SITES; site++) {
    nb_stats *s = &c->stats[site];
    if ((site == NB_SITE_HEAD) != head) nb_stats_free(s);
    else if (s->sum) nb_stats_clear(s);
  }
  for (int site = 0; site < NB_SITES; site++) {
    nb_stats *s = &c->stats[site];
    if ((site == NB_SITE_HEAD) != head || s->sum) continue;
    const nb_status status = nb_stats_init(s, site_cols(&c->model.config, (nb_site)site), c->o.parts[site], err);
    if (status) return status;
  }
  c->layer = layer;
  c->begun = true;
  return NB_OK;
}

// NB_SITE_HEAD: a matrix whose input was seen with another one.
static nb_site site_of(const nb_layer *l, const nb_matrix *w) {
  return w == &l->q ? NB_SITE_QKV : w == &l->attn_output ? NB_SITE_ATTN_OUTPUT : w == &l->gate ? NB_SITE_GATE_UP : w == &l->down ? NB_SITE_DOWN : NB_SITE_HEAD;
}

static bool tap(void *arg, const nb_matrix *w, const float *x, size_t n, size_t cols) {
  nb_calibration *c = arg;
  const nb_site site = site_of(&c->set->layer, w);
  if (site == NB_SITE_HEAD) return true;
  assert(cols == site_cols(&c->model.config, site));
  if (!c->recording) nb_stats_add(&c->stats[site], x, c->inputs[site], n, c->o.team);
  else if (c->inputs[site]) memcpy(c->inputs[site], x, n * cols * sizeof *x);
  return site != NB_SITE_DOWN || !c->skip_down;
}

static size_t sample_floats(const nb_calibration *c) { return (size_t)c->o.n_ctx * c->model.config.d_model; }

// x through the layer; the output is in pass.x.
static void compute(nb_calibration *c, nb_set set, const float *x, nb_tap_fn *see) {
  nb_pass *p = &c->pass;
  memcpy(p->x, x, sample_floats(c) * sizeof *x);
  c->set = &c->sets[set];
  p->tap = see;
  p->tap_arg = c;
  p->layer = 0;
  p->float_activations = set == NB_SET_QUANTIZED && c->o.float_activations;
  c->model.arch->layer(p, &c->set->layer);
}

static nb_status check_sample(const nb_calibration *c, uint32_t sample, nb_error *err) {
  if (!c->begun) return nb_fail(err, NB_E_ARGUMENT, "no layer was begun");
  if (sample >= c->o.n_samples) return nb_fail(err, NB_E_ARGUMENT, "there is no sample %u, only %u", (unsigned)sample, (unsigned)c->o.n_samples);
  return NB_OK;
}

static nb_status check_bound(const nb_calibration *c, nb_set set, nb_error *err) {
  if (c->sets[set].bound && c->layer < c->header->config.n_layers && set != NB_SET_ENDS) return NB_OK;
  return nb_fail(err, NB_E_ARGUMENT, "the layer's %s weights are not bound", set == NB_SET_QUANTIZED ? "quantized" : "original");
}

nb_status nb_calibration_run(nb_calibration *c, uint32_t sample, nb_set set, unsigned flags, nb_error *err) {
  nb_status s = check_sample(c, sample, err);
  if (s) return s;
  float *x = c->x[NB_STREAM_MAIN][sample], *reference = c->x[NB_STREAM_REFERENCE] ? c->x[NB_STREAM_REFERENCE][sample] : NULL;
  if (set == NB_SET_ENDS) {
    if (c->layer != c->header->config.n_layers) return nb_fail(err, NB_E_ARGUMENT, "the head comes after the last layer");
    memcpy(c->pass.x, x, sample_floats(c) * sizeof *x);
    nb_pass_norm(&c->pass, c->model.weights.output_norm);
    if (flags & NB_RUN_STATS) nb_stats_add(&c->stats[NB_SITE_HEAD], c->pass.xn, NULL, c->o.n_ctx, c->o.team);
    return NB_OK;
  }
  bool cross = false;
  for (int site = 0; site < NB_SITES; site++) cross = cross || c->inputs[site];
  if ((s = check_bound(c, set, err))) return s;
  if (flags & NB_RUN_REFERENCE) {
    if (!reference) return nb_fail(err, NB_E_ARGUMENT, "the reference stream is not kept");
    if ((s = check_bound(c, NB_SET_ORIGINAL, err))) return s;
    c->recording = true;
    c->skip_down = false;
    compute(c, NB_SET_ORIGINAL, reference, cross ? tap : NULL);
    c->recording = false;
    memcpy(reference, c->pass.x, sample_floats(c) * sizeof *x);
  } else if (cross && flags & NB_RUN_STATS) {
    return nb_fail(err, NB_E_ARGUMENT, "differences from the original model need the reference stream to run, too");
  }
  if (!(flags & (NB_RUN_STATS | NB_RUN_ADVANCE))) return NB_OK;
  c->skip_down = !(flags & NB_RUN_ADVANCE);
  compute(c, set, x, flags & NB_RUN_STATS ? tap : NULL);
  if (flags & NB_RUN_ADVANCE) memcpy(x, c->pass.x, sample_floats(c) * sizeof *x);
  return NB_OK;
}

void nb_calibration_finish(nb_calibration *c) {
  for (int site = 0; site < NB_SITES; site++)
    if (c->stats[site].sum) nb_stats_finish(&c->stats[site], c->o.team);
}

const nb_stats *nb_calibration_stats(const nb_calibration *c, nb_site site) { return c->stats[site].sum ? &c->stats[site] : NULL; }

// ---- errors -------------------------------------------------------------------------------------------------------------------

static void measure(nb_layer_error *e, const float *y, const float *wanted, const float *x, size_t n) {
  *e = (nb_layer_error){0};
  for (size_t i = 0; i < n; i++) {
    const double difference = (double)y[i] - (double)wanted[i], change = (double)wanted[i] - (double)x[i];
    e->difference += difference * difference;
    e->output += (double)wanted[i] * (double)wanted[i];
    e->change += change * change;
  }
}

nb_status nb_calibration_compare(nb_calibration *c, uint32_t sample, nb_layer_error *e, nb_error *err) {
  nb_status s = check_sample(c, sample, err);
  if (!s) s = check_bound(c, NB_SET_ORIGINAL, err);
  if (!s) s = check_bound(c, NB_SET_QUANTIZED, err);
  if (s) return s;
  const float *x = c->x[NB_STREAM_MAIN][sample];
  compute(c, NB_SET_ORIGINAL, x, NULL);
  memcpy(c->wanted, c->pass.x, sample_floats(c) * sizeof *x);
  compute(c, NB_SET_QUANTIZED, x, NULL);
  measure(e, c->pass.x, c->wanted, x, sample_floats(c));
  return NB_OK;
}

nb_status nb_calibration_drift(nb_calibration *c, uint32_t sample, nb_layer_error *e, nb_error *err) {
  const nb_status s = check_sample(c, sample, err);
  if (s) return s;
  if (!c->x[NB_STREAM_REFERENCE]) return nb_fail(err, NB_E_ARGUMENT, "the reference stream is not kept");
  const float *wanted = c->x[NB_STREAM_REFERENCE][sample];
  measure(e, c->x[NB_STREAM_MAIN][sample], wanted, wanted, sample_floats(c));
  return NB_OK;
}
