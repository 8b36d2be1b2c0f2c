// The GGUF reader: every kind of value in both versions, in pieces of every size, and every rule that a damaged or hostile file can break.
// More than 500 lines: one claim after the other about one format, over the same few helpers.
#include "../../src/format/gguf.h"
#include "check.h"
#include "gguf_writer.h"

// ---- feeding ------------------------------------------------------------------------------------------------------------------

// Feeds pieces of `piece` bytes; *consumed is what belonged to the header.
static nb_status feed(nb_gguf *g, const uint8_t *bytes, size_t n, size_t piece, size_t *consumed, nb_error *err) {
  *consumed = 0;
  for (size_t at = 0; at < n; at += piece) {
    size_t used;
    const size_t part = n - at < piece ? n - at : piece;
    // A copy of its own size: reading past a piece is caught by AddressSanitizer.
    uint8_t *copy = malloc(part);
    memcpy(copy, bytes + at, part);
    const nb_status s = nb_gguf_feed(g, copy, part, &used, err);
    free(copy);
    if (s) return s;
    *consumed += used;
    if (nb_gguf_complete(g)) break;
    CHECK_EQ_INT(used, part);
  }
  return NB_OK;
}

// The file must be refused with this status and a message with these words, however it is cut.
static void refused_at(const char *file, int line, gguf_writer *w, nb_status status, const char *words) {
  const size_t pieces[] = {1, 7, 64, w->n};
  for (int i = 0; i < 4; i++) {
    nb_gguf *g = nb_gguf_new();
    nb_error err = {0};
    size_t consumed;
    nb_status s = feed(g, w->bytes, w->n, pieces[i], &consumed, &err);
    if (!s) s = nb_gguf_finish(g, w->n, &err);
    check_count++;
    if (s != status || err.status != status || !strstr(err.message, words)) {
      CHECK_FAIL("from %s:%d: status %d, message \"%s\"; expected %d and \"%s\"", file, line, s, s ? err.message : "", status, words);
    }
    if (s && !nb_gguf_complete(g)) {  // the same again, and nothing is taken
      nb_error again;
      CHECK_EQ_INT(nb_gguf_feed(g, w->bytes, 1, &consumed, &again), s == NB_E_TRUNCATED ? NB_OK : s);
      if (s != NB_E_TRUNCATED) CHECK_STR(again.message, err.message);
    }
    nb_gguf_free(g);
  }
  gw_free(w);
}
#define REFUSED(w, status, words) refused_at(__FILE__, __LINE__, w, status, words)

// The file is read; the caller frees the result.
static nb_gguf *accepted_at(const char *file, int line, gguf_writer *w) {
  nb_gguf *g = nb_gguf_new();
  nb_error err = {0};
  size_t consumed;
  nb_status s = feed(g, w->bytes, w->n, w->n, &consumed, &err);
  if (!s) s = nb_gguf_finish(g, w->n, &err);
  check_count++;
  if (s) CHECK_FAIL("from %s:%d: \"%s\"", file, line, err.message);
  if (!s) CHECK_EQ_INT(consumed, w->n_header);
  gw_free(w);
  if (s) exit(check_result());  // the rest would read what is not there
  return g;
}
#define ACCEPTED(w) accepted_at(__FILE__, __LINE__, w)

// ---- values -------------------------------------------------------------------------------------------------------------------

