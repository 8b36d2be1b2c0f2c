// The header of a GGUF file, read as it arrives. Bytes are appended to one buffer; a cursor moves over complete fields and waits where a
// field is not complete, so every byte is looked at once whatever the size of the pieces. metadata.c gives access to what was read.
#include <stdlib.h>

#include "gguf_state.h"

#define MIN_ALIGNMENT 8u
#define MAX_ALIGNMENT (1u << 20)
#define MAX_KEY_BYTES 65535u
#define MAX_STRING_BYTES (16u << 20)
#define MAX_HEADER_BYTES (256u << 20)
#define MAX_ENTRIES (1u << 20)  // of metadata, and of tensors
#define FEED_PIECE (64u << 10)

// ---- life -------------------------------------------------------------------------------------------------------------------

nb_gguf *nb_gguf_new(void) {
  nb_gguf *g = calloc(1, sizeof *g);
  if (g) g->alignment = 32;
  return g;
}

void nb_gguf_free(nb_gguf *g) {
  if (!g) return;
  free(g->raw);
  free(g->kv);
  free(g->tensors);
  free(g->kv_by_name);
  free(g->tensors_by_name);
  free(g);
}

// Grows *array, of items of `size` bytes, to hold at least n + 1 of them.
static nb_status grow(void **array, size_t *capacity, size_t n, size_t size, nb_error *err) {
  if (n < *capacity) return NB_OK;
  const size_t wanted = *capacity ? *capacity + *capacity / 2 : 32;
  void *grown = realloc(*array, wanted * size);
  if (!grown) return nb_fail_nomem(err, "the header", (uint64_t)wanted * size);
  *array = grown;
  *capacity = wanted;
  return NB_OK;
}

// ---- reading fields ---------------------------------------------------------------------------------------------------------

static bool have(const nb_gguf *g, uint64_t n) { return g->n_raw - g->at >= n; }

// WAIT, beside the values of nb_status: the field is not complete yet.
enum { WAIT = -1 };

#define AT(g) ((unsigned long long)(g)->at)

static int read_u32(nb_gguf *g, uint32_t *out) {
  if (!have(g, 4)) return WAIT;
  *out = nb_load_u32(g->raw + g->at);
  g->at += 4;
  return NB_OK;
}

static int read_u64(nb_gguf *g, uint64_t *out) {
  if (!have(g, 8)) return WAIT;
  *out = nb_load_u64(g->raw + g->at);
  g->at += 8;
  return NB_OK;
}

// Length and bytes; *at is where the bytes begin. The cursor moves only when all of it is there.
static int read_string(nb_gguf *g, const char *what, uint64_t least, uint64_t most, size_t *at, size_t *len, nb_error *err) {
  if (!have(g, 8)) return WAIT;
  const uint64_t n = nb_load_u64(g->raw + g->at);
  if (n < least || n > most)
    return nb_fail(err, NB_E_FORMAT, "%s at offset %llu has a length of %llu bytes, outside %llu..%llu", what, AT(g), (unsigned long long)n,
                   (unsigned long long)least, (unsigned long long)most);
  if (!have(g, 8 + n)) return WAIT;
  *at = g->at + 8;
  *len = (size_t)n;
  g->at += 8 + (size_t)n;
  return NB_OK;
}

// Strict UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF (RFC 3629).
static bool is_utf8(const uint8_t *s, size_t n) {
  for (size_t i = 0; i < n;) {
    const uint8_t c = s[i];
    if (c < 0x80) {
      i++;
      continue;
    }
    const size_t len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || i + len > n) return false;
    const uint8_t lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80, hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (s[i + 1] < lo || s[i + 1] > hi) return false;
    for (size_t k = 2; k < len; k++)
      if ((s[i + k] & 0xc0) != 0x80) return false;
    i += len;
  }
  return true;
}

