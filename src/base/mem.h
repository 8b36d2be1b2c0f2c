// Checked size arithmetic, and byte strings that point into memory owned by somebody else.
// Allocation goes through the C library's malloc, calloc, realloc and free directly: the tests replace these at link time
// to make every single allocation fail once.
#ifndef NB_BASE_MEM_H
#define NB_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// A run of bytes, not terminated, not owned. Text is UTF-8 unless a comment says otherwise.
typedef struct nb_str {
  const char *data;
  size_t len;
} nb_str;

#define NB_STR(literal) ((nb_str){(literal), sizeof(literal) - 1})

static inline nb_str nb_str_of(const char *z) { return (nb_str){z, strlen(z)}; }

static inline bool nb_str_eq(nb_str a, nb_str b) { return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0); }

// a * b and a + b in 64 bits; false (and *out untouched) when the result does not fit.
static inline bool nb_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
  if (b != 0 && a > UINT64_MAX / b) return false;
  *out = a * b;
  return true;
}

static inline bool nb_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
  if (a > UINT64_MAX - b) return false;
  *out = a + b;
  return true;
}

// The one conversion from file-sized numbers to size_t, which has 32 bits in wasm.
static inline bool nb_to_size(uint64_t n, size_t *out) {
  if (n > (uint64_t)SIZE_MAX / 2) return false;
  *out = (size_t)n;
  return true;
}

// Rounds n up to a multiple of align (a power of two). The caller has checked that it does not wrap.
static inline uint64_t nb_align_up(uint64_t n, uint64_t align) { return (n + align - 1) & ~(align - 1); }

// Unaligned little-endian loads; every target of this library is little-endian (checked in status of the build, see half.h).
static inline uint16_t nb_load_u16(const void *p) { uint16_t v; memcpy(&v, p, sizeof v); return v; }
static inline uint32_t nb_load_u32(const void *p) { uint32_t v; memcpy(&v, p, sizeof v); return v; }
static inline uint64_t nb_load_u64(const void *p) { uint64_t v; memcpy(&v, p, sizeof v); return v; }
static inline float nb_load_f32(const void *p) { float v; memcpy(&v, p, sizeof v); return v; }

// FNV-1a, 64 bits: the hash of every hash table here. Seeded, so that a table over untrusted keys can be reseeded.
static inline uint64_t nb_hash(const void *data, size_t len, uint64_t seed) {
  const uint8_t *p = (const uint8_t *)data;
  uint64_t h = 14695981039346656037ull ^ seed;
  for (size_t i = 0; i < len; i++) h = (h ^ p[i]) * 1099511628211ull;
  return h ^ (h >> 32);
}

#endif
