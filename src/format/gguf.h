// GGUF v2 and v3 header reader. It does no I/O: the caller feeds it the file from its first byte in pieces of any size, and
// it takes what belongs to the header (metadata, tensor table, padding before the data). Safe for untrusted input: every
// count, length, type, dimension and offset is checked before it is used, and every failure names the field and the offset.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#ifndef NB_FORMAT_GGUF_H
#define NB_FORMAT_GGUF_H

#include "../base/mem.h"
#include "../base/status.h"
#include "types.h"

typedef enum nb_gguf_kind {  // value types of metadata, with the format's ids
  NB_GGUF_U8 = 0, NB_GGUF_I8 = 1, NB_GGUF_U16 = 2, NB_GGUF_I16 = 3, NB_GGUF_U32 = 4, NB_GGUF_I32 = 5, NB_GGUF_F32 = 6,
  NB_GGUF_BOOL = 7, NB_GGUF_STRING = 8, NB_GGUF_ARRAY = 9, NB_GGUF_U64 = 10, NB_GGUF_I64 = 11, NB_GGUF_F64 = 12,
} nb_gguf_kind;

typedef struct nb_gguf_kv {
  nb_str key;
  nb_gguf_kind kind;       // of the value
  nb_gguf_kind item_kind;  // arrays: of the items (never ARRAY: nested arrays are refused)
  uint64_t count;          // arrays: number of items; else 1
  const uint8_t *data;     // raw little-endian bytes of the value or of the items (strings: u64 length, then the bytes, each)
  size_t bytes;            // length of data
} nb_gguf_kv;

typedef struct nb_gguf_tensor {
  nb_str name;
  nb_type type;
  uint32_t n_dims;     // 1..4
  uint64_t dims[4];    // dims[0] is the length of a row; unused ones are 1
  uint64_t offset;     // from the start of the data section, a multiple of the alignment
  uint64_t bytes;
} nb_gguf_tensor;

typedef struct nb_gguf nb_gguf;

// NULL when memory is out.
nb_gguf *nb_gguf_new(void);
void nb_gguf_free(nb_gguf *g);

// Feeds the next n bytes. *consumed <= n says how many belong to the header; the first byte not consumed is the first byte
// of tensor data (file offset nb_gguf_data_offset). After an error every further call gives the same error.
nb_status nb_gguf_feed(nb_gguf *g, const uint8_t *bytes, size_t n, size_t *consumed, nb_error *err);

// True once the whole header has been read and checked. The functions below need that, and give pointers which live as long as g.
bool nb_gguf_complete(const nb_gguf *g);

// Called when the source ended after `file_bytes` bytes in all: E_TRUNCATED when header or data are not complete, E_FORMAT when
// the file is longer than its data section (padding of the last tensor up to the alignment is allowed, present or not).
nb_status nb_gguf_finish(const nb_gguf *g, uint64_t file_bytes, nb_error *err);

uint32_t nb_gguf_version(const nb_gguf *g);
uint64_t nb_gguf_alignment(const nb_gguf *g);
uint64_t nb_gguf_data_offset(const nb_gguf *g);  // in the file
uint64_t nb_gguf_data_bytes(const nb_gguf *g);   // from data_offset to the end of the last tensor, without padding after it

size_t nb_gguf_n_tensors(const nb_gguf *g);
const nb_gguf_tensor *nb_gguf_tensor_at(const nb_gguf *g, size_t i);            // in the order of the tensor table
const nb_gguf_tensor *nb_gguf_find_tensor(const nb_gguf *g, nb_str name);       // NULL when there is none

size_t nb_gguf_n_kv(const nb_gguf *g);
const nb_gguf_kv *nb_gguf_kv_at(const nb_gguf *g, size_t i);
const nb_gguf_kv *nb_gguf_find(const nb_gguf *g, nb_str key);                   // NULL when there is none

// Typed access. Integers of any width (and bool) are widened. *found tells whether the key is there; a key of another type, or a
// value that does not fit, is E_FORMAT; a missing key leaves *out as it was.
nb_status nb_gguf_get_u32(const nb_gguf *g, nb_str key, uint32_t *out, bool *found, nb_error *err);
nb_status nb_gguf_get_f32(const nb_gguf *g, nb_str key, float *out, bool *found, nb_error *err);
nb_status nb_gguf_get_bool(const nb_gguf *g, nb_str key, bool *out, bool *found, nb_error *err);
nb_status nb_gguf_get_str(const nb_gguf *g, nb_str key, nb_str *out, bool *found, nb_error *err);
// An array with items of the given kind (NB_GGUF_I32 also accepts u32 arrays and the other way round, as files differ).
nb_status nb_gguf_get_array(const nb_gguf *g, nb_str key, nb_gguf_kind item_kind, const nb_gguf_kv **out, nb_error *err);

// Walks the strings of a string array: *at starts at 0 and moves on; i < kv->count calls are allowed.
nb_str nb_gguf_next_str(const nb_gguf_kv *kv, size_t *at);

// The place of this file in a split model (split.no, split.count, split.tensors.count): 0 of 1 where the keys are missing.
nb_status nb_gguf_split(const nb_gguf *g, uint32_t *index, uint32_t *count, uint32_t *n_tensors_total, nb_error *err);

#endif