size_t nb_gguf_kind_bytes(uint32_t kind) {
  static const uint8_t BYTES[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return kind < sizeof BYTES ? BYTES[kind] : 0;
}

static nb_status check_bools(const nb_gguf *g, size_t at, uint64_t n, nb_error *err) {
  for (uint64_t i = 0; i < n; i++)
    if (g->raw[at + i] > 1)
      return nb_fail(err, NB_E_FORMAT, "the bool at offset %llu is %u, not 0 or 1", (unsigned long long)(at + i), (unsigned)g->raw[at + i]);
  return NB_OK;
}

// ---- the parts of the header ------------------------------------------------------------------------------------------------

static int read_preamble(nb_gguf *g, nb_error *err) {
  static const uint8_t MAGIC[4] = {'G', 'G', 'U', 'F'};
  const size_t n = g->n_raw < 4 ? g->n_raw : 4;
  if (memcmp(g->raw, MAGIC, n)) return nb_fail(err, NB_E_FORMAT, "this is not a GGUF file: it does not begin with the letters GGUF");
  if (!have(g, 8)) return WAIT;
  const uint32_t version = nb_load_u32(g->raw + 4);
  if (version == 0x02000000u || version == 0x03000000u || version == 0x01000000u)
    return nb_fail(err, NB_E_UNSUPPORTED, "this GGUF file is big-endian; convert it to little-endian");
  if (version == 1) return nb_fail(err, NB_E_UNSUPPORTED, "this GGUF file is of version 1; convert it again to version 2 or 3");
  if (version != 2 && version != 3) return nb_fail(err, NB_E_UNSUPPORTED, "this GGUF file is of version %u; versions 2 and 3 are read", (unsigned)version);
  if (!have(g, 24)) return WAIT;
  g->version = version;
  g->at = 8;
  read_u64(g, &g->n_tensors_announced);
  read_u64(g, &g->n_kv_announced);
  if (g->n_tensors_announced > MAX_ENTRIES)
    return nb_fail(err, NB_E_FORMAT, "the tensor count at offset 8 is %llu, the limit is %u", (unsigned long long)g->n_tensors_announced, MAX_ENTRIES);
  if (g->n_kv_announced > MAX_ENTRIES)
    return nb_fail(err, NB_E_FORMAT, "the metadata count at offset 16 is %llu, the limit is %u", (unsigned long long)g->n_kv_announced, MAX_ENTRIES);
  g->part = NB_GGUF_PART_KEY;
  return NB_OK;
}

static int read_key(nb_gguf *g, nb_error *err) {
  if (g->n_kv == g->n_kv_announced) {
    g->part = NB_GGUF_PART_TENSOR;
    return NB_OK;
  }
  nb_status s = grow((void **)&g->kv, &g->kv_capacity, g->n_kv, sizeof *g->kv, err);
  if (s) return s;
  nb_gguf_entry *e = &g->kv[g->n_kv];
  *e = (nb_gguf_entry){.kv.count = 1};
  int r = read_string(g, "the key", 1, MAX_KEY_BYTES, &e->key_at, &e->kv.key.len, err);
  if (r) return r;
  if (!is_utf8(g->raw + e->key_at, e->kv.key.len)) return nb_fail(err, NB_E_FORMAT, "the key at offset %llu is not UTF-8", (unsigned long long)e->key_at);
  g->part = NB_GGUF_PART_VALUE;
  return NB_OK;
}

static int read_value(nb_gguf *g, nb_error *err) {
  nb_gguf_entry *e = &g->kv[g->n_kv];
  uint32_t kind;
  if (!have(g, 4)) return WAIT;
  kind = nb_load_u32(g->raw + g->at);
  if (kind > NB_GGUF_F64) return nb_fail(err, NB_E_FORMAT, "the value type at offset %llu is %u, which is not known", AT(g), (unsigned)kind);
  e->kv.kind = (nb_gguf_kind)kind;
  if (kind == NB_GGUF_ARRAY) {
    if (!have(g, 16)) return WAIT;
    const uint32_t item = nb_load_u32(g->raw + g->at + 4);
    const uint64_t count = nb_load_u64(g->raw + g->at + 8);
    if (item > NB_GGUF_F64) return nb_fail(err, NB_E_FORMAT, "the item type at offset %llu is %u, which is not known", AT(g) + 4, (unsigned)item);
    if (item == NB_GGUF_ARRAY) return nb_fail(err, NB_E_UNSUPPORTED, "the array at offset %llu holds arrays, which are not read", AT(g));
    const uint64_t least = item == NB_GGUF_STRING ? 8 : nb_gguf_kind_bytes(item);
    if (count > MAX_HEADER_BYTES / least)
      return nb_fail(err, NB_E_FORMAT, "the array at offset %llu has %llu items, more than a header of %u bytes can hold", AT(g), (unsigned long long)count,
                     MAX_HEADER_BYTES);
    e->kv.item_kind = (nb_gguf_kind)item;
    e->kv.count = count;
    g->at += 16;
    e->data_at = g->at;
    g->items_left = count;
    g->part = NB_GGUF_PART_ITEMS;
    return NB_OK;
  }
  g->at += 4;
  e->data_at = g->at;
  g->items_left = 1;
  e->kv.item_kind = e->kv.kind;
  g->part = NB_GGUF_PART_ITEMS;
  return NB_OK;
}

static int read_items(nb_gguf *g, nb_error *err) {
  nb_gguf_entry *e = &g->kv[g->n_kv];
  const uint32_t kind = e->kv.item_kind;
  if (kind == NB_GGUF_STRING) {
    for (; g->items_left; g->items_left--) {
      size_t at, len;
      int r = read_string(g, "the string", 0, MAX_STRING_BYTES, &at, &len, err);
      if (r) return r;
    }
  } else {
    // Fixed sizes are taken as far as they are there, so that a long array does not need to be looked at again.
    const size_t size = nb_gguf_kind_bytes(kind);
    const uint64_t there = (g->n_raw - g->at) / size, take = there < g->items_left ? there : g->items_left;
    if (kind == NB_GGUF_BOOL) {
      nb_status s = check_bools(g, g->at, take, err);
      if (s) return s;
    }
    g->at += (size_t)take * size;
    g->items_left -= take;
    if (g->items_left) return WAIT;
  }
  e->kv.bytes = g->at - e->data_at;
  if (e->kv.key.len == 17 && !memcmp(g->raw + e->key_at, "general.alignment", 17)) {
    if (e->kv.kind != NB_GGUF_U32) return nb_fail(err, NB_E_FORMAT, "general.alignment is not of type u32");
    const uint32_t a = nb_load_u32(g->raw + e->data_at);
    if (a < MIN_ALIGNMENT || a > MAX_ALIGNMENT || (a & (a - 1)))
      return nb_fail(err, NB_E_FORMAT, "general.alignment is %u, not a power of two in %u..%u", (unsigned)a, MIN_ALIGNMENT, MAX_ALIGNMENT);
    g->alignment = a;
  }
  g->n_kv++;
  g->part = NB_GGUF_PART_KEY;
  return NB_OK;
}

// Elements, block size and bytes of a tensor; name is for messages.
static nb_status check_tensor(nb_gguf_tensor *t, const char *name, int len, uint32_t type, nb_error *err) {
  const nb_type_info *info = nb_type_get(type);
  if (!info->block_size) {
    if (info->name) return nb_fail(err, NB_E_UNSUPPORTED, "tensor %.*s is of type %s, which is not run here; use another quantization of this model", len, name, info->name);
    return nb_fail(err, NB_E_UNSUPPORTED, "tensor %.*s is of type number %u, which is not known", len, name, (unsigned)type);
  }
  t->type = (nb_type)type;
  uint64_t n = 1;
  for (uint32_t i = 0; i < t->n_dims; i++) {
    if (t->dims[i] == 0) return nb_fail(err, NB_E_FORMAT, "dimension %u of tensor %.*s is 0", (unsigned)i, len, name);
    if (!nb_mul_u64(n, t->dims[i], &n) || n > (uint64_t)INT64_MAX)
      return nb_fail(err, NB_E_FORMAT, "the dimensions of tensor %.*s multiply to more than 63 bits hold", len, name);
  }
  if (t->dims[0] % info->block_size)
    return nb_fail(err, NB_E_FORMAT, "the rows of tensor %.*s have %llu numbers, not a multiple of %s's block of %u", len, name,
                   (unsigned long long)t->dims[0], info->name, (unsigned)info->block_size);
  if (!nb_mul_u64(n / info->block_size, info->block_bytes, &t->bytes))
    return nb_fail(err, NB_E_FORMAT, "the size of tensor %.*s is more than 64 bits hold", len, name);
  return NB_OK;
}

static int read_tensor(nb_gguf *g, nb_error *err) {
  if (g->n_tensors == g->n_tensors_announced) {
    g->part = NB_GGUF_PART_PADDING;
    return NB_OK;
  }
  nb_status s = grow((void **)&g->tensors, &g->tensors_capacity, g->n_tensors, sizeof *g->tensors, err);
  if (s) return s;
  const size_t start = g->at;
  nb_gguf_tensor_entry *e = &g->tensors[g->n_tensors];
  *e = (nb_gguf_tensor_entry){.tensor.dims = {1, 1, 1, 1}};
  nb_gguf_tensor *t = &e->tensor;
  int r = read_string(g, "the tensor name", 1, MAX_KEY_BYTES, &e->name_at, &t->name.len, err);
  if (r) return r;
  // The rest of the record is short: it is read when all of it is there.
  uint32_t type = 0;
  if ((r = read_u32(g, &t->n_dims))) goto wait;
  const int len = (int)(t->name.len < 80 ? t->name.len : 80);
  const char *name = (const char *)g->raw + e->name_at;
  if (!is_utf8(g->raw + e->name_at, t->name.len)) return nb_fail(err, NB_E_FORMAT, "the tensor name at offset %llu is not UTF-8", (unsigned long long)e->name_at);
  if (t->n_dims < 1 || t->n_dims > 4) return nb_fail(err, NB_E_FORMAT, "tensor %.*s has %u dimensions, outside 1..4", len, name, (unsigned)t->n_dims);
  if (!have(g, 8 * t->n_dims + 12)) goto wait;
  for (uint32_t i = 0; i < t->n_dims; i++) read_u64(g, &t->dims[i]);
  read_u32(g, &type);
  read_u64(g, &t->offset);
  if ((s = check_tensor(t, name, len, type, err))) return s;
  if (t->offset % g->alignment)
    return nb_fail(err, NB_E_FORMAT, "tensor %.*s begins at offset %llu, not a multiple of the alignment %llu", len, name, (unsigned long long)t->offset,
                   (unsigned long long)g->alignment);
  uint64_t end;
  if (!nb_add_u64(t->offset, t->bytes, &end) || end > (uint64_t)INT64_MAX - MAX_HEADER_BYTES - MAX_ALIGNMENT)
    return nb_fail(err, NB_E_FORMAT, "tensor %.*s ends beyond what a file can hold", len, name);
  if (end > g->data_bytes) g->data_bytes = end;
  g->n_tensors++;
  return NB_OK;
wait:
  g->at = start;
  return WAIT;
}

// ---- when all is there ------------------------------------------------------------------------------------------------------

static int compare_strings(nb_str a, nb_str b) {
  const int c = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
  return c ? c : (a.len > b.len) - (a.len < b.len);
}

static int compare_kv(const void *a, const void *b) { return compare_strings((*(const nb_gguf_kv *const *)a)->key, (*(const nb_gguf_kv *const *)b)->key); }

static int compare_names(const void *a, const void *b) {
  return compare_strings((*(const nb_gguf_tensor *const *)a)->name, (*(const nb_gguf_tensor *const *)b)->name);
}

static int compare_offsets(const void *a, const void *b) {
  const nb_gguf_tensor *x = *(const nb_gguf_tensor *const *)a, *y = *(const nb_gguf_tensor *const *)b;
  return x->offset != y->offset ? (x->offset > y->offset ? 1 : -1) : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int print_len(nb_str s) { return (int)(s.len < 80 ? s.len : 80); }

// Turns offsets into pointers, now that the buffer stays where it is, and sorts names: sorting finds duplicates in n log n whatever
// the names are, where a hash table could be led to be slow.
static nb_status complete(nb_gguf *g, nb_error *err) {
  uint8_t *fitted = realloc(g->raw, g->at ? g->at : 1);
  if (fitted) g->raw = fitted;
  g->n_raw = g->raw_capacity = g->at;
  g->kv_by_name = malloc((g->n_kv + 1) * sizeof *g->kv_by_name);
  g->tensors_by_name = malloc((g->n_tensors + 1) * sizeof *g->tensors_by_name);
  if (!g->kv_by_name || !g->tensors_by_name) return nb_fail_nomem(err, "the header", (g->n_kv + g->n_tensors) * sizeof(void *));
  for (size_t i = 0; i < g->n_kv; i++) {
    g->kv[i].kv.key.data = (const char *)g->raw + g->kv[i].key_at;
    g->kv[i].kv.data = g->raw + g->kv[i].data_at;
    g->kv_by_name[i] = &g->kv[i].kv;
  }
  for (size_t i = 0; i < g->n_tensors; i++) {
    g->tensors[i].tensor.name.data = (const char *)g->raw + g->tensors[i].name_at;
    g->tensors_by_name[i] = &g->tensors[i].tensor;
  }
  qsort(g->kv_by_name, g->n_kv, sizeof *g->kv_by_name, compare_kv);
  for (size_t i = 1; i < g->n_kv; i++)
    if (compare_kv(&g->kv_by_name[i - 1], &g->kv_by_name[i]) == 0)
      return nb_fail(err, NB_E_FORMAT, "the key %.*s occurs twice", print_len(g->kv_by_name[i]->key), g->kv_by_name[i]->key.data);
  qsort(g->tensors_by_name, g->n_tensors, sizeof *g->tensors_by_name, compare_offsets);
  for (size_t i = 1; i < g->n_tensors; i++) {
    const nb_gguf_tensor *before = g->tensors_by_name[i - 1], *t = g->tensors_by_name[i];
    if (before->offset + before->bytes > t->offset)
      return nb_fail(err, NB_E_FORMAT, "tensors %.*s and %.*s overlap", print_len(before->name), before->name.data, print_len(t->name), t->name.data);
  }
  qsort(g->tensors_by_name, g->n_tensors, sizeof *g->tensors_by_name, compare_names);
  for (size_t i = 1; i < g->n_tensors; i++)
    if (compare_names(&g->tensors_by_name[i - 1], &g->tensors_by_name[i]) == 0)
      return nb_fail(err, NB_E_FORMAT, "the tensor %.*s occurs twice", print_len(g->tensors_by_name[i]->name), g->tensors_by_name[i]->name.data);
  g->part = NB_GGUF_PART_COMPLETE;
  return NB_OK;
}

static int read_padding(nb_gguf *g, nb_error *err) {
  const uint64_t data = nb_align_up(g->at, g->alignment);
  // A file without tensors may end without padding: nothing after its header is needed.
  if (g->n_tensors && g->n_raw < data) return WAIT;
  g->data_offset = data;
  g->header_bytes = g->at;
  if (g->n_raw >= data) g->at = (size_t)data;
  else g->at = g->n_raw;
  return complete(g, err);
}

static int step(nb_gguf *g, nb_error *err) {
  switch (g->part) {
    case NB_GGUF_PART_PREAMBLE: return read_preamble(g, err);
    case NB_GGUF_PART_KEY: return read_key(g, err);
    case NB_GGUF_PART_VALUE: return read_value(g, err);
    case NB_GGUF_PART_ITEMS: return read_items(g, err);
    case NB_GGUF_PART_TENSOR: return read_tensor(g, err);
    case NB_GGUF_PART_PADDING: return read_padding(g, err);
    case NB_GGUF_PART_COMPLETE: break;
  }
  return WAIT;
}

// Appends a piece and reads as far as it goes.
static nb_status feed_piece(nb_gguf *g, const uint8_t *bytes, size_t n, nb_error *err) {
  if (n > MAX_HEADER_BYTES - g->n_raw) return nb_fail(err, NB_E_FORMAT, "the header is longer than %u bytes", MAX_HEADER_BYTES);
  if (g->n_raw + n > g->raw_capacity) {
    size_t capacity = g->raw_capacity + g->raw_capacity / 2;
    if (capacity < g->n_raw + n) capacity = g->n_raw + n;
    uint8_t *grown = realloc(g->raw, capacity);
    if (!grown) return nb_fail_nomem(err, "the header", capacity);
    g->raw = grown;
    g->raw_capacity = capacity;
  }
  memcpy(g->raw + g->n_raw, bytes, n);
  g->n_raw += n;
  int r;
  do r = step(g, err);
  while (r == NB_OK && g->part != NB_GGUF_PART_COMPLETE);
  return r == WAIT ? NB_OK : (nb_status)r;
}

nb_status nb_gguf_feed(nb_gguf *g, const uint8_t *bytes, size_t n, size_t *consumed, nb_error *err) {
  *consumed = 0;
  if (g->error.status) {
    if (err) *err = g->error;
    return g->error.status;
  }
  while (*consumed < n && g->part != NB_GGUF_PART_COMPLETE) {
    const size_t before = g->n_raw, piece = n - *consumed < FEED_PIECE ? n - *consumed : FEED_PIECE;
    const nb_status s = feed_piece(g, bytes + *consumed, piece, &g->error);
    if (s) {
      if (err) *err = g->error;
      return s;
    }
    *consumed += g->part == NB_GGUF_PART_COMPLETE ? g->at - before : piece;
  }
  return NB_OK;
}