static void every_kind(gguf_writer *w, uint32_t version) {
  gw_begin(w, version);
  gw_kv_int(w, "u8", NB_GGUF_U8, 0xfe);
  gw_kv_int(w, "i8", NB_GGUF_I8, (uint8_t)-2);
  gw_kv_int(w, "u16", NB_GGUF_U16, 0xfedc);
  gw_kv_int(w, "i16", NB_GGUF_I16, (uint16_t)-300);
  gw_kv_int(w, "u32", NB_GGUF_U32, 0xfedcba98);
  gw_kv_int(w, "i32", NB_GGUF_I32, (uint32_t)-70000);
  gw_kv_int(w, "u64", NB_GGUF_U64, 0xfedcba9876543210);
  gw_kv_int(w, "i64", NB_GGUF_I64, (uint64_t)-5000000000);
  gw_kv_int(w, "small u64", NB_GGUF_U64, 4000000000);
  gw_kv_f32(w, "f32", 0.15625f);
  const double d = -2.5, huge = 1e300;
  gw_key(w, "f64", NB_GGUF_F64);
  gw_raw(w, &d, 8);
  gw_key(w, "huge f64", NB_GGUF_F64);
  gw_raw(w, &huge, 8);
  gw_kv_bool(w, "true", 1);
  gw_kv_bool(w, "false", 0);
  gw_kv_str(w, "string", "caf\xc3\xa9");
  gw_kv_str(w, "empty string", "");
  static const uint8_t items[8 * 3] = {1, 0, 1, 0, 1, 1, 0, 1};
  static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  for (uint32_t kind = 0; kind <= NB_GGUF_F64; kind++) {
    if (kind == NB_GGUF_STRING || kind == NB_GGUF_ARRAY) continue;
    char key[16];
    snprintf(key, sizeof key, "array %u", (unsigned)kind);
    gw_array(w, key, kind, 3);
    gw_raw(w, items, 3 * (size_t)sizes[kind]);
    snprintf(key, sizeof key, "empty %u", (unsigned)kind);
    gw_array(w, key, kind, 0);
  }
  gw_array(w, "strings", NB_GGUF_STRING, 3);
  gw_str(w, "one");
  gw_str(w, "");
  gw_str(w, "three");
  gw_array(w, "no strings", NB_GGUF_STRING, 0);
  gw_matrix(w, "m", NB_TYPE_Q4_0, 3, 64);
  gw_vector(w, "v", 5);
  gw_tensor(w, "cube", NB_TYPE_F16, 3, (const uint64_t[]){2, 3, 4});
  gw_tensor(w, "four", NB_TYPE_F32, 4, (const uint64_t[]){1, 2, 1, 2});
  gw_finish(w);
}

