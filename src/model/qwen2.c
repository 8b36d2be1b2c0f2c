// Qwen2 and Qwen2.5: a Llama with biases on q, k and v, and heads ordered by halves.
#include "arch.h"
#include "forward.h"

static void bind(nb_binder *b, int i, nb_layer *l) {
  nb_bind_attention(b, i, l);
  nb_bind_ffn(b, i, l);
}

static void layer(nb_pass *p, const nb_layer *l) {
  nb_pass_norm(p, l->attn_norm);
  nb_pass_qkv(p, l);  // adds the biases
  nb_pass_rope(p);
  nb_pass_attention(p, l);
  nb_pass_norm(p, l->ffn_norm);
  nb_pass_swiglu(p, l);
}

const nb_arch nb_arch_qwen2 = {"qwen2", NB_ROPE_NEOX, bind, layer};
