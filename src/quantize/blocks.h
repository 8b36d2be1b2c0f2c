// Codes to the bytes of a block: the other direction of kernels/unpack.h.
#ifndef NB_QUANTIZE_BLOCKS_H
#define NB_QUANTIZE_BLOCKS_H

#include "../format/types.h"

// Codes are counted from the lowest level.
typedef struct nb_codes32 {
  uint8_t q[32];
  uint16_t d, m;  // halves; m only for Q4_1 and Q5_1
} nb_codes32;

typedef struct nb_codes256 {
  uint8_t q[256];
  int16_t scale[16];  // as decoded, of each group of 16 or 32; negative ones only for Q3_K, Q6_K, IQ4_XS
  int16_t min[16];    // only for Q2_K, Q4_K, Q5_K
  uint16_t d, dmin;   // halves; dmin only where there are minimums
} nb_codes256;

void nb_block_put_32(nb_type type, const nb_codes32 *codes, void *block);
void nb_block_put_256(nb_type type, const nb_codes256 *codes, void *block);

#endif
