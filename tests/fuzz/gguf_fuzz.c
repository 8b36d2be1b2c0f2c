// A file from somewhere: its header is read, the model loaded, text encoded, decoded and generated. Mutations know the format: they change
// an integer, a string or the order of things, and then give the file the length its header asks for, so that they get behind the first check.
#include "../c/exercise.h"
#include "../c/tiny_models.h"

#define MAX_DATA (1u << 20)  // larger claims of a header end as a file that was cut short, and only cost memory here
#define MAX_SPOTS 2048

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t max, unsigned seed);

// What the header says the file's length is; 0 where it is not complete or wrong.
static uint64_t announced(const uint8_t *data, size_t n) {
  nb_gguf *g = nb_gguf_new();
  size_t used;
  if (!g) return 0;
  const bool complete = !nb_gguf_feed(g, data, n, &used, NULL) && nb_gguf_complete(g);
  const uint64_t bytes = complete ? nb_gguf_data_offset(g) + nb_gguf_data_bytes(g) : 0;
  nb_gguf_free(g);
  return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  nb_error err = {0};
  const size_t piece = n % 3 == 0 ? 0 : n % 3 == 1 ? 1 + n % 61 : 4096;
  exercise_header(data, n, piece, &err);
  if (announced(data, n) > n + MAX_DATA) return 0;
  exercise(data, n, piece, NB_STR(TINY_TEXT "\xff\xe4\xb8\xad  \r\n\t'LL 12345 \xf0\x9f\x98\x80"), n / 3, &err);
  return 0;
}

// ---- mutation -----------------------------------------------------------------------------------------------------------------

typedef struct spot {
  size_t at, width;  // an integer; or a string: its length in 8 bytes, then `text` bytes
  size_t text;
} spot;

typedef struct walk {
  const uint8_t *data;
  size_t n, at;
  spot *spots;
  size_t n_spots;
} walk;

static bool take(walk *w, size_t width, uint64_t *v) {
  if (w->n - w->at < width) return false;
  *v = 0;
  memcpy(v, w->data + w->at, width);
  if (w->n_spots < MAX_SPOTS) w->spots[w->n_spots++] = (spot){w->at, width, 0};
  w->at += width;
  return true;
}

static bool take_string(walk *w) {
  uint64_t length;
  const size_t start = w->at;
  if (!take(w, 8, &length) || length > w->n - w->at) return false;
  if (w->n_spots < MAX_SPOTS) w->spots[w->n_spots++] = (spot){start, 0, (size_t)length};
  w->at += (size_t)length;
  return true;
}

static bool take_value(walk *w, uint64_t kind, int depth) {
  static const uint8_t WIDTHS[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  uint64_t v, count;
  if (kind > 12) return false;
  if (kind == NB_GGUF_STRING) return take_string(w);
  if (kind != NB_GGUF_ARRAY) return take(w, WIDTHS[kind], &v);
  if (!take(w, 4, &v) || !take(w, 8, &count) || depth) return false;
  for (uint64_t i = 0; i < count; i++)
    if (!take_value(w, v, 1)) return false;
  return true;
}

// Finds integers and strings as far as the header makes sense.
static void find_spots(walk *w) {
  uint64_t v, n_tensors, n_kv, n_dims;
  w->at = 4;
  if (!take(w, 4, &v) || !take(w, 8, &n_tensors) || !take(w, 8, &n_kv)) return;
  for (uint64_t i = 0; i < n_kv; i++)
    if (!take_string(w) || !take(w, 4, &v) || !take_value(w, v, 0)) return;
  for (uint64_t i = 0; i < n_tensors; i++) {
    if (!take_string(w) || !take(w, 4, &n_dims) || n_dims > 4) return;
    for (uint64_t d = 0; d < n_dims + 1; d++)
      if (!take(w, d < n_dims ? 8 : 4, &v)) return;
    if (!take(w, 8, &v)) return;
  }
}

static uint32_t next(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 4;
}

static uint64_t new_integer(uint64_t v, size_t width, uint32_t *r) {
  const uint64_t max = width == 8 ? UINT64_MAX : ((uint64_t)1 << 8 * width) - 1;
  switch (next(r) % 10) {
    case 0: return 0;
    case 1: return 1;
    case 2: return max;
    case 3: return max / 2;
    case 4: return max / 2 + 1;
    case 5: return v + 1;
    case 6: return v - 1;
    case 7: return v * 2;
    case 8: return next(r) % 64;
    default: return v ^ (uint64_t)1 << next(r) % (8 * width);
  }
}

static void change_integer(uint8_t *data, const spot *s, const walk *w, uint32_t *r) {
  uint64_t v = 0;
  memcpy(&v, data + s->at, s->width);
  v = new_integer(v, s->width, r);
  const spot *other = &w->spots[next(r) % w->n_spots];
  if (next(r) % 4 == 0 && other->width >= s->width) memcpy(&v, data + other->at, s->width);  // a number from elsewhere
  memcpy(data + s->at, &v, s->width);
}

// Another text, by libFuzzer or from another string, with the length that belongs to it.
static size_t change_string(uint8_t *data, size_t n, size_t max, const spot *s, const walk *w, uint32_t *r) {
  uint8_t text[256] = {0};
  size_t length = s->text < 128 ? s->text : 128;
  memcpy(text, data + s->at + 8, length);
  const spot *other = &w->spots[next(r) % w->n_spots];
  if (next(r) % 2 && !other->width) {
    length = other->text < sizeof text ? other->text : sizeof text;
    memcpy(text, data + other->at + 8, length);
  } else {
    length = LLVMFuzzerMutate(text, length, sizeof text);
  }
  if (n - s->text + length > max) return n;
  memmove(data + s->at + 8 + length, data + s->at + 8 + s->text, n - s->at - 8 - s->text);
  memcpy(data + s->at + 8, text, length);
  const uint64_t v = length;
  memcpy(data + s->at, &v, 8);
  return n - s->text + length;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t max, unsigned seed) {
  static spot spots[MAX_SPOTS];
  uint32_t r = seed;
  if (n < 24 || next(&r) % 200 == 0) {
    gguf_writer w;
    if (next(&r) % 2) tiny_llama(&w);
    else tiny_qwen2(&w);
    n = w.n < max ? w.n : max;
    memcpy(data, w.bytes, n);
    gw_free(&w);
  }
  for (uint32_t i = 0, changes = 1 + next(&r) % 3; i < changes; i++) {
    walk w = {.data = data, .n = n, .spots = spots};
    if (n >= 24) find_spots(&w);
    if (w.n_spots == 0 || next(&r) % 8 == 0) {
      n = LLVMFuzzerMutate(data, n, max);
      continue;
    }
    const spot *s = &spots[next(&r) % w.n_spots];
    if (s->width) change_integer(data, s, &w, &r);
    else n = change_string(data, n, max, s, &w, &r);
  }
  const uint64_t length = announced(data, n);
  if (length && length <= max && next(&r) % 8) {
    for (size_t i = n; i < length; i++) data[i] = (uint8_t)(next(&r) % 5 ? 0 : 0x3c);
    n = (size_t)length;
  }
  return n;
}
