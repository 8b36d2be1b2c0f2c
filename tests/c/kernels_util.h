// What the tests of kernels share: pseudo-random numbers, buffers whose neighbourhood cannot be touched, matrices of random blocks.
#ifndef NB_TESTS_KERNELS_UTIL_H
#define NB_TESTS_KERNELS_UTIL_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/base/half.h"
#include "../../src/kernels/kernels.h"

// The types with blocks, then those without.
static const nb_type ALL_TYPES[] = {NB_TYPE_Q4_0, NB_TYPE_Q4_1, NB_TYPE_Q5_0, NB_TYPE_Q5_1,   NB_TYPE_Q8_0, NB_TYPE_IQ4_NL, NB_TYPE_Q2_K, NB_TYPE_Q3_K,
                                    NB_TYPE_Q4_K, NB_TYPE_Q5_K, NB_TYPE_Q6_K, NB_TYPE_IQ4_XS, NB_TYPE_F32,  NB_TYPE_F16,    NB_TYPE_BF16};
enum { N_ALL_TYPES = sizeof ALL_TYPES / sizeof ALL_TYPES[0], N_BLOCK_TYPES = 12 };

static inline uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

// -1 .. 1, small numbers likelier than large ones; exact, so the same on every machine.
static inline float random_float(uint64_t *state) {
  const uint64_t r = next_random(state);
  return ((float)((int32_t)(r & 0xfff) - 0x800) / 2048.0f) * ((float)(r >> 20 & 0xfff) / 4096.0f) + (float)(r >> 40 & 0xff) / 1048576.0f;
}

static inline void random_floats(float *x, size_t n, uint64_t *state) {
  for (size_t i = 0; i < n; i++) x[i] = random_float(state);
}

// The same bits; one NaN is as good as another, since neither WebAssembly nor C says which one an operation gives.
static inline bool same_float(float a, float b) { return nb_f32_bits(a) == nb_f32_bits(b) || (isnan(a) && isnan(b)); }

// The first index where two arrays differ, n where nowhere.
static inline size_t first_difference(const float *a, const float *b, size_t n) {
  size_t i = 0;
  while (i < n && same_float(a[i], b[i])) i++;
  return i;
}

#define HASH_START 14695981039346656037ull

static inline uint64_t hash_bytes(const void *data, size_t n, uint64_t h) {  // FNV-1a
  const uint8_t *p = data;
  for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 1099511628211ull;
  return h;
}

// Byte offsets of the half scales of a block; -1 where there is none.
typedef struct half_offsets {
  int first, second;
} half_offsets;

static inline half_offsets halves_of(nb_type type) {
  switch (type) {
    case NB_TYPE_Q4_1: case NB_TYPE_Q5_1: case NB_TYPE_Q4_K: case NB_TYPE_Q5_K: return (half_offsets){0, 2};
    case NB_TYPE_Q2_K: return (half_offsets){80, 82};
    case NB_TYPE_Q3_K: return (half_offsets){108, -1};
    case NB_TYPE_Q6_K: return (half_offsets){208, -1};
    case NB_TYPE_F32: case NB_TYPE_F16: case NB_TYPE_BF16: return (half_offsets){-1, -1};
    default: return (half_offsets){0, -1};
  }
}

static inline void put_half(uint8_t *p, uint16_t h) { memcpy(p, &h, 2); }

// Fills n weights of a type with random bytes under scales of ordinary size (about 0.001 .. 0.03, either sign).
static inline void random_blocks(nb_type type, uint8_t *data, size_t n, uint64_t *state) {
  const nb_type_info *info = nb_type_get(type);
  const half_offsets halves = halves_of(type);
  const size_t blocks = n / info->block_size;
  if (halves.first < 0) {
    for (size_t i = 0; i < n; i++) {
      const float f = random_float(state);
      const uint16_t h = type == NB_TYPE_F16 ? nb_f32_to_f16(f) : (uint16_t)(nb_f32_bits(f) >> 16);
      memcpy(data + i * info->block_bytes, type == NB_TYPE_F32 ? (const void *)&f : (const void *)&h, info->block_bytes);
    }
    return;
  }
  for (size_t b = 0; b < blocks; b++, data += info->block_bytes) {
    for (size_t i = 0; i < info->block_bytes; i++) data[i] = (uint8_t)(next_random(state) >> 32);
    put_half(data + halves.first, (uint16_t)(0x1400 + (next_random(state) >> 32 & 0x93ff)));
    if (halves.second >= 0) put_half(data + halves.second, (uint16_t)(0x1400 + (next_random(state) >> 32 & 0x93ff)));
  }
}

