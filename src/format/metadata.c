// Access to the metadata and the tensor table of a GGUF header that has been read.
#include <math.h>

#include "gguf_state.h"

bool nb_gguf_complete(const nb_gguf *g) { return g->part == NB_GGUF_PART_COMPLETE; }
uint32_t nb_gguf_version(const nb_gguf *g) { return g->version; }
uint64_t nb_gguf_alignment(const nb_gguf *g) { return g->alignment; }
uint64_t nb_gguf_data_offset(const nb_gguf *g) { return g->data_offset; }
uint64_t nb_gguf_data_bytes(const nb_gguf *g) { return g->data_bytes; }
size_t nb_gguf_n_tensors(const nb_gguf *g) { return g->n_tensors; }
const nb_gguf_tensor *nb_gguf_tensor_at(const nb_gguf *g, size_t i) { return &g->tensors[i].tensor; }
size_t nb_gguf_n_kv(const nb_gguf *g) { return g->n_kv; }
const nb_gguf_kv *nb_gguf_kv_at(const nb_gguf *g, size_t i) { return &g->kv[i].kv; }

nb_status nb_gguf_finish(const nb_gguf *g, uint64_t file_bytes, nb_error *err) {
  if (g->error.status) {
    if (err) *err = g->error;
    return g->error.status;
  }
  if (!nb_gguf_complete(g)) return nb_fail(err, NB_E_TRUNCATED, "the file ends after %llu bytes, inside of its header", (unsigned long long)file_bytes);
  const uint64_t end = g->n_tensors ? g->data_offset + g->data_bytes : g->header_bytes;
  if (file_bytes < end)
    return nb_fail(err, NB_E_TRUNCATED, "the file ends after %llu of %llu bytes; it was not copied or downloaded completely", (unsigned long long)file_bytes,
                   (unsigned long long)end);
  if (file_bytes > nb_align_up(end, g->alignment))
    return nb_fail(err, NB_E_FORMAT, "the file has %llu bytes where its header describes %llu", (unsigned long long)file_bytes, (unsigned long long)end);
  return NB_OK;
}

// ---- finding ----------------------------------------------------------------------------------------------------------------

static int compare(nb_str a, nb_str b) {
  const int c = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
  return c ? c : (a.len > b.len) - (a.len < b.len);
}

const nb_gguf_kv *nb_gguf_find(const nb_gguf *g, nb_str key) {
  for (size_t lo = 0, hi = g->n_kv; lo < hi;) {
    const size_t mid = lo + (hi - lo) / 2;
    const int c = compare(g->kv_by_name[mid]->key, key);
    if (c == 0) return g->kv_by_name[mid];
    if (c < 0) lo = mid + 1;
    else hi = mid;
  }
  return NULL;
}

const nb_gguf_tensor *nb_gguf_find_tensor(const nb_gguf *g, nb_str name) {
  for (size_t lo = 0, hi = g->n_tensors; lo < hi;) {
    const size_t mid = lo + (hi - lo) / 2;
    const int c = compare(g->tensors_by_name[mid]->name, name);
    if (c == 0) return g->tensors_by_name[mid];
    if (c < 0) lo = mid + 1;
    else hi = mid;
  }
  return NULL;
}

// ---- typed access -----------------------------------------------------------------------------------------------------------

static nb_status wrong_kind(nb_str key, const char *wanted, nb_error *err) {
  return nb_fail(err, NB_E_FORMAT, "%.*s is not %s", (int)(key.len < 80 ? key.len : 80), key.data, wanted);
}

// Any integer or bool, as 64 bits and a sign.
static bool read_integer(const nb_gguf_kv *kv, bool *negative, uint64_t *magnitude) {
  const uint8_t *p = kv->data;
  int64_t i;
  *negative = false;
  switch (kv->kind) {
    case NB_GGUF_U8: case NB_GGUF_BOOL: *magnitude = *p; return true;
    case NB_GGUF_U16: *magnitude = nb_load_u16(p); return true;
    case NB_GGUF_U32: *magnitude = nb_load_u32(p); return true;
    case NB_GGUF_U64: *magnitude = nb_load_u64(p); return true;
    case NB_GGUF_I8: i = (int8_t)*p; break;
    case NB_GGUF_I16: i = (int16_t)nb_load_u16(p); break;
    case NB_GGUF_I32: i = (int32_t)nb_load_u32(p); break;
    case NB_GGUF_I64: i = (int64_t)nb_load_u64(p); break;
    default: return false;
  }
  *negative = i < 0;
  *magnitude = i < 0 ? (uint64_t)0 - (uint64_t)i : (uint64_t)i;
  return true;
}