static void check_kinds(const nb_gguf *g, uint32_t version) {
  nb_error err;
  bool found;
  CHECK_EQ_INT(nb_gguf_version(g), version);
  CHECK_EQ_INT(nb_gguf_n_kv(g), 16 + 22 + 2);
  static const struct { const char *key; nb_status status; uint32_t value; } U32[] = {
      {"u8", 0, 0xfe}, {"u16", 0, 0xfedc}, {"u32", 0, 0xfedcba98}, {"small u64", 0, 4000000000}, {"true", 0, 1}, {"false", 0, 0},
      {"i8", NB_E_FORMAT, 7}, {"i16", NB_E_FORMAT, 7}, {"i32", NB_E_FORMAT, 7}, {"i64", NB_E_FORMAT, 7}, {"u64", NB_E_FORMAT, 7},
      {"f32", NB_E_FORMAT, 7}, {"string", NB_E_FORMAT, 7}, {"array 4", NB_E_FORMAT, 7}};
  for (size_t i = 0; i < sizeof U32 / sizeof *U32; i++) {
    uint32_t v = 7;
    const nb_status s = nb_gguf_get_u32(g, nb_str_of(U32[i].key), &v, &found, &err);
    CHECK_EQ_INT(s, U32[i].status);
    CHECK_EQ_INT(v, U32[i].value);
    CHECK(found);
    if (s) CHECK(strstr(err.message, U32[i].key) != NULL);
  }
  static const struct { const char *key; nb_status status; double value; } F32[] = {
      {"f32", 0, 0.15625}, {"f64", 0, -2.5}, {"u8", 0, 254}, {"i8", 0, -2}, {"i16", 0, -300}, {"i64", 0, -5e9},
      {"huge f64", NB_E_FORMAT, 7}, {"string", NB_E_FORMAT, 7}, {"array 6", NB_E_FORMAT, 7}};
  for (size_t i = 0; i < sizeof F32 / sizeof *F32; i++) {
    float v = 7;
    CHECK_EQ_INT(nb_gguf_get_f32(g, nb_str_of(F32[i].key), &v, &found, &err), F32[i].status);
    CHECK_NEAR(v, F32[i].value, 0);
  }
  bool b = false;
  CHECK(nb_gguf_get_bool(g, NB_STR("true"), &b, &found, &err) == NB_OK && b && found);
  CHECK(nb_gguf_get_bool(g, NB_STR("false"), &b, &found, &err) == NB_OK && !b);
  CHECK_EQ_INT(nb_gguf_get_bool(g, NB_STR("u8"), &b, &found, &err), NB_E_FORMAT);  // 254
  nb_str s = {"untouched", 9};
  CHECK(nb_gguf_get_str(g, NB_STR("missing"), &s, &found, &err) == NB_OK && !found && nb_str_eq(s, NB_STR("untouched")));
  CHECK(nb_gguf_get_str(g, NB_STR("string"), &s, &found, &err) == NB_OK && nb_str_eq(s, NB_STR("caf\xc3\xa9")));
  CHECK(nb_gguf_get_str(g, NB_STR("empty string"), &s, &found, &err) == NB_OK && s.len == 0);
  CHECK_EQ_INT(nb_gguf_get_str(g, NB_STR("u8"), &s, &found, &err), NB_E_FORMAT);

  const nb_gguf_kv *kv;
  CHECK(nb_gguf_get_array(g, NB_STR("missing"), NB_GGUF_STRING, &kv, &err) == NB_OK && !kv);
  CHECK_EQ_INT(nb_gguf_get_array(g, NB_STR("string"), NB_GGUF_STRING, &kv, &err), NB_E_FORMAT);
  CHECK_EQ_INT(nb_gguf_get_array(g, NB_STR("strings"), NB_GGUF_F32, &kv, &err), NB_E_FORMAT);
  CHECK(nb_gguf_get_array(g, NB_STR("array 4"), NB_GGUF_I32, &kv, &err) == NB_OK && kv->count == 3 && kv->bytes == 12);  // u32 as i32
  CHECK(nb_gguf_get_array(g, NB_STR("array 5"), NB_GGUF_U32, &kv, &err) == NB_OK && kv->count == 3);
  CHECK(nb_gguf_get_array(g, NB_STR("empty 6"), NB_GGUF_F32, &kv, &err) == NB_OK && kv && kv->count == 0 && kv->bytes == 0);
  CHECK(nb_gguf_get_array(g, NB_STR("strings"), NB_GGUF_STRING, &kv, &err) == NB_OK && kv->count == 3);
  size_t at = 0;
  CHECK(nb_str_eq(nb_gguf_next_str(kv, &at), NB_STR("one")));
  CHECK(nb_str_eq(nb_gguf_next_str(kv, &at), NB_STR("")));
  CHECK(nb_str_eq(nb_gguf_next_str(kv, &at), NB_STR("three")));
  CHECK_EQ_INT(at, kv->bytes);

  CHECK_EQ_INT(nb_gguf_n_tensors(g), 4);
  const nb_gguf_tensor *t = nb_gguf_find_tensor(g, NB_STR("m"));
  CHECK(t && t->type == NB_TYPE_Q4_0 && t->n_dims == 2 && t->dims[0] == 64 && t->dims[1] == 3 && t->dims[2] == 1 && t->bytes == 3 * 2 * 18 && t->offset == 0);
  t = nb_gguf_find_tensor(g, NB_STR("cube"));
  CHECK(t && t->n_dims == 3 && t->dims[2] == 4 && t->dims[3] == 1 && t->bytes == 48 && t->offset % 32 == 0);
  CHECK(t == nb_gguf_tensor_at(g, 2));
  CHECK(!nb_gguf_find_tensor(g, NB_STR("M")) && !nb_gguf_find_tensor(g, NB_STR("")) && !nb_gguf_find(g, NB_STR("stringz")));
}

