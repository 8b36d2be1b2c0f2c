// The interleaved layout of 8 rows, NB_LAYOUT_X8, of Q4_0 weights. Kernels and pack.c share this description.
//
// A group of 8 rows keeps its bytes: where 8 rows of `cols / 32` blocks of 18 bytes lay one after the other, there lie `cols / 32`
// packed blocks of 144 bytes, each made of the 8 blocks of one block column:
//     8 half scales, row by row                                   16 bytes
//     for word g of the 16 nibble bytes, g = 0..3: 8 rows x 4     128 bytes, row r's word g at 16 + 32 * g + 4 * r
// The nibbles stay paired as in the file: in word g the low ones belong to columns 4g .. 4g+3, the high ones to 16+4g .. 16+4g+3.
#ifndef NB_KERNELS_PACK_H
#define NB_KERNELS_PACK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../format/types.h"

#define NB_X8_ROWS 8
#define NB_X8_Q4_0_BYTES (NB_X8_ROWS * sizeof(nb_block_q4_0))
#define NB_X8_Q4_0_WORDS 16  // offset of the nibble words

// Block `b` of row `r` (0..7) of a packed group, as it lay in the file.
static inline void nb_x8_q4_0_block(const uint8_t *group, size_t b, size_t r, nb_block_q4_0 *out) {
  const uint8_t *packed = group + b * NB_X8_Q4_0_BYTES;
  memcpy(&out->d, packed + 2 * r, 2);
  for (size_t g = 0; g < 4; g++) memcpy(out->qs + 4 * g, packed + NB_X8_Q4_0_WORDS + 32 * g + 4 * r, 4);
}

#endif
