// What JavaScript calls beside the library's own functions: the same things with numbers and pointers only. Counts that may pass 2^32
// are doubles (exact to 2^53). Every name of the ABI stands in exports.txt.
#define _DEFAULT_SOURCE  // sbrk
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "../src/generate/generation.h"
#include "../src/generate/state.h"
#include "../src/kernels/simd.h"  // NB_SIMD128, NB_RELAXED
#include "../src/model/loader.h"

#define NB_ABI_VERSION 3

#ifndef NB_SIMD128
#error "the modules that ship have SIMD"
#endif

int nbw_abi_version(void) { return NB_ABI_VERSION; }

const char *nbw_variant(void) {
#if defined(NB_RELAXED)
  return "relaxed";
#else
  return "simd128";
#endif
}

// Bytes of memory in use, from its beginning to the top of the heap.
double nbw_memory_used(void) { return (double)(uintptr_t)sbrk(0); }

int nbw_error_bytes(void) { return (int)sizeof(nb_error); }
int nbw_error_status(const nb_error *e) { return e->status; }
const char *nbw_error_message(const nb_error *e) { return e->message; }

// ---- loading ----------------------------------------------------------------------------------------------------------------

double nbw_loader_position(const nb_loader *l) { return (double)nb_loader_position(l); }
double nbw_loader_file_bytes(const nb_loader *l) { return (double)nb_loader_file_bytes(l); }

// ---- what a model is --------------------------------------------------------------------------------------------------------

static const char *const FIELDS[] = {"n_layers", "n_heads", "n_kv_heads", "head_dim", "d_model", "d_ff", "n_vocab", "n_ctx_train", "n_rot",
                                     "rope_base", "rope_scale", "norm_eps", "n_parameters", "weight_bytes", "n_files", "n_tensors", "n_kv"};

const char *nbw_model_field_name(int i) { return i >= 0 && i < (int)(sizeof FIELDS / sizeof *FIELDS) ? FIELDS[i] : NULL; }

double nbw_model_field(const nb_model *m, int i) {
  const nb_config *c = &m->config;
  const double values[] = {c->n_layers, c->n_heads, c->n_kv_heads, c->head_dim, c->d_model, c->d_ff, c->n_vocab, c->n_ctx_train, c->n_rot,
                           c->rope_base, c->rope_scale, c->norm_eps, (double)m->n_parameters, (double)m->weight_bytes, m->n_files,
                           (double)m->n_tensors, (double)nb_gguf_n_kv(m->files[0])};
  _Static_assert(sizeof values / sizeof *values == sizeof FIELDS / sizeof *FIELDS, "a name for every value");
  return values[i];
}

// The architecture's name, or NULL where this version does not run it.
const char *nbw_model_arch(const nb_model *m) { return m->arch ? m->arch->name : NULL; }

// out: key pointer, key length, kind, item kind, count, data pointer, data length
void nbw_model_kv(const nb_model *m, int i, double out[7]) {
  const nb_gguf_kv *kv = nb_gguf_kv_at(m->files[0], (size_t)i);
  const double values[7] = {(double)(uintptr_t)kv->key.data, (double)kv->key.len, kv->kind, kv->item_kind, (double)kv->count,
                            (double)(uintptr_t)kv->data, (double)kv->bytes};
  memcpy(out, values, sizeof values);
}

// out: name pointer, name length, type, number of dimensions, four dimensions, bytes
void nbw_model_tensor(const nb_model *m, int i, double out[9]) {
  const nb_gguf_tensor *t = m->tensors[i].info;
  const double values[9] = {(double)(uintptr_t)t->name.data, (double)t->name.len, t->type, t->n_dims, (double)t->dims[0], (double)t->dims[1],
                            (double)t->dims[2], (double)t->dims[3], (double)t->bytes};
  memcpy(out, values, sizeof values);
}

const char *nbw_type_name(int type) { return nb_type_get((uint32_t)type)->name; }

// ---- tokens -----------------------------------------------------------------------------------------------------------------

nb_tokenizer *nbw_tokenizer_new(const nb_model *m, nb_error *err) {
  nb_tokenizer *t;
  return nb_tokenizer_new(m->files[0], &t, err) ? NULL : t;
}

const char *nbw_token_piece(const nb_tokenizer *t, nb_token id, size_t *len) {
  const nb_str s = nb_tokenizer_piece(t, id);
  *len = s.len;
  return s.data;
}

// Text of n ids; returns the bytes it has, of which at most capacity were written. SIZE_MAX when memory is out.
size_t nbw_detokenize(const nb_tokenizer *t, const nb_token *ids, size_t n, unsigned flags, char *out, size_t capacity) {
  const size_t max = nb_decoder_max(t);
  char *piece = malloc(max);
  if (!piece) return SIZE_MAX;
  nb_decoder d;
  nb_decoder_init(&d, t, flags);
  size_t total = 0;
  for (size_t i = 0; i <= n; i++) {
    const size_t bytes = i < n ? nb_decoder_push(&d, ids[i], piece, max) : nb_decoder_finish(&d, piece, max);
    if (bytes <= capacity && total <= capacity - bytes) memcpy(out + total, piece, bytes);
    total += bytes;
  }
  free(piece);
  return total;
}