static void values(void) {
  for (uint32_t version = 2; version <= 3; version++) {
    gguf_writer w;
    every_kind(&w, version);
    for (size_t piece = 1; piece <= w.n; piece++) {
      nb_gguf *g = nb_gguf_new();
      nb_error err = {0};
      size_t consumed;
      CHECK(feed(g, w.bytes, w.n, piece, &consumed, &err) == NB_OK);
      CHECK(nb_gguf_complete(g));
      CHECK_EQ_INT(consumed, w.n_header);
      CHECK_EQ_INT(nb_gguf_data_offset(g), w.n_header);
      CHECK(nb_gguf_finish(g, w.n, &err) == NB_OK);
      if (piece <= 40 || piece == w.n) check_kinds(g, version);
      nb_gguf_free(g);
    }
    for (size_t n = 0; n < w.n; n++) {  // cut short anywhere
      nb_gguf *g = nb_gguf_new();
      nb_error err = {0};
      size_t consumed;
      CHECK(feed(g, w.bytes, n, 64, &consumed, &err) == NB_OK);
      CHECK_EQ_INT(nb_gguf_finish(g, n, &err), NB_E_TRUNCATED);
      CHECK_EQ_INT(nb_gguf_complete(g), n >= w.n_header);
      nb_gguf_free(g);
    }
    gw_free(&w);
  }
}

static void empty_files(void) {
  gguf_writer w;
  gw_begin(&w, 3);
  gw_finish(&w);
  nb_gguf *g = ACCEPTED(&w);  // neither metadata nor tensors
  CHECK(nb_gguf_n_kv(g) == 0 && nb_gguf_n_tensors(g) == 0 && nb_gguf_data_bytes(g) == 0);
  nb_gguf_free(g);
  for (size_t padding = 0; padding < 70; padding++) {  // padding behind a header without tensors is allowed up to the alignment
    const uint8_t zero = 0;
    gw_begin(&w, 3);
    gw_kv_str(&w, "a", "b");
    gw_finish(&w);
    const size_t n = w.n;
    for (size_t i = 0; i < padding; i++) gw_raw(&w, &zero, 1);
    g = nb_gguf_new();
    nb_error err;
    size_t consumed;
    CHECK(feed(g, w.bytes, w.n, 1, &consumed, &err) == NB_OK);
    CHECK_EQ_INT(nb_gguf_finish(g, w.n, &err), w.n <= (n + 31) / 32 * 32 ? NB_OK : NB_E_FORMAT);
    nb_gguf_free(g);
    gw_free(&w);
  }
}

// ---- rules --------------------------------------------------------------------------------------------------------------------

static void put(gguf_writer *w, size_t at, uint64_t v, size_t width) { memcpy(w->bytes + at, &v, width); }

static gguf_writer small(void) {
  gguf_writer w;
  gw_begin(&w, 3);
  gw_kv_u32(&w, "number", 5);
  gw_vector(&w, "a", 8);
  gw_vector(&w, "b", 8);
  return w;
}

static void preamble(void) {
  gguf_writer w = small();
  gw_finish(&w);
  w.bytes[3] = 'X';
  REFUSED(&w, NB_E_FORMAT, "does not begin with the letters GGUF");
  static const struct { uint32_t version; const char *words; } VERSIONS[] = {
      {0, "version 0"}, {1, "version 1"}, {4, "version 4"}, {0xffffffff, "version 4294967295"}, {0x03000000, "big-endian"}, {0x02000000, "big-endian"}};
  for (size_t i = 0; i < 6; i++) {
    gw_begin(&w, VERSIONS[i].version);
    gw_finish(&w);
    REFUSED(&w, NB_E_UNSUPPORTED, VERSIONS[i].words);
  }
  const uint64_t counts[] = {(1u << 20) + 1, UINT32_MAX, (uint64_t)UINT32_MAX + 1, INT64_MAX, UINT64_MAX};
  for (size_t i = 0; i < 5; i++) {
    w = small();
    gw_finish(&w);
    put(&w, 8, counts[i], 8);
    REFUSED(&w, NB_E_FORMAT, "the tensor count at offset 8");
    w = small();
    gw_finish(&w);
    put(&w, 16, counts[i], 8);
    REFUSED(&w, NB_E_FORMAT, "the metadata count at offset 16");
  }
  w = small();  // counts within the limit that the file does not hold: read as far as it goes, without room for them
  gw_finish(&w);
  put(&w, 16, 1u << 20, 8);
  REFUSED(&w, NB_E_FORMAT, "");
  w = small();
  gw_finish(&w);
  put(&w, 8, 1u << 20, 8);
  REFUSED(&w, NB_E_FORMAT, "");
}

