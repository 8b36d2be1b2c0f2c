#include "config.h"

#include <math.h>
#include <stdio.h>

#define MAX_KEY 128

nb_str nb_config_key(const nb_gguf *g, const char *suffix, char *buffer, size_t capacity) {
  nb_str arch = {"", 0};
  bool found;
  nb_gguf_get_str(g, NB_STR("general.architecture"), &arch, &found, NULL);
  int n = snprintf(buffer, capacity, "%.*s.%s", (int)(arch.len < 64 ? arch.len : 64), arch.data, suffix);
  return (nb_str){buffer, n < 0 ? 0 : (size_t)n < capacity ? (size_t)n : capacity - 1};
}

typedef struct reader {
  const nb_gguf *g;
  nb_error *err;
} reader;

enum { REQUIRED = 0, OPTIONAL = 1 };

// One u32 with its range; an optional one keeps its value where the key is missing.
static nb_status read_u32(reader r, const char *suffix, int optional, uint32_t lo, uint32_t hi, uint32_t *out) {
  char buffer[MAX_KEY];
  nb_str key = nb_config_key(r.g, suffix, buffer, sizeof buffer);
  bool found = false;
  nb_status s = nb_gguf_get_u32(r.g, key, out, &found, r.err);
  if (s) return s;
  if (!found && !optional) return nb_fail(r.err, NB_E_FORMAT, "the model has no %s in its metadata", buffer);
  if (found && (*out < lo || *out > hi))
    return nb_fail(r.err, NB_E_FORMAT, "%s is %u, outside %u..%u", buffer, (unsigned)*out, (unsigned)lo, (unsigned)hi);
  return NB_OK;
}

static nb_status read_f32(reader r, const char *suffix, int optional, float lo, float hi, float *out) {
  char buffer[MAX_KEY];
  nb_str key = nb_config_key(r.g, suffix, buffer, sizeof buffer);
  bool found = false;
  nb_status s = nb_gguf_get_f32(r.g, key, out, &found, r.err);
  if (s) return s;
  if (!found && !optional) return nb_fail(r.err, NB_E_FORMAT, "the model has no %s in its metadata", buffer);
  if (found && !(*out >= lo && *out <= hi))  // also refuses NaN
    return nb_fail(r.err, NB_E_FORMAT, "%s is %g, outside %g..%g", buffer, (double)*out, (double)lo, (double)hi);
  return NB_OK;
}

static nb_status read_rope_scaling(nb_config *c, reader r) {
  char buffer[MAX_KEY];
  nb_str kind = NB_STR("none"), key = nb_config_key(r.g, "rope.scaling.type", buffer, sizeof buffer);
  bool found = false;
  nb_status s = nb_gguf_get_str(r.g, key, &kind, &found, r.err);
  if (s) return s;
  c->rope_scale = 1;
  float factor = 1;
  if (!found) {  // a factor without a type means linear; the second name is of files from before the type existed
    if ((s = read_f32(r, "rope.scale_linear", OPTIONAL, 1e-3f, 1e6f, &factor))) return s;
    if ((s = read_f32(r, "rope.scaling.factor", OPTIONAL, 1e-3f, 1e6f, &factor))) return s;
  } else if (nb_str_eq(kind, NB_STR("linear"))) {
    if ((s = read_f32(r, "rope.scaling.factor", REQUIRED, 1e-3f, 1e6f, &factor))) return s;
  } else if (!nb_str_eq(kind, NB_STR("none"))) {
    return nb_fail(r.err, NB_E_UNSUPPORTED, "%s is '%.*s'; this version runs none and linear", buffer, (int)(kind.len < 40 ? kind.len : 40),
                   kind.data);
  }
  c->rope_scale = 1 / factor;
  return NB_OK;
}

nb_status nb_config_read(nb_config *c, const nb_gguf *g, nb_error *err) {
  reader r = {g, err};
  nb_status s;
  memset(c, 0, sizeof *c);
  c->rope_base = 10000;
  if ((s = read_u32(r, "block_count", REQUIRED, 1, 1024, &c->n_layers))) return s;
  if ((s = read_u32(r, "embedding_length", REQUIRED, 1, 1 << 16, &c->d_model))) return s;
  if ((s = read_u32(r, "feed_forward_length", REQUIRED, 1, 1 << 20, &c->d_ff))) return s;
  if ((s = read_u32(r, "attention.head_count", REQUIRED, 1, 1024, &c->n_heads))) return s;
  c->n_kv_heads = c->n_heads;
  if ((s = read_u32(r, "attention.head_count_kv", OPTIONAL, 1, 1024, &c->n_kv_heads))) return s;
  if (c->n_heads % c->n_kv_heads)
    return nb_fail(err, NB_E_FORMAT, "attention.head_count %u is not a multiple of attention.head_count_kv %u", (unsigned)c->n_heads,
                   (unsigned)c->n_kv_heads);
  c->head_dim = c->d_model / c->n_heads;
  if ((s = read_u32(r, "attention.key_length", OPTIONAL, 2, 1024, &c->head_dim))) return s;
  if (c->head_dim < 2 || c->head_dim > 1024)
    return nb_fail(err, NB_E_FORMAT, "the head dimension %u is outside 2..1024", (unsigned)c->head_dim);
  uint32_t value_dim = c->head_dim;
  if ((s = read_u32(r, "attention.value_length", OPTIONAL, 2, 1024, &value_dim))) return s;
  if (value_dim != c->head_dim)
    return nb_fail(err, NB_E_UNSUPPORTED, "attention.value_length %u differs from attention.key_length %u", (unsigned)value_dim,
                   (unsigned)c->head_dim);
  c->n_rot = c->head_dim & ~1u;
  if ((s = read_u32(r, "rope.dimension_count", OPTIONAL, 2, c->head_dim, &c->n_rot))) return s;
  if (c->n_rot % 2) return nb_fail(err, NB_E_FORMAT, "rope.dimension_count %u is odd", (unsigned)c->n_rot);
  if ((s = read_u32(r, "context_length", REQUIRED, 1, 1u << 30, &c->n_ctx_train))) return s;
  if ((s = read_f32(r, "rope.freq_base", OPTIONAL, 1e-3f, 1e12f, &c->rope_base))) return s;
  if ((s = read_f32(r, "attention.layer_norm_rms_epsilon", REQUIRED, 1e-12f, 1e-1f, &c->norm_eps))) return s;
  uint32_t n_experts = 0;
  if ((s = read_u32(r, "expert_count", OPTIONAL, 0, 4096, &n_experts))) return s;
  if (n_experts)
    return nb_fail(err, NB_E_UNSUPPORTED, "the model is a mixture of %u experts; this version runs dense models only", (unsigned)n_experts);
  return read_rope_scaling(c, r);
}