// ---- tight buffers --------------------------------------------------------------------------------------------------------------
// n bytes, aligned to 8 and, where n allows it, ending where memory ends: the next byte cannot be read or written. With
// AddressSanitizer the heap serves. WebAssembly has neither: there, marks behind the buffer show writes beyond it.

#if defined(__wasm__)
#define NB_TIGHT_MARKS 1
#elif defined(__SANITIZE_ADDRESS__)
#define NB_TIGHT_HEAP 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NB_TIGHT_HEAP 1
#endif
#endif

typedef struct tight {
  void *p;  // the buffer
  void *base;
  size_t size;  // of the buffer where marks stand behind it, of what lies before the guarded page where there is one
} tight;

#if defined(NB_TIGHT_MARKS)
enum { N_MARKS = 32, MARK = 0xa5 };
static inline tight tight_new_at(size_t n, size_t misaligned) {
  uint8_t *base = aligned_alloc(16, (n + misaligned + N_MARKS + 15) / 16 * 16);
  if (!base) abort();
  memset(base + misaligned + n, MARK, N_MARKS);
  return (tight){base + misaligned, base, n};
}
static inline tight tight_new(size_t n) { return tight_new_at(n, 8); }  // the alignment weights have, and no more
static inline void tight_free(tight *t) {
  const uint8_t *marks = (const uint8_t *)t->p + t->size;
  for (int i = 0; i < N_MARKS; i++) {
    if (marks[i] == MARK) continue;
    fprintf(stderr, "written beyond a buffer of %zu bytes\n", t->size);
    exit(1);
  }
  free(t->base);
}
#elif defined(NB_TIGHT_HEAP)
static inline tight tight_new(size_t n) {
  uint8_t *base = malloc(n + 8);
  if (!base) abort();
  return (tight){base + 8, base, 0};  // 8 past 16-byte alignment: the alignment weights have, and no more
}
static inline void tight_free(tight *t) { free(t->base); }
#else
#include <sys/mman.h>
enum { PAGE = 16384 };  // a multiple of the page of every machine this runs on
static inline tight tight_new(size_t n) {
  const size_t body = (n + PAGE - 1) / PAGE * PAGE + PAGE;
  uint8_t *base = aligned_alloc(PAGE, body + PAGE);
  if (!base || mprotect(base + body, PAGE, PROT_NONE) != 0) abort();
  return (tight){base + body - (n + 7) / 8 * 8, base, body};
}
static inline void tight_free(tight *t) {
  if (mprotect((uint8_t *)t->base + t->size, PAGE, PROT_READ | PROT_WRITE) != 0) abort();
  free(t->base);
}
#endif

// As tight_new, aligned to 16: for buffers that the library makes.
static inline tight tight_new16(size_t n) {
#if defined(NB_TIGHT_MARKS)
  return tight_new_at(n, 0);
#elif defined(NB_TIGHT_HEAP)
  uint8_t *base = malloc(n ? n : 1);
  if (!base) abort();
  return (tight){base, base, 0};
#else
  return tight_new((n + 15) / 16 * 16);
#endif
}

// A matrix of random blocks in a tight buffer, in file order.
typedef struct test_matrix {
  nb_matrix w;
  tight memory;
} test_matrix;

static inline test_matrix matrix_new(nb_type type, size_t rows, size_t cols, uint64_t *state) {
  const nb_type_info *info = nb_type_get(type);
  test_matrix m = {.w = {.type = type, .layout = NB_LAYOUT_ROWS, .rows = rows, .cols = cols, .row_bytes = cols / info->block_size * info->block_bytes}};
  m.memory = tight_new(rows * m.w.row_bytes);
  random_blocks(type, m.memory.p, rows * cols, state);
  m.w.data = m.memory.p;
  return m;
}

static inline void matrix_free(test_matrix *m) { tight_free(&m->memory); }

// Rearranges m, as loading does. Where the layout refuses its numbers it stays as it was.
static inline void matrix_pack(test_matrix *m) {
  const nb_layout layout = nb_pack_layout(m->w.type, m->w.rows, m->w.cols);
  const size_t group = nb_pack_group_rows(layout), row_bytes = m->w.row_bytes;
  uint8_t *scratch = malloc(group * row_bytes), *data = m->memory.p;
  if (!scratch) abort();
  m->w.layout = layout;
  for (size_t r = 0; r + group <= m->w.rows; r += group) {
    if (nb_pack_group(m->w.type, layout, row_bytes, data + r * row_bytes, scratch)) continue;
    while (r > 0) nb_unpack_group(m->w.type, layout, row_bytes, data + (r -= group) * row_bytes, scratch);
    m->w.layout = NB_LAYOUT_ROWS;
    break;
  }
  free(scratch);
}

#endif