static void keys(void) {
  gguf_writer w;
  char *longest = malloc(65537);
  memset(longest, 'k', 65536);
  longest[65536] = 0;
  gw_begin(&w, 3);
  gw_kv_u32(&w, longest, 1);
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "the key at offset 24 has a length of 65536 bytes, outside 1..65535");
  longest[65535] = 0;
  gw_begin(&w, 3);
  gw_kv_u32(&w, longest, 1);
  gw_finish(&w);
  nb_gguf_free(ACCEPTED(&w));
  free(longest);
  gw_begin(&w, 3);
  gw_kv_u32(&w, "", 1);
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "the key at offset 24 has a length of 0 bytes");
  gw_begin(&w, 3);
  gw_kv_u32(&w, "\xc0\xaf", 1);
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "is not UTF-8");
  static const char *const twice[] = {"the.same", "between", "the.same"};
  gw_begin(&w, 3);
  for (int i = 0; i < 3; i++) gw_kv_u32(&w, twice[i], 1);
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "the key the.same occurs twice");
  gw_begin(&w, 3);
  gw_key(&w, "kind", 13);
  gw_u32(&w, 0);
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "the value type at offset 36 is 13");
}

static void strings_and_arrays(void) {
  gguf_writer w;
  const uint64_t lengths[] = {(16u << 20) + 1, UINT32_MAX, (uint64_t)UINT32_MAX + 9, INT64_MAX, UINT64_MAX - 7, UINT64_MAX};
  for (size_t i = 0; i < 6; i++) {
    gw_begin(&w, 3);
    gw_key(&w, "string", NB_GGUF_STRING);
    gw_u64(&w, lengths[i]);
    gw_finish(&w);
    REFUSED(&w, NB_E_FORMAT, "the string at offset 42 has a length of");
    gw_begin(&w, 3);
    gw_array(&w, "strings", NB_GGUF_STRING, 2);
    gw_str(&w, "first");
    gw_u64(&w, lengths[i]);
    gw_finish(&w);
    REFUSED(&w, NB_E_FORMAT, "the string at offset");
    gw_begin(&w, 3);
    gw_kv_u32(&w, "k", 1);
    gw_finish(&w);
    put(&w, 24, lengths[i], 8);
    REFUSED(&w, NB_E_FORMAT, "the key at offset 24");
  }
  const uint64_t counts[] = {(256u << 20) + 1, (uint64_t)1 << 32, (uint64_t)1 << 61, (uint64_t)1 << 62, INT64_MAX, UINT64_MAX};
  static const uint32_t kinds[] = {NB_GGUF_U8, NB_GGUF_U16, NB_GGUF_F32, NB_GGUF_BOOL, NB_GGUF_STRING, NB_GGUF_U64, NB_GGUF_F64};
  for (size_t i = 0; i < 6; i++)
    for (size_t k = 0; k < 7; k++) {
      gw_begin(&w, 3);
      gw_array(&w, "array", kinds[k], counts[i]);
      gw_finish(&w);
      REFUSED(&w, NB_E_FORMAT, "more than a header of");
    }
  gw_begin(&w, 3);
  gw_array(&w, "nested", NB_GGUF_ARRAY, 1);
  gw_u32(&w, NB_GGUF_U8);
  gw_u64(&w, 0);
  gw_finish(&w);
  REFUSED(&w, NB_E_UNSUPPORTED, "the array at offset 38 holds arrays");
  gw_begin(&w, 3);
  gw_array(&w, "unknown", 13, 1);
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "the item type at offset 43 is 13");
  gw_begin(&w, 3);
  gw_kv_bool(&w, "bool", 2);
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "the bool at offset 40 is 2");
  gw_begin(&w, 3);
  gw_array(&w, "bools", NB_GGUF_BOOL, 3);
  gw_raw(&w, "\0\1\377", 3);
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "is 255, not 0 or 1");
}

