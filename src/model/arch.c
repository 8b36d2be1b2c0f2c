#include "arch.h"

static const nb_arch *const ARCHS[] = {&nb_arch_llama, &nb_arch_qwen2, &nb_arch_qwen3};

const nb_arch *nb_arch_find(nb_str name) {
  for (size_t i = 0; i < sizeof ARCHS / sizeof *ARCHS; i++)
    if (nb_str_eq(name, nb_str_of(ARCHS[i]->name))) return ARCHS[i];
  return NULL;
}

const char *nb_arch_names(void) { return "llama, qwen2, qwen3"; }

void nb_bind_attention(nb_binder *b, int i, nb_layer *l) {
  const nb_config *c = b->config;
  const uint64_t d = c->d_model, q = (uint64_t)c->n_heads * c->head_dim, kv = (uint64_t)c->n_kv_heads * c->head_dim;
  nb_bind_vector(b, i, "attn_norm.weight", d, NB_BIND_REQUIRED, &l->attn_norm);
  nb_bind_matrix(b, i, "attn_q.weight", q, d, NB_BIND_REQUIRED, &l->q);
  nb_bind_matrix(b, i, "attn_k.weight", kv, d, NB_BIND_REQUIRED, &l->k);
  nb_bind_matrix(b, i, "attn_v.weight", kv, d, NB_BIND_REQUIRED, &l->v);
  nb_bind_matrix(b, i, "attn_output.weight", d, q, NB_BIND_REQUIRED, &l->attn_output);
  nb_bind_vector(b, i, "attn_q.bias", q, NB_BIND_OPTIONAL, &l->q_bias);
  nb_bind_vector(b, i, "attn_k.bias", kv, NB_BIND_OPTIONAL, &l->k_bias);
  nb_bind_vector(b, i, "attn_v.bias", kv, NB_BIND_OPTIONAL, &l->v_bias);
  nb_bind_vector(b, i, "attn_output.bias", d, NB_BIND_OPTIONAL, &l->attn_output_bias);
}

void nb_bind_ffn(nb_binder *b, int i, nb_layer *l) {
  const uint64_t d = b->config->d_model, ff = b->config->d_ff;
  nb_bind_vector(b, i, "ffn_norm.weight", d, NB_BIND_REQUIRED, &l->ffn_norm);
  nb_bind_matrix(b, i, "ffn_gate.weight", ff, d, NB_BIND_REQUIRED, &l->gate);
  nb_bind_matrix(b, i, "ffn_up.weight", ff, d, NB_BIND_REQUIRED, &l->up);
  nb_bind_matrix(b, i, "ffn_down.weight", d, ff, NB_BIND_REQUIRED, &l->down);
}

void nb_bind_common(nb_binder *b, nb_weights *w) {
  const uint64_t d = b->config->d_model, v = b->config->n_vocab;
  nb_bind_matrix(b, -1, "token_embd.weight", v, d, NB_BIND_REQUIRED, &w->embedding);
  nb_bind_vector(b, -1, "output_norm.weight", d, NB_BIND_REQUIRED, &w->output_norm);
  nb_bind_vector(b, -1, "rope_freqs.weight", b->config->n_rot / 2, NB_BIND_OPTIONAL, &w->rope_factors);
  nb_bind_matrix(b, -1, "output.weight", v, d, NB_BIND_OPTIONAL, &w->head);
  if (!w->head.data) w->head = w->embedding;  // tied
}
