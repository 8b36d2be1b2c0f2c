// Qwen3: every head of q and k is normed before it is rotated.
#include "arch.h"
#include "forward.h"

static void bind(nb_binder *b, int i, nb_layer *l) {
  nb_bind_attention(b, i, l);
  nb_bind_vector(b, i, "attn_q_norm.weight", b->config->head_dim, NB_BIND_REQUIRED, &l->q_norm);
  nb_bind_vector(b, i, "attn_k_norm.weight", b->config->head_dim, NB_BIND_REQUIRED, &l->k_norm);
  nb_bind_ffn(b, i, l);
}

static void layer(nb_pass *p, const nb_layer *l) {
  nb_pass_norm(p, l->attn_norm);
  nb_pass_qkv(p, l);
  nb_pass_qk_norm(p, l);
  nb_pass_rope(p);
  nb_pass_attention(p, l);
  nb_pass_norm(p, l->ffn_norm);
  nb_pass_swiglu(p, l);
}

const nb_arch nb_arch_qwen3 = {"qwen3", NB_ROPE_NEOX, bind, layer};