static void alignment(void) {
  gguf_writer w;
  const uint32_t bad[] = {0, 1, 2, 4, 7, 12, 33, 1u << 21, 1u << 31, UINT32_MAX};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    gw_begin(&w, 3);
    gw_kv_u32(&w, "general.alignment", bad[i]);
    gw_finish(&w);
    REFUSED(&w, NB_E_FORMAT, "general.alignment is");
  }
  gw_begin(&w, 3);
  gw_kv_int(&w, "general.alignment", NB_GGUF_U64, 32);
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "general.alignment is not of type u32");
  const uint32_t good[] = {8, 16, 32, 64, 4096, 1u << 20};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    gw_begin(&w, 3);
    w.alignment = good[i];
    gw_kv_u32(&w, "general.alignment", good[i]);
    gw_vector(&w, "a", 3);
    gw_vector(&w, "b", 3);
    gw_finish(&w);
    nb_gguf *g = ACCEPTED(&w);
    CHECK_EQ_U64(nb_gguf_alignment(g), good[i]);
    CHECK_EQ_U64(nb_gguf_data_offset(g) % good[i], 0);
    CHECK_EQ_U64(nb_gguf_tensor_at(g, 1)->offset, good[i] > 12 ? good[i] : 16);
    nb_gguf_free(g);
  }
}

static void tensors(void) {
  gguf_writer w;
  const uint32_t n_dims[] = {0, 5, 255, UINT32_MAX};
  for (size_t i = 0; i < 4; i++) {
    w = small();
    w.tensors[1].n_dims = n_dims[i];
    gw_finish(&w);
    REFUSED(&w, NB_E_FORMAT, "tensor b has");
  }
  for (uint32_t d = 0; d < 4; d++) {
    uint64_t dims[4] = {2, 2, 2, 2};
    dims[d] = 0;
    gw_begin(&w, 3);
    gw_tensor(&w, "t", NB_TYPE_F32, 4, dims);
    gw_finish(&w);
    REFUSED(&w, NB_E_FORMAT, "of tensor t is 0");
  }
  // the data of these is not written: the header alone must be refused
  static const uint64_t products[][4] = {{UINT64_MAX, 2, 1, 1}, {1ull << 32, 1ull << 32, 1, 1}, {1ull << 31, 1ull << 31, 1ull << 31, 1}, {1ull << 63, 1, 1, 1},
                                         {1ull << 16, 1ull << 16, 1ull << 16, 1ull << 16}, {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
  for (size_t i = 0; i < 6; i++) {
    w = small();
    w.tensors[1].n_dims = 4;
    memcpy(w.tensors[1].dims, products[i], sizeof products[i]);
    gw_finish(&w);
    REFUSED(&w, NB_E_FORMAT, "the dimensions of tensor b multiply to more");
  }
  w = small();
  w.tensors[1].dims[0] = 1ull << 62;  // 2^64 bytes
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "the size of tensor b is more");
  w = small();
  w.tensors[1].dims[0] = 1ull << 61;  // 2^63 bytes, more than a file has
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "tensor b ends beyond");
  w = small();
  w.tensors[1].offset = UINT64_MAX - 31;
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "tensor b ends beyond");
  w = small();
  w.tensors[1].offset = INT64_MAX / 32 * 32;
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "tensor b ends beyond");
  w = small();
  w.tensors[1].offset = 33;
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "tensor b begins at offset 33, not a multiple of the alignment 32");
  w = small();
  w.tensors[1].offset = 0;
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "overlap");
  w = small();
  w.tensors[0].dims[0] = 9;  // one number into b, which begins at 32
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "tensors a and b overlap");
  w = small();
  strcpy(w.tensors[1].name, "a");
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "the tensor a occurs twice");
  w = small();
  w.tensors[1].name[0] = 0;
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "the tensor name");
  w = small();
  strcpy(w.tensors[1].name, "\xed\xa0\x80");
  gw_finish(&w);
  REFUSED(&w, NB_E_FORMAT, "is not UTF-8");
  static const struct { uint32_t type; uint64_t block; } BLOCKS[] = {
      {NB_TYPE_Q4_0, 32}, {NB_TYPE_Q4_1, 32}, {NB_TYPE_Q5_0, 32}, {NB_TYPE_Q5_1, 32}, {NB_TYPE_Q8_0, 32}, {NB_TYPE_IQ4_NL, 32}, {NB_TYPE_Q2_K, 256},
      {NB_TYPE_Q3_K, 256}, {NB_TYPE_Q4_K, 256}, {NB_TYPE_Q5_K, 256}, {NB_TYPE_Q6_K, 256}, {NB_TYPE_IQ4_XS, 256}};
  for (size_t i = 0; i < sizeof BLOCKS / sizeof *BLOCKS; i++) {
    gw_begin(&w, 3);
    gw_matrix(&w, "rows", BLOCKS[i].type, 4, BLOCKS[i].block / 2);  // whole blocks in all, but not in a row
    gw_finish(&w);
    REFUSED(&w, NB_E_FORMAT, "not a multiple of");
  }
}

