// What gguf.c (reading) and metadata.c (access) share; nobody else looks inside.
#ifndef NB_FORMAT_GGUF_STATE_H
#define NB_FORMAT_GGUF_STATE_H

#include "gguf.h"

typedef enum nb_gguf_part {  // what the cursor stands in front of
  NB_GGUF_PART_PREAMBLE, NB_GGUF_PART_KEY, NB_GGUF_PART_VALUE, NB_GGUF_PART_ITEMS, NB_GGUF_PART_TENSOR, NB_GGUF_PART_PADDING, NB_GGUF_PART_COMPLETE,
} nb_gguf_part;

typedef struct nb_gguf_entry {
  nb_gguf_kv kv;
  size_t key_at, data_at;  // in raw; the pointers are set when raw stays where it is
} nb_gguf_entry;

typedef struct nb_gguf_tensor_entry {
  nb_gguf_tensor tensor;
  size_t name_at;
} nb_gguf_tensor_entry;

struct nb_gguf {
  nb_error error;  // the first failure, given again by every later call
  nb_gguf_part part;
  uint8_t *raw;    // the header's bytes
  size_t n_raw, raw_capacity;
  size_t at;       // cursor in raw
  uint64_t items_left;  // of the array being read
  uint32_t version;
  uint64_t alignment;
  uint64_t n_kv_announced, n_tensors_announced;
  nb_gguf_entry *kv;
  size_t n_kv, kv_capacity;
  nb_gguf_tensor_entry *tensors;
  size_t n_tensors, tensors_capacity;
  const nb_gguf_kv **kv_by_name;
  const nb_gguf_tensor **tensors_by_name;
  uint64_t header_bytes;  // without padding
  uint64_t data_offset, data_bytes;
};

size_t nb_gguf_kind_bytes(uint32_t kind);  // 0 for strings and arrays

#endif
