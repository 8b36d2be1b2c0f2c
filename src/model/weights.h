// From tensor names to typed, shape-checked weights.
#ifndef NB_MODEL_WEIGHTS_H
#define NB_MODEL_WEIGHTS_H

#include "config.h"

// Everything a layer of any architecture here may have; what an architecture does not use stays empty (data NULL).
typedef struct nb_layer {
  float *attn_norm;           // [d_model]
  nb_matrix q, k, v;          // [n_heads * head_dim, d_model], [n_kv_heads * head_dim, d_model] twice
  float *q_bias, *k_bias, *v_bias;
  float *q_norm, *k_norm;     // [head_dim]: Qwen3 norms every head of q and k
  nb_matrix attn_output;      // [d_model, n_heads * head_dim]
  float *attn_output_bias;    // [d_model]
  float *ffn_norm;            // [d_model]
  nb_matrix gate, up;         // [d_ff, d_model]
  nb_matrix down;             // [d_model, d_ff]
} nb_layer;

typedef struct nb_weights {
  nb_matrix embedding;  // [n_vocab, d_model]
  nb_matrix head;       // [n_vocab, d_model]; the embedding where the model ties them
  float *output_norm;   // [d_model]
  float *rope_factors;  // [n_rot / 2] divisors of the rotation frequencies (Llama 3), or NULL
  nb_layer *layers;     // [n_layers]
} nb_weights;

// A tensor of the file and where its bytes are in memory. Small vectors (norms, biases, factors) are turned into floats.
typedef struct nb_loaded_tensor {
  const nb_gguf_tensor *info;
  uint8_t *data;      // NULL until the header has been read
  nb_layout layout;
  bool used;          // bound to a field of nb_weights
  float *as_floats;   // owned copy for vectors that are not stored as F32
} nb_loaded_tensor;

typedef struct nb_binder {  // passed to an architecture's bind function
  const nb_config *config;
  nb_loaded_tensor *tensors;
  size_t n_tensors;
  bool shapes_only;  // the bytes are not there yet: check names and shapes
  nb_error *err;
  nb_status status;  // the first failure; later calls do nothing
} nb_binder;

enum { NB_BIND_REQUIRED = 0, NB_BIND_OPTIONAL = 1 };

// Binds "<prefix><name>" (prefix "blk.<layer>." for layer >= 0) with the shape [rows, cols], or a vector of n numbers.
void nb_bind_matrix(nb_binder *b, int layer, const char *name, uint64_t rows, uint64_t cols, int optional, nb_matrix *out);
void nb_bind_vector(nb_binder *b, int layer, const char *name, uint64_t n, int optional, float **out);

// Binary search by name in tensors, which nb_sort_tensors has sorted.
nb_loaded_tensor *nb_find_loaded(nb_loaded_tensor *tensors, size_t n, nb_str name);
void nb_sort_tensors(nb_loaded_tensor *tensors, size_t n);

#endif
