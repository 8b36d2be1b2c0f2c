// SHA-256 (FIPS 180-4) of bytes that come in pieces. In the core because the bytes of a model already lie in its memory, and because
// browsers offer no hash that can be fed in pieces.
#ifndef NB_BASE_SHA256_H
#define NB_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct nb_sha256 {
  uint32_t h[8];
  uint64_t bytes;     // hashed or waiting in block
  uint8_t block[64];
} nb_sha256;

void nb_sha256_init(nb_sha256 *s);
void nb_sha256_update(nb_sha256 *s, const void *data, size_t n);
void nb_sha256_final(nb_sha256 *s, uint8_t digest[32]);  // s must be initialised again before it is used further

#endif
