// The layouts that weights have in memory. Kernels and pack.c share this description.
//
// Halves in both have an exponent that counts from 25 instead of 15, so that they hold magnitudes from 2^-24 to below 128, all of them
// normalised: exponent 0 means zero. Widening takes a shift and one multiplication, and what a subnormal half stands for is no subnormal
// float on the way, which processors are slow with. Matrices with other halves, which is what broken files have, stay as they are.
//
// NB_LAYOUT_F16_BELOW_128: 8 columns of a row and the same of the next row take turns, so that kernels which take two rows read memory
// from one end to the other; columns beyond the last 8 follow, one row after the other. A last row without a partner stays as it is in
// the file.
//
// NB_LAYOUT_X8, 8 interleaved rows:
//
// The rows beyond the last whole group stay as they are in the file. A group of 8 rows keeps its size: where 8 rows of blocks lay one
// after the other, there lie packed blocks, one for each column of blocks, each made of 8 blocks of the file and as large as they. Its
// parts, in order:
//
//     Q4_0, IQ4_NL   d, nibbles                        Q4_K     d, dmin, sixes of the scales, sixes of the minimums, 8 x nibbles
//     Q4_1           d, m, nibbles                     Q5_K     the same with 8 x (fifths, nibbles)
//     Q5_0           d, fifths, nibbles                IQ4_XS   d, sixes of the scales, 8 x nibbles
//     Q5_1           d, m, fifths, nibbles             Q6_K     d, 16 x 8 signed scales (one part's of the 8 rows after another), 16 x weights
//     Q8_0           d, bytes
//
//     d, dmin, m   8 halves, row by row                                                                                 16 bytes
//     nibbles      32 columns: for g = 0..3, row by row, 4 bytes: low halves columns 4g .. 4g+3, high 16+4g .. 16+4g+3  128 bytes
//     fifths       32 columns: row by row, 4 bytes: bit g of byte i is the fifth bit of column 4g + i                   32 bytes
//     bytes        32 columns: for g = 0..7, row by row, the 4 bytes of columns 4g .. 4g+3, their top bits inverted
//                  (the weight plus 128)                                                                                256 bytes
//     weights      16 columns: word g (4 columns, 6 bits a byte) of the 8 rows for g = 0..2; the words of g = 3 lie in
//                  their top bits, bits 0-1 in those of g = 0, bits 2-3 in those of g = 1, bits 4-5 in those of g = 2   96 bytes
//     sixes        64 numbers x of 6 bits, x[j][row] for j = 0..7: the bytes 0..47 hold the first 48; the last 16 lie
//                  in their top bits in the same manner, 16 bytes apart                                                 48 bytes
//
// So rows stand in the lanes of a vector: 16 bytes hold 4 columns of 4 rows, which are multiplied with 4 activations repeated.
#ifndef NB_KERNELS_PACK_H
#define NB_KERNELS_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/half.h"
#include "kernels.h"

#define NB_X8_ROWS 8
#define NB_X8_HALVES 16
#define NB_X8_NIBBLES 128
#define NB_X8_FIFTHS 32
#define NB_X8_WEIGHTS6 96
#define NB_X8_SIXES 48

bool nb_x8_exists(nb_type type);

// Moved to a float's place, exponent and mantissa of such a half are 2^-102 of it.
#define NB_BELOW_128_FACTOR 0x1p102f

#define NB_BELOW_128_ROWS 2
#define NB_BELOW_128_COLS 8

// Index of a number within its pair of rows.
static inline size_t nb_below_128_at(size_t cols, size_t row, size_t c) {
  const size_t whole = cols / NB_BELOW_128_COLS * NB_BELOW_128_COLS, odd = row % NB_BELOW_128_ROWS;
  if (c >= whole) return 2 * whole + odd * (cols - whole) + (c - whole);
  return c / NB_BELOW_128_COLS * 2 * NB_BELOW_128_COLS + odd * NB_BELOW_128_COLS + c % NB_BELOW_128_COLS;
}

static inline float nb_below_128_to_f32(uint16_t code) {
  return nb_bits_f32((uint32_t)(code & 0x8000) << 16 | (uint32_t)(code & 0x7fff) << 13) * NB_BELOW_128_FACTOR;
}

// Room for a block of any type.
typedef struct nb_block_buffer {
  _Alignas(8) uint8_t bytes[256];
} nb_block_buffer;

// Block `b` of row `row` as it lay in the file: in place, or put together in `buffer` from a packed group.
const uint8_t *nb_file_block(const nb_matrix *w, size_t row, size_t b, nb_block_buffer *buffer);

#endif
