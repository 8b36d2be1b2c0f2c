// One file an architecture family: how its metadata differs, which tensors a layer has, and what a layer computes.
// To add one: write <family>.c with an nb_arch and put it into the table of arch.c.
#ifndef NB_MODEL_ARCH_H
#define NB_MODEL_ARCH_H

#include "config.h"
#include "weights.h"

typedef struct nb_pass nb_pass;  // forward.h

typedef struct nb_arch {
  const char *name;          // general.architecture
  nb_rope_order rope_order;  // how its files order the numbers of a head
  void (*bind)(nb_binder *b, int index, nb_layer *layer);
  void (*layer)(nb_pass *p, const nb_layer *layer);  // p->x [n, d_model] -> p->x
} nb_arch;

extern const nb_arch nb_arch_llama, nb_arch_qwen2, nb_arch_qwen3;

// NULL when the name is not known.
const nb_arch *nb_arch_find(nb_str name);
// The known names, "llama, qwen2, …", for messages.
const char *nb_arch_names(void);

// Parts that families share.
void nb_bind_attention(nb_binder *b, int index, nb_layer *layer);  // attn_norm, q, k, v, attn_output and their optional biases
void nb_bind_ffn(nb_binder *b, int index, nb_layer *layer);        // ffn_norm, gate, up, down
void nb_bind_common(nb_binder *b, nb_weights *w);                  // embedding, head, output_norm, rope factors

#endif
