// Writes GGUF files into memory, for tests: any version, key, type and tensor, right or wrong. Remembers where every integer of the header
// stands, so that a test can change each of them.
#ifndef NB_TESTS_GGUF_WRITER_H
#define NB_TESTS_GGUF_WRITER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/format/gguf.h"

#define GW_UNUSED __attribute__((unused))

typedef struct gw_field {
  size_t at;
  int width;  // bytes
} gw_field;

typedef struct gw_tensor_plan {
  char name[64];
  uint32_t n_dims, type;
  uint64_t dims[4], offset, bytes;
} gw_tensor_plan;

typedef struct gguf_writer {
  uint8_t *bytes;
  size_t n, capacity;
  gw_field *fields;
  size_t n_fields, fields_capacity;
  gw_tensor_plan *tensors;
  size_t n_tensors, tensors_capacity;
  uint64_t n_kv, data_end;
  uint32_t alignment;
  size_t n_header;  // after gw_finish: bytes before the tensor data
  uint32_t random;
} gguf_writer;

// ---- bytes --------------------------------------------------------------------------------------------------------------------

static void *gw_grow(void *items, size_t *capacity, size_t n, size_t size) {
  if (n <= *capacity) return items;
  while (*capacity < n) *capacity = *capacity ? 2 * *capacity : 64;
  items = realloc(items, *capacity * size);
  if (!items) abort();
  return items;
}

GW_UNUSED static void gw_raw(gguf_writer *w, const void *p, size_t n) {
  w->bytes = gw_grow(w->bytes, &w->capacity, w->n + n, 1);
  if (n) memcpy(w->bytes + w->n, p, n);
  w->n += n;
}

// An integer of the header, noted as a field.
GW_UNUSED static void gw_int(gguf_writer *w, int width, uint64_t v) {
  w->fields = gw_grow(w->fields, &w->fields_capacity, w->n_fields + 1, sizeof *w->fields);
  w->fields[w->n_fields++] = (gw_field){w->n, width};
  gw_raw(w, &v, (size_t)width);
}

GW_UNUSED static void gw_u32(gguf_writer *w, uint32_t v) { gw_int(w, 4, v); }
GW_UNUSED static void gw_u64(gguf_writer *w, uint64_t v) { gw_int(w, 8, v); }
GW_UNUSED static void gw_f32(gguf_writer *w, float v) { gw_raw(w, &v, 4); }

GW_UNUSED static void gw_str_n(gguf_writer *w, const char *s, size_t n) {
  gw_u64(w, n);
  gw_raw(w, s, n);
}

GW_UNUSED static void gw_str(gguf_writer *w, const char *s) { gw_str_n(w, s, strlen(s)); }

// ---- metadata -----------------------------------------------------------------------------------------------------------------

// Begins a file; the counts are filled in by gw_finish.
GW_UNUSED static void gw_begin(gguf_writer *w, uint32_t version) {
  *w = (gguf_writer){.alignment = 32, .random = 1};
  gw_raw(w, "GGUF", 4);
  gw_u32(w, version);
  gw_u64(w, 0);
  gw_u64(w, 0);
}

// The key and kind of a value; the value has to follow.
GW_UNUSED static void gw_key(gguf_writer *w, const char *key, uint32_t kind) {
  w->n_kv++;
  gw_str(w, key);
  gw_u32(w, kind);
}

GW_UNUSED static void gw_kv_int(gguf_writer *w, const char *key, uint32_t kind, uint64_t v) {
  gw_key(w, key, kind);
  gw_int(w, kind <= NB_GGUF_I8 || kind == NB_GGUF_BOOL ? 1 : kind <= NB_GGUF_I16 ? 2 : kind <= NB_GGUF_I32 ? 4 : 8, v);
}

GW_UNUSED static void gw_kv_u32(gguf_writer *w, const char *key, uint32_t v) { gw_kv_int(w, key, NB_GGUF_U32, v); }
GW_UNUSED static void gw_kv_bool(gguf_writer *w, const char *key, int v) { gw_kv_int(w, key, NB_GGUF_BOOL, (uint64_t)v); }

// The bits count as a field: 12 boundary values are tried in it as well.
GW_UNUSED static void gw_kv_f32(gguf_writer *w, const char *key, float v) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  gw_key(w, key, NB_GGUF_F32);
  gw_u32(w, bits);
}

