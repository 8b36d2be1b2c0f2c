// A loaded model: metadata, weights, architecture. Read-only once loaded; any number of sessions may share it.
#ifndef NB_MODEL_MODEL_H
#define NB_MODEL_MODEL_H

#include "arch.h"
#include "config.h"
#include "weights.h"

typedef struct nb_model {
  nb_gguf **files;           // [n_files] headers; the first one has the metadata
  uint32_t n_files;
  const nb_arch *arch;
  nb_config config;
  nb_loaded_tensor *tensors;  // [n_tensors] of all files, sorted by name
  size_t n_tensors;
  nb_weights weights;
  uint64_t weight_bytes;      // bytes of all tensors as stored
  uint64_t n_parameters;
} nb_model;

void nb_model_free(nb_model *m);


#endif