// Tensors lie where their offsets say: in any order, with room between, and the file ends behind the last.
static void placement(void) {
  gguf_writer w = small();
  w.tensors[0].offset = 96;  // b before a, a gap between
  w.tensors[1].offset = 0;
  gw_finish(&w);
  nb_gguf *g = nb_gguf_new();
  nb_error err;
  size_t consumed;
  CHECK(feed(g, w.bytes, w.n, 5, &consumed, &err) == NB_OK && nb_gguf_complete(g));
  const uint64_t header = nb_gguf_data_offset(g), end = header + 128;
  CHECK_EQ_U64(nb_gguf_data_bytes(g), 128);
  CHECK_EQ_INT(nb_gguf_finish(g, header, &err), NB_E_TRUNCATED);
  CHECK_EQ_INT(nb_gguf_finish(g, end - 1, &err), NB_E_TRUNCATED);
  CHECK_EQ_INT(nb_gguf_finish(g, end, &err), NB_OK);
  CHECK_EQ_INT(nb_gguf_finish(g, end + 1, &err), NB_E_FORMAT);  // 128 is aligned: no padding follows
  CHECK(strstr(err.message, "where its header describes") != NULL);
  nb_gguf_free(g);
  gw_free(&w);
  gw_begin(&w, 3);  // 20 bytes and up to 12 of padding
  gw_vector(&w, "v", 5);
  gw_finish(&w);
  g = nb_gguf_new();
  CHECK(feed(g, w.bytes, w.n, 5, &consumed, &err) == NB_OK && nb_gguf_complete(g));
  for (uint64_t n = 0; n < 80; n++) CHECK_EQ_INT(nb_gguf_finish(g, w.n_header + n, &err), n < 20 ? NB_E_TRUNCATED : n <= 32 ? NB_OK : NB_E_FORMAT);
  nb_gguf_free(g);
  gw_free(&w);
}

