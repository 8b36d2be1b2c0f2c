// Tensor types of GGUF files that this library runs, and the layout of their blocks on disk (ggml's definitions).
#ifndef NB_FORMAT_TYPES_H
#define NB_FORMAT_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Values are the type ids of the GGUF format.
typedef enum nb_type {
  NB_TYPE_F32 = 0,
  NB_TYPE_F16 = 1,
  NB_TYPE_Q4_0 = 2,
  NB_TYPE_Q4_1 = 3,
  NB_TYPE_Q5_0 = 6,
  NB_TYPE_Q5_1 = 7,
  NB_TYPE_Q8_0 = 8,
  NB_TYPE_Q2_K = 10,
  NB_TYPE_Q3_K = 11,
  NB_TYPE_Q4_K = 12,
  NB_TYPE_Q5_K = 13,
  NB_TYPE_Q6_K = 14,
  NB_TYPE_IQ4_NL = 20,
  NB_TYPE_IQ4_XS = 23,
  NB_TYPE_BF16 = 30,
  NB_TYPE_LIMIT = 64,  // ids at or above are not in the format as known here
} nb_type;

typedef struct nb_type_info {
  const char *name;      // as users write it, "Q4_K"; also set for types that exist in the format but are not run here
  uint16_t block_size;   // weights in a block; 0 where the type is not run here
  uint16_t block_bytes;  // bytes of a block
} nb_type_info;

// Never NULL; name is NULL for ids that the format does not define, block_size 0 for those not run here.
const nb_type_info *nb_type_get(uint32_t id);

// One block each, as it lies in the file (little-endian, no padding). Half floats are raw binary16 bits.
typedef struct { uint16_t d; uint8_t qs[16]; } nb_block_q4_0;                        // w = d * (q - 8)
typedef struct { uint16_t d, m; uint8_t qs[16]; } nb_block_q4_1;                     // w = d * q + m
typedef struct { uint16_t d; uint8_t qh[4]; uint8_t qs[16]; } nb_block_q5_0;         // w = d * (q - 16)
typedef struct { uint16_t d, m; uint8_t qh[4]; uint8_t qs[16]; } nb_block_q5_1;      // w = d * q + m
typedef struct { uint16_t d; int8_t qs[32]; } nb_block_q8_0;                         // w = d * q
typedef struct { uint8_t scales[16]; uint8_t qs[64]; uint16_t d, dmin; } nb_block_q2_k;
typedef struct { uint8_t hmask[32]; uint8_t qs[64]; uint8_t scales[12]; uint16_t d; } nb_block_q3_k;
typedef struct { uint16_t d, dmin; uint8_t scales[12]; uint8_t qs[128]; } nb_block_q4_k;
typedef struct { uint16_t d, dmin; uint8_t scales[12]; uint8_t qh[32]; uint8_t qs[128]; } nb_block_q5_k;
typedef struct { uint8_t ql[128]; uint8_t qh[64]; int8_t scales[16]; uint16_t d; } nb_block_q6_k;
typedef struct { uint16_t d; uint8_t qs[16]; } nb_block_iq4_nl;                      // w = d * table[q]
typedef struct { uint16_t d; uint16_t scales_h; uint8_t scales_l[4]; uint8_t qs[128]; } nb_block_iq4_xs;

_Static_assert(sizeof(nb_block_q4_0) == 18, "Q4_0");
_Static_assert(sizeof(nb_block_q4_1) == 20, "Q4_1");
_Static_assert(sizeof(nb_block_q5_0) == 22, "Q5_0");
_Static_assert(sizeof(nb_block_q5_1) == 24, "Q5_1");
_Static_assert(sizeof(nb_block_q8_0) == 34, "Q8_0");
_Static_assert(sizeof(nb_block_q2_k) == 84, "Q2_K");
_Static_assert(sizeof(nb_block_q3_k) == 110, "Q3_K");
_Static_assert(sizeof(nb_block_q4_k) == 144, "Q4_K");
_Static_assert(sizeof(nb_block_q5_k) == 176, "Q5_K");
_Static_assert(sizeof(nb_block_q6_k) == 210, "Q6_K");
_Static_assert(sizeof(nb_block_iq4_nl) == 18, "IQ4_NL");
_Static_assert(sizeof(nb_block_iq4_xs) == 136, "IQ4_XS");

#endif