nb_status nb_gguf_get_u32(const nb_gguf *g, nb_str key, uint32_t *out, bool *found, nb_error *err) {
  const nb_gguf_kv *kv = nb_gguf_find(g, key);
  *found = kv != NULL;
  if (!kv) return NB_OK;
  bool negative;
  uint64_t n;
  if (!read_integer(kv, &negative, &n)) return wrong_kind(key, "a whole number", err);
  if (negative || n > UINT32_MAX) return wrong_kind(key, "a number from 0 to 2^32 - 1", err);
  *out = (uint32_t)n;
  return NB_OK;
}

nb_status nb_gguf_get_f32(const nb_gguf *g, nb_str key, float *out, bool *found, nb_error *err) {
  const nb_gguf_kv *kv = nb_gguf_find(g, key);
  *found = kv != NULL;
  if (!kv) return NB_OK;
  bool negative;
  uint64_t n;
  if (kv->kind == NB_GGUF_F32) {
    *out = nb_load_f32(kv->data);
  } else if (kv->kind == NB_GGUF_F64) {
    double d;
    memcpy(&d, kv->data, sizeof d);
    if (fabs(d) > 3.4e38) return wrong_kind(key, "a number that a float holds", err);
    *out = (float)d;
  } else if (read_integer(kv, &negative, &n)) {
    *out = negative ? -(float)n : (float)n;
  } else {
    return wrong_kind(key, "a number", err);
  }
  return NB_OK;
}

nb_status nb_gguf_get_bool(const nb_gguf *g, nb_str key, bool *out, bool *found, nb_error *err) {
  const nb_gguf_kv *kv = nb_gguf_find(g, key);
  *found = kv != NULL;
  if (!kv) return NB_OK;
  bool negative;
  uint64_t n;
  if (!read_integer(kv, &negative, &n) || negative || n > 1) return wrong_kind(key, "true or false", err);
  *out = n != 0;
  return NB_OK;
}

nb_status nb_gguf_get_str(const nb_gguf *g, nb_str key, nb_str *out, bool *found, nb_error *err) {
  const nb_gguf_kv *kv = nb_gguf_find(g, key);
  *found = kv != NULL;
  if (!kv) return NB_OK;
  if (kv->kind != NB_GGUF_STRING) return wrong_kind(key, "a string", err);
  *out = (nb_str){(const char *)kv->data + 8, kv->bytes - 8};
  return NB_OK;
}

nb_status nb_gguf_get_array(const nb_gguf *g, nb_str key, nb_gguf_kind item_kind, const nb_gguf_kv **out, nb_error *err) {
  *out = NULL;
  const nb_gguf_kv *kv = nb_gguf_find(g, key);
  if (!kv) return NB_OK;
  const bool words = (item_kind == NB_GGUF_I32 || item_kind == NB_GGUF_U32) && (kv->item_kind == NB_GGUF_I32 || kv->item_kind == NB_GGUF_U32);
  if (kv->kind != NB_GGUF_ARRAY || (kv->item_kind != item_kind && !words)) return wrong_kind(key, "an array of the expected type", err);
  *out = kv;
  return NB_OK;
}

nb_str nb_gguf_next_str(const nb_gguf_kv *kv, size_t *at) {
  const size_t n = (size_t)nb_load_u64(kv->data + *at);
  const nb_str s = {(const char *)kv->data + *at + 8, n};
  *at += 8 + n;
  return s;
}

nb_status nb_gguf_split(const nb_gguf *g, uint32_t *index, uint32_t *count, uint32_t *n_tensors_total, nb_error *err) {
  bool found;
  nb_status s;
  *index = 0;
  *count = 1;
  *n_tensors_total = 0;
  if ((s = nb_gguf_get_u32(g, NB_STR("split.no"), index, &found, err))) return s;
  if ((s = nb_gguf_get_u32(g, NB_STR("split.count"), count, &found, err))) return s;
  if ((s = nb_gguf_get_u32(g, NB_STR("split.tensors.count"), n_tensors_total, &found, err))) return s;
  if (*count == 0) *count = 1;  // written by some tools for files that are not split
  if (*index >= *count) return nb_fail(err, NB_E_FORMAT, "split.no is %u of %u", (unsigned)*index, (unsigned)*count);
  return NB_OK;
}