GW_UNUSED static void gw_kv_str(gguf_writer *w, const char *key, const char *v) {
  gw_key(w, key, NB_GGUF_STRING);
  gw_str(w, v);
}

// The head of an array; the items have to follow.
GW_UNUSED static void gw_array(gguf_writer *w, const char *key, uint32_t item_kind, uint64_t count) {
  gw_key(w, key, NB_GGUF_ARRAY);
  gw_u32(w, item_kind);
  gw_u64(w, count);
}

// ---- tensors ------------------------------------------------------------------------------------------------------------------

// Announces a tensor behind those before it. Types that this library does not know count as 4 bytes a number.
GW_UNUSED static gw_tensor_plan *gw_tensor(gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims, const uint64_t *dims) {
  w->tensors = gw_grow(w->tensors, &w->tensors_capacity, w->n_tensors + 1, sizeof *w->tensors);
  gw_tensor_plan *t = &w->tensors[w->n_tensors++];
  *t = (gw_tensor_plan){.n_dims = n_dims, .type = type, .offset = w->data_end};
  snprintf(t->name, sizeof t->name, "%s", name);
  uint64_t n = 1;
  for (uint32_t i = 0; i < n_dims && i < 4; i++) n *= t->dims[i] = dims[i];
  const nb_type_info *info = nb_type_get(type);
  t->bytes = info->block_size ? n / info->block_size * info->block_bytes : n * 4;
  w->data_end = nb_align_up(t->offset + t->bytes, w->alignment);
  return t;
}

GW_UNUSED static void gw_matrix(gguf_writer *w, const char *name, uint32_t type, uint64_t rows, uint64_t cols) {
  gw_tensor(w, name, type, 2, (const uint64_t[]){cols, rows});
}

GW_UNUSED static void gw_vector(gguf_writer *w, const char *name, uint64_t n) { gw_tensor(w, name, NB_TYPE_F32, 1, &n); }

static uint32_t gw_random(gguf_writer *w) {
  w->random = w->random * 1664525u + 1013904223u;
  return w->random >> 8;
}

// Weights that compute to something: small floats; for blocks, random bits with a small half float (0x2c00 is 1/16) as every scale.
static void gw_fill(gguf_writer *w, const gw_tensor_plan *t) {
  if (t->type == NB_TYPE_F32) {
    const int norm = strstr(t->name, "norm") != NULL || strstr(t->name, "freqs") != NULL;
    for (uint64_t i = 0; i < t->bytes / 4; i++) gw_f32(w, norm ? 1.0f : ((float)(gw_random(w) & 0xffff) / 32768.0f - 1.0f) * 0.5f);
    return;
  }
  const size_t block = nb_type_get(t->type)->block_bytes;
  for (uint64_t i = 0; i < t->bytes; i++) {
    const int scale = block > 2 && block < 64 && i % block < 2;
    const uint8_t b = scale ? (i % block ? 0x2c : 0) : block == 2 ? (i % 2 ? 0x2c : (uint8_t)gw_random(w)) : (uint8_t)gw_random(w);
    gw_raw(w, &b, 1);
  }
}

// The tensor table, padding and data. What the plans say is written as it stands: a test may change them before.
GW_UNUSED static void gw_finish(gguf_writer *w) {
  const uint64_t n_tensors = w->n_tensors;
  memcpy(w->bytes + 8, &n_tensors, 8);
  memcpy(w->bytes + 16, &w->n_kv, 8);
  for (size_t i = 0; i < w->n_tensors; i++) {
    const gw_tensor_plan *t = &w->tensors[i];
    gw_str(w, t->name);
    gw_u32(w, t->n_dims);
    for (uint32_t d = 0; d < t->n_dims && d < 4; d++) gw_u64(w, t->dims[d]);
    gw_u32(w, t->type);
    gw_u64(w, t->offset);
  }
  const uint8_t zero = 0;
  while (w->n_tensors && w->n % w->alignment) gw_raw(w, &zero, 1);
  w->n_header = w->n;
  for (size_t i = 0; i < w->n_tensors; i++) {
    while ((w->n - w->n_header) % w->alignment) gw_raw(w, &zero, 1);
    gw_fill(w, &w->tensors[i]);
  }
}

GW_UNUSED static void gw_free(gguf_writer *w) {
  free(w->bytes);
  free(w->fields);
  free(w->tensors);
  *w = (gguf_writer){0};
}

#endif