static void types(void) {
  static const struct { uint32_t type; const char *words; } REFUSALS[] = {
      {9, "type Q8_1"}, {15, "type Q8_K"}, {16, "type IQ2_XXS"}, {17, "type IQ2_XS"}, {18, "type IQ3_XXS"}, {19, "type IQ1_S"}, {21, "type IQ3_S"},
      {22, "type IQ2_S"}, {24, "type I8"}, {28, "type F64"}, {29, "type IQ1_M"}, {34, "type TQ1_0"}, {35, "type TQ2_0"}, {39, "type MXFP4"},
      {4, "type number 4"}, {31, "type number 31"}, {63, "type number 63"}, {64, "type number 64"}, {UINT32_MAX, "type number 4294967295"}};
  for (size_t i = 0; i < sizeof REFUSALS / sizeof *REFUSALS; i++) {
    gguf_writer w;
    gw_begin(&w, 3);
    gw_matrix(&w, "blk.0.ffn_up.weight", REFUSALS[i].type, 2, 256);
    gw_finish(&w);
    char words[64];
    snprintf(words, sizeof words, "tensor blk.0.ffn_up.weight is of %s", REFUSALS[i].words);
    REFUSED(&w, NB_E_UNSUPPORTED, words);
  }
  static const uint32_t RUN[] = {0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 20, 23, 30};
  static const uint16_t BYTES[] = {2048, 1024, 288, 320, 352, 384, 544, 168, 220, 288, 352, 420, 288, 272, 1024};  // of 2 x 256 weights
  for (size_t i = 0; i < sizeof RUN / sizeof *RUN; i++) {
    gguf_writer w;
    gw_begin(&w, 3);
    gw_matrix(&w, "m", RUN[i], 2, 256);
    gw_finish(&w);
    nb_gguf *g = ACCEPTED(&w);
    CHECK_EQ_U64(nb_gguf_tensor_at(g, 0)->bytes, BYTES[i]);
    nb_gguf_free(g);
  }
}

static void split(void) {
  static const struct { int keys; uint64_t no, count, total; nb_status status; uint32_t index, n, n_total; } CASES[] = {
      {0, 0, 0, 0, NB_OK, 0, 1, 0},  {1, 1, 3, 20, NB_OK, 1, 3, 20},        {1, 0, 0, 0, NB_OK, 0, 1, 0},  // 0 of 0: not split
      {1, 0, 1, 5, NB_OK, 0, 1, 5},  {1, 3, 3, 20, NB_E_FORMAT, 0, 0, 0}, {1, 1, 0, 0, NB_E_FORMAT, 0, 0, 0},
      {1, 65535, 65535, 0, NB_E_FORMAT, 0, 0, 0}, {1, 0, 2, 0xffffffff, NB_E_FORMAT, 0, 0, 0}};  // -1 tensors
  for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
    gguf_writer w;
    gw_begin(&w, 3);
    if (CASES[i].keys) {
      gw_kv_int(&w, "split.no", NB_GGUF_U16, CASES[i].no);
      gw_kv_int(&w, "split.count", NB_GGUF_U16, CASES[i].count);
      gw_kv_int(&w, "split.tensors.count", NB_GGUF_I32, CASES[i].total);
    }
    gw_finish(&w);
    nb_gguf *g = ACCEPTED(&w);
    uint32_t index = 9, n = 9, total = 9;
    nb_error err;
    CHECK_EQ_INT(nb_gguf_split(g, &index, &n, &total, &err), CASES[i].status);
    if (!CASES[i].status) CHECK(index == CASES[i].index && n == CASES[i].n && total == CASES[i].n_total);
    nb_gguf_free(g);
  }
}

// A header longer than what is read is refused while it comes in, not when it is all there.
static void endless_header(void) {
  gguf_writer w;
  gw_begin(&w, 3);
  gw_array(&w, "endless", NB_GGUF_U8, 256u << 20);
  gw_finish(&w);
  put(&w, 16, 2, 8);
  nb_gguf *g = nb_gguf_new();
  nb_error err;
  size_t used;
  CHECK(nb_gguf_feed(g, w.bytes, w.n, &used, &err) == NB_OK);
  static uint8_t zeros[1 << 20];
  nb_status s = NB_OK;
  int fed = 0;
  for (; !s && fed < 300; fed++) s = nb_gguf_feed(g, zeros, sizeof zeros, &used, &err);
  CHECK_EQ_INT(s, NB_E_FORMAT);
  CHECK(fed <= 256);
  CHECK(strstr(err.message, "the header is longer than") != NULL);
  nb_gguf_free(g);
  gw_free(&w);
}

int main(void) {
  values();
  empty_files();
  preamble();
  keys();
  strings_and_arrays();
  alignment();
  tensors();
  placement();
  types();
  split();
  endless_header();
  return check_result();
}
