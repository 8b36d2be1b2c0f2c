// Llama 1-3, Mistral 7B, SmolLM and SmolLM2, TinyLlama and the many others that use the name "llama" in GGUF files.
#include "arch.h"
#include "forward.h"

static void bind(nb_binder *b, int i, nb_layer *l) {
  nb_bind_attention(b, i, l);
  nb_bind_ffn(b, i, l);
}

static void layer(nb_pass *p, const nb_layer *l) {
  nb_pass_norm(p, l->attn_norm);
  nb_pass_qkv(p, l);
  nb_pass_rope(p);
  nb_pass_attention(p, l);
  nb_pass_norm(p, l->ffn_norm);
  nb_pass_swiglu(p, l);
}

const nb_arch nb_arch_llama = {"llama", NB_ROPE_NORM, bind, layer};