// ---- sessions ---------------------------------------------------------------------------------------------------------------

static nb_session_options session_options(int n_ctx, int n_batch, int float_activations) {
  return (nb_session_options){.n_ctx = (uint32_t)n_ctx, .n_batch = (uint32_t)n_batch, .float_activations = float_activations != 0};
}

nb_session *nbw_session_new(const nb_model *m, int n_ctx, int n_batch, int float_activations, nb_team *team, nb_error *err) {
  nb_session_options o = session_options(n_ctx, n_batch, float_activations);
  o.team = team;
  nb_session *s;
  return nb_session_new(m, &o, &s, err) ? NULL : s;
}

int nbw_session_check(const nb_model *m, int n_ctx, int n_batch, nb_error *err) {
  const nb_session_options o = session_options(n_ctx, n_batch, 0);
  return nb_session_check(m, &o, err);
}

double nbw_session_bytes(const nb_model *m, int n_ctx, int n_batch) {
  const nb_session_options o = session_options(n_ctx, n_batch, 0);
  return (double)nb_session_bytes(m, &o);
}

nb_session *nbw_session_clone(const nb_session *s, nb_error *err) {
  nb_session *clone;
  return nb_session_clone(s, &clone, err) ? NULL : clone;
}

double nbw_state_bytes(const nb_session *s, size_t n_note) { return (double)nb_state_bytes(s, n_note); }

void nbw_state_save(nb_session *s, const char *note, size_t n_note, uint8_t *out) { nb_state_save(s, (nb_str){note, n_note}, out); }

// note: pointer, length; state: 64 bytes, which nb_state_restore takes
int nbw_state_check(nb_session *s, const uint8_t *bytes, size_t n, uint32_t note[2], nb_state *state, nb_error *err) {
  _Static_assert(sizeof *state <= 64, "as is promised");
  const nb_status st = nb_state_check(s, bytes, n, state, err);
  if (st) return st;
  note[0] = (uint32_t)(uintptr_t)state->note.data;
  note[1] = (uint32_t)state->note.len;
  return NB_OK;
}

// Evaluates a batch of the waiting tokens in one pass; returns how many still wait.
int nbw_session_eval(nb_session *s) {
  uint32_t left;
  nb_session_eval(s, SIZE_MAX, &left);
  return (int)left;
}

// ---- generation -------------------------------------------------------------------------------------------------------------

// The order of the arguments of nbw_sampler_new, without the seed.
void nbw_sampling_defaults(double out[9]) {
  nb_sampling s;
  nb_sampling_defaults(&s);
  const double values[9] = {s.temperature, s.top_k, s.top_p, s.min_p, s.typical_p, s.repeat_penalty, s.frequency_penalty, s.presence_penalty,
                            s.repeat_last_n};
  memcpy(out, values, sizeof values);
}

nb_sampler *nbw_sampler_new(int n_vocab, float temperature, int top_k, float top_p, float min_p, float typical_p, float repeat_penalty,
                            float frequency_penalty, float presence_penalty, int repeat_last_n, uint32_t seed_low, uint32_t seed_high,
                            const nb_logit_bias *bias, int n_bias, nb_error *err) {
  const nb_sampling o = {.temperature = temperature, .top_k = top_k, .top_p = top_p, .min_p = min_p, .typical_p = typical_p,
                         .repeat_penalty = repeat_penalty, .frequency_penalty = frequency_penalty, .presence_penalty = presence_penalty,
                         .repeat_last_n = repeat_last_n, .seed = (uint64_t)seed_high << 32 | seed_low};
  nb_sampler *s;
  return nb_sampler_new((uint32_t)n_vocab, &o, bias, (size_t)n_bias, &s, err) ? NULL : s;
}

// Takes over the sampler, also on failure.
nb_generation *nbw_generation_new(nb_session *s, const nb_tokenizer *t, nb_sampler *sampler, int max_tokens, int ignore_eog, int show_special,
                                  nb_error *err) {
  nb_generation *g;
  if (nb_generation_new(s, t, sampler, (uint32_t)max_tokens, ignore_eog != 0, show_special != 0, &g, err)) {
    nb_sampler_free(sampler);
    return NULL;
  }
  return g;
}

int nbw_generation_add_stop(nb_generation *g, const char *text, size_t n, nb_error *err) {
  return nb_generation_add_stop(g, (nb_str){text, n}, err);
}

// out: token, text pointer, text length, finish
int nbw_generation_step(nb_generation *g, uint32_t out[4], nb_error *err) {
  nb_step step;
  const nb_status s = nb_generation_step(g, &step, err);
  if (s) return s;
  out[0] = (uint32_t)step.token;
  out[1] = (uint32_t)(uintptr_t)step.text.data;
  out[2] = (uint32_t)step.text.len;
  out[3] = step.finish;
  return NB_OK;
}

int nbw_generation_flush(nb_generation *g, uint32_t out[2], nb_error *err) {
  nb_str text;
  const nb_status s = nb_generation_flush(g, &text, err);
  if (s) return s;
  out[0] = (uint32_t)(uintptr_t)text.data;
  out[1] = (uint32_t)text.len;
  return NB_OK;
}
