// Groups of 8 interleaved rows (pack.h) times int8 activations: what all variants and types share.
//
// A tile is 8 rows by 1 or 4 vectors. Rows stand in the lanes from the first product on: 16 bytes of weights are 4 columns of 4 rows,
// and are multiplied with 4 activations repeated:
//
//                              columns c .. c+3 of rows 0-3 | of rows 4-7
//     vector t: a[c .. c+3] x  4 lanes, one a row           | 4 lanes          for every c of a stretch, added as integers
//
// A stretch is what shares a scale: 32 columns, 16 for Q6_K. A block is one stretch or, in blocks of 256, 8 or 16 of them, whose sums
// are multiplied with their scales as integers; then the one float step of the block follows. Codes are unsigned: what they are too
// large by is taken off at the end, by the sums of the activations.
#ifndef NB_KERNELS_X8_SIMD_H
#define NB_KERNELS_X8_SIMD_H

#include <assert.h>

#include "pack.h"
#include "simd.h"
#include "unpack.h"
#include "variants.h"

#ifdef NB_SIMD128

// NB_UNROLL: loops of constant length that become straight-line code whatever the compiler thinks of their size, so that what depends
// on the index is a constant. NB_ROLL: loops that stay loops, so that the sums of several vectors grow side by side in registers; in
// straight-line code the compiler makes one sum after another, a chain each, and keeps the weights of all steps waiting: more than there
// are registers.
#if defined(__clang__)
#define NB_UNROLL _Pragma("clang loop unroll(full)")
#define NB_ROLL _Pragma("clang loop unroll(disable)")
#else
#define NB_UNROLL
#define NB_ROLL
#endif

typedef struct nb_x8 {
  v128_t r0, r4;  // rows 0..3 and 4..7
} nb_x8;

// ---- constants ------------------------------------------------------------------------------------------------------------------

// V8 builds constants anew where they are used, in loops too, with several instructions. What is loaded from a place that compilers
// cannot see through stays in a register.
typedef struct nb_x8_constants {
  v128_t low, sixteen, top2;          // bytes 0x0f, 0x10, 0xc0
  v128_t even_bytes;                  // 0x00ff in 16 bits
  v128_t half_bits, half_factor;      // for halves
  v128_t table, table_high;           // IQ4: the table plus 128, or its low and high nibbles
  v128_t flip, offset;                // NB_BYTES: what makes codes signed or leaves them, and masks the offset that they then have or not
} nb_x8_constants;

NB_INLINE v128_t nb_x8_kept(const void *p) {
  __asm__("" : "+r"(p));
  return wasm_v128_load(p);
}

#define NB_X16(b) {b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b}
#define NB_IQ4_PLUS_128 {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241}

// How a variant takes codes of 8 bits: in two planes of 4, whole as the layout has them, or whole as a relaxed dot product wants them.
typedef enum nb_x8_eight { NB_IN_PLANES, NB_IN_16_BITS, NB_BYTES } nb_x8_eight;

NB_INLINE nb_x8_constants nb_x8_constants_of(nb_x8_eight eight, bool is_signed) {
  const bool table_in_nibbles = eight == NB_IN_PLANES;
  static const uint8_t low[16] = NB_X16(0x0f), sixteen[16] = NB_X16(0x10), top2[16] = NB_X16(0xc0), table[16] = NB_IQ4_PLUS_128;
  static const uint16_t even_bytes[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  static const uint32_t half_bits[4] = {0x8fffffff, 0x8fffffff, 0x8fffffff, 0x8fffffff};
  static const float half_factor[4] = {NB_BELOW_128_FACTOR, NB_BELOW_128_FACTOR, NB_BELOW_128_FACTOR, NB_BELOW_128_FACTOR};
  const v128_t all = nb_x8_kept(table), nibbles = nb_x8_kept(low);
  return (nb_x8_constants){
      .low = nibbles, .sixteen = nb_x8_kept(sixteen), .top2 = nb_x8_kept(top2), .even_bytes = nb_x8_kept(even_bytes),
      .half_bits = nb_x8_kept(half_bits), .half_factor = nb_x8_kept(half_factor),
      .table = table_in_nibbles ? wasm_v128_and(all, nibbles) : all, .table_high = wasm_v128_and(wasm_u16x8_shr(all, 4), nibbles),
      .flip = wasm_i8x16_splat(is_signed ? -128 : 0), .offset = wasm_i32x4_splat(is_signed ? 0 : -1),
  };
}

// 8 halves of the layout to floats.
NB_INLINE nb_x8 nb_x8_halves(v128_t h, const nb_x8_constants *k) {
  const v128_t zero = wasm_i32x4_const(0, 0, 0, 0);
  const v128_t h0 = wasm_i16x8_shuffle(zero, h, 0, 8, 1, 9, 2, 10, 3, 11), h4 = wasm_i16x8_shuffle(zero, h, 4, 12, 5, 13, 6, 14, 7, 15);
  return (nb_x8){wasm_f32x4_mul(wasm_v128_and(wasm_i32x4_shr(h0, 3), k->half_bits), k->half_factor),
                 wasm_f32x4_mul(wasm_v128_and(wasm_i32x4_shr(h4, 3), k->half_bits), k->half_factor)};
}

// ---- stretches to codes -----------------------------------------------------------------------------------------------------------

// Two words of a stretch of `span` columns: a is word g, columns 4g .. 4g+3; b is as much further as half the span.
typedef struct nb_x8_codes {
  nb_x8 a, b;
} nb_x8_codes;

// Codes of more than 7 bits do not fit the relaxed dot products of every machine, and are taken as planes of 4 bits: NB_LOW, NB_HIGH, or whole.
typedef enum nb_x8_plane { NB_LOW = 0, NB_HIGH = 1, NB_WHOLE = 2 } nb_x8_plane;

typedef nb_x8_codes nb_x8_decode_fn(const uint8_t *stretch, int g, nb_x8_plane plane, const nb_x8_constants *k);

NB_INLINE nb_x8_codes nb_x8_nibbles(const uint8_t *p, int g, nb_x8_plane plane, const nb_x8_constants *k) {
  (void)plane;
  const v128_t v0 = wasm_v128_load(p + 32 * g), v4 = wasm_v128_load(p + 32 * g + 16);
  return (nb_x8_codes){{wasm_v128_and(v0, k->low), wasm_v128_and(v4, k->low)},
                       {wasm_v128_and(wasm_u16x8_shr(v0, 4), k->low), wasm_v128_and(wasm_u16x8_shr(v4, 4), k->low)}};
}

// Bit `from` of each byte as 16. Shifts act on 16 bits: what crosses into the neighbour is cleared.
NB_INLINE v128_t nb_x8_fifth(v128_t bits, int from, const nb_x8_constants *k) {
  return wasm_v128_and(from < 4 ? wasm_i16x8_shl(bits, (uint32_t)(4 - from)) : from > 4 ? wasm_u16x8_shr(bits, (uint32_t)(from - 4)) : bits, k->sixteen);
}

NB_INLINE nb_x8_codes nb_x8_five_bits(const uint8_t *p, int g, nb_x8_plane plane, const nb_x8_constants *k) {
  const v128_t bits0 = wasm_v128_load(p), bits4 = wasm_v128_load(p + 16);
  nb_x8_codes c = nb_x8_nibbles(p + NB_X8_FIFTHS, g, plane, k);
  c.a.r0 = wasm_v128_or(c.a.r0, wasm_v128_and(wasm_u16x8_shr(wasm_i16x8_shl(bits0, 4), (uint32_t)g), k->sixteen));
  c.a.r4 = wasm_v128_or(c.a.r4, wasm_v128_and(wasm_u16x8_shr(wasm_i16x8_shl(bits4, 4), (uint32_t)g), k->sixteen));
  c.b.r0 = wasm_v128_or(c.b.r0, wasm_v128_and(wasm_u16x8_shr(bits0, (uint32_t)g), k->sixteen));
  c.b.r4 = wasm_v128_or(c.b.r4, wasm_v128_and(wasm_u16x8_shr(bits4, (uint32_t)g), k->sixteen));
  return c;
}

// The fourth of 4 vectors of 6-bit numbers, which lies in the top bits of the first three.
NB_INLINE v128_t nb_x8_fourth(v128_t v0, v128_t v1, v128_t v2, const nb_x8_constants *k) {
  v128_t t = wasm_u16x8_shr(wasm_v128_and(v0, k->top2), 2);
  t = wasm_u16x8_shr(wasm_v128_or(t, wasm_v128_and(v1, k->top2)), 2);
  return wasm_u16x8_shr(wasm_v128_or(t, wasm_v128_and(v2, k->top2)), 2);
}

NB_INLINE nb_x8_codes nb_x8_six_bits(const uint8_t *p, int g, nb_x8_plane plane, const nb_x8_constants *k) {
  (void)plane;
  if (g == 0) {
    return (nb_x8_codes){{wasm_v128_andnot(wasm_v128_load(p), k->top2), wasm_v128_andnot(wasm_v128_load(p + 16), k->top2)},
                         {wasm_v128_andnot(wasm_v128_load(p + 64), k->top2), wasm_v128_andnot(wasm_v128_load(p + 80), k->top2)}};
  }
  const v128_t v1 = wasm_v128_load(p + 32), w1 = wasm_v128_load(p + 48);
  return (nb_x8_codes){{wasm_v128_andnot(v1, k->top2), wasm_v128_andnot(w1, k->top2)},
                       {nb_x8_fourth(wasm_v128_load(p), v1, wasm_v128_load(p + 64), k), nb_x8_fourth(wasm_v128_load(p + 16), w1, wasm_v128_load(p + 80), k)}};
}

NB_INLINE nb_x8_codes nb_x8_bytes(const uint8_t *p, int g, nb_x8_plane plane, const nb_x8_constants *k) {
  v128_t v[4] = {wasm_v128_load(p + 32 * g), wasm_v128_load(p + 32 * g + 16), wasm_v128_load(p + 32 * g + 128), wasm_v128_load(p + 32 * g + 144)};
  for (int i = 0; i < 4 && plane != NB_WHOLE; i++) v[i] = wasm_v128_and(plane == NB_HIGH ? wasm_u16x8_shr(v[i], 4) : v[i], k->low);
  return (nb_x8_codes){{v[0], v[1]}, {v[2], v[3]}};
}

NB_INLINE v128_t nb_x8_look_up(v128_t table, v128_t index) {  // indices are 0..15
#if defined(__wasm_relaxed_simd__)
  return wasm_i8x16_relaxed_swizzle(table, index);
#else
  return wasm_i8x16_swizzle(table, index);
#endif
}

NB_INLINE nb_x8_codes nb_x8_iq4(const uint8_t *p, int g, nb_x8_plane plane, const nb_x8_constants *k) {
  const nb_x8_codes c = nb_x8_nibbles(p, g, plane, k);
  const v128_t table = plane == NB_HIGH ? k->table_high : k->table;
  return (nb_x8_codes){{nb_x8_look_up(table, c.a.r0), nb_x8_look_up(table, c.a.r4)}, {nb_x8_look_up(table, c.b.r0), nb_x8_look_up(table, c.b.r4)}};
}

// ---- types ------------------------------------------------------------------------------------------------------------------------

typedef enum nb_x8_scales { NB_NO_SCALES, NB_SCALES_AND_MINS, NB_SCALES_MINUS_32, NB_SIGNED_SCALES } nb_x8_scales;

typedef struct nb_x8_format {
  nb_x8_decode_fn *decode;
  size_t block_bytes, prefix_bytes, stretch_bytes;  // of 8 rows
  int stretches, span;
  int bits;          // of a code; 8 is handled as two planes where a variant needs it
  int offset_shift;  // codes are too large by 1 << this; 0: they are not
  bool mins;         // a second half follows the first
  nb_x8_scales scales;
} nb_x8_format;

#define NB_X8_NIBBLES_Q(type, halves, shift, mins) \
  {nb_x8_nibbles, 8 * sizeof(type), halves * NB_X8_HALVES, NB_X8_NIBBLES, 1, 32, 4, shift, mins, NB_NO_SCALES}
#define NB_X8_FIVE_Q(type, halves, shift, mins) \
  {nb_x8_five_bits, 8 * sizeof(type), halves * NB_X8_HALVES, NB_X8_FIFTHS + NB_X8_NIBBLES, 1, 32, 5, shift, mins, NB_NO_SCALES}

#define NB_X8_Q4_0 ((nb_x8_format)NB_X8_NIBBLES_Q(nb_block_q4_0, 1, 3, false))
#define NB_X8_Q4_1 ((nb_x8_format)NB_X8_NIBBLES_Q(nb_block_q4_1, 2, 0, true))
#define NB_X8_Q5_0 ((nb_x8_format)NB_X8_FIVE_Q(nb_block_q5_0, 1, 4, false))
#define NB_X8_Q5_1 ((nb_x8_format)NB_X8_FIVE_Q(nb_block_q5_1, 2, 0, true))
#define NB_X8_Q8_0 ((nb_x8_format){nb_x8_bytes, 8 * sizeof(nb_block_q8_0), NB_X8_HALVES, 256, 1, 32, 8, 7, false, NB_NO_SCALES})
#define NB_X8_IQ4_NL ((nb_x8_format){nb_x8_iq4, 8 * sizeof(nb_block_iq4_nl), NB_X8_HALVES, NB_X8_NIBBLES, 1, 32, 8, 7, false, NB_NO_SCALES})
#define NB_X8_Q4_K                                                                                                                     \
  ((nb_x8_format){nb_x8_nibbles, 8 * sizeof(nb_block_q4_k), 2 * NB_X8_HALVES + 2 * NB_X8_SIXES, NB_X8_NIBBLES, 8, 32, 4, 0, true, \
                  NB_SCALES_AND_MINS})
#define NB_X8_Q5_K                                                                                                                     \
  ((nb_x8_format){nb_x8_five_bits, 8 * sizeof(nb_block_q5_k), 2 * NB_X8_HALVES + 2 * NB_X8_SIXES, NB_X8_FIFTHS + NB_X8_NIBBLES, 8, 32, 5, 0, true, \
                  NB_SCALES_AND_MINS})
#define NB_X8_Q6_K ((nb_x8_format){nb_x8_six_bits, 8 * sizeof(nb_block_q6_k), NB_X8_HALVES + 128, NB_X8_WEIGHTS6, 16, 16, 6, 5, false, NB_SIGNED_SCALES})
#define NB_X8_IQ4_XS \
  ((nb_x8_format){nb_x8_iq4, 8 * sizeof(nb_block_iq4_xs), NB_X8_HALVES + NB_X8_SIXES, NB_X8_NIBBLES, 8, 32, 8, 7, false, NB_SCALES_MINUS_32})

// ---- what a variant brings ----------------------------------------------------------------------------------------------------------

// Adds to total[t] the sums over one stretch of codes times activations, in 32 bits, times the scale where the type has scales; q[t]
// are the activations of the stretch.
typedef void nb_x8_stretch_fn(const nb_x8_format *f, const nb_x8_constants *k, const uint8_t *stretch, const int8_t *const q[4], size_t nt, nb_x8 scale,
                              nb_x8 total[4]);
// 8 scales of 16 bits, one a row, as nb_x8_stretch_fn wants them.
typedef nb_x8 nb_x8_spread_fn(v128_t scales);

typedef struct nb_x8_variant {
  nb_x8_stretch_fn *stretch;
  nb_x8_spread_fn *spread;
  nb_x8_eight eight;
} nb_x8_variant;

// What the codes are too large by, times the sum of the activations.
NB_INLINE v128_t nb_x8_offset(const nb_x8_variant *v, const nb_x8_format *f, const nb_x8_constants *k, v128_t sum) {
  const v128_t offset = wasm_i32x4_shl(sum, (uint32_t)f->offset_shift);
  return f->bits == 8 && v->eight == NB_BYTES ? wasm_v128_and(offset, k->offset) : offset;
}

// ---- tiles ----------------------------------------------------------------------------------------------------------------------------

// The vectors of a tile: where it has fewer than 4, the last one is computed again, not stored.
typedef struct nb_x8_vectors {
  const int8_t *q[4];
  const int16_t *sums[4];
  const float *d[4];
} nb_x8_vectors;

// Blocks of one stretch.
NB_INLINE void nb_x8_tile32(const nb_x8_variant *v, const nb_x8_format *f, const nb_x8_constants *k, const uint8_t *group, size_t blocks, nb_x8_vectors a,
                              size_t nt, nb_x8 acc[4]) {
  static const int16_t ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  const v128_t one = nb_x8_kept(ones), zero = wasm_i32x4_const(0, 0, 0, 0);
  for (size_t t = 0; t < nt; t++) acc[t] = (nb_x8){zero, zero};
  for (size_t b = 0; b < blocks; b++, group += f->block_bytes) {
    nb_x8 total[4];
    const int8_t *q[4];
    for (size_t t = 0; t < nt; t++) {
      total[t] = (nb_x8){zero, zero};
      q[t] = a.q[t] + 32 * b;
    }
    v->stretch(f, k, group + f->prefix_bytes, q, nt, total[0], total);
    const nb_x8 d = nb_x8_halves(wasm_v128_load(group), k), m = f->mins ? nb_x8_halves(wasm_v128_load(group + NB_X8_HALVES), k) : d;
    for (size_t t = 0; t < nt; t++) {
      const v128_t da = wasm_v128_load32_splat(a.d[t] + b), sum = wasm_i32x4_dot_i16x8(wasm_v128_load32_splat(a.sums[t] + 2 * b), one);
      v128_t i0 = total[t].r0, i4 = total[t].r4;
      if (f->offset_shift) {
        const v128_t offset = nb_x8_offset(v, f, k, sum);
        i0 = wasm_i32x4_sub(i0, offset);
        i4 = wasm_i32x4_sub(i4, offset);
      }
      v128_t y0 = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(i0), wasm_f32x4_mul(d.r0, da));
      v128_t y4 = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(i4), wasm_f32x4_mul(d.r4, da));
      if (f->mins) {
        const v128_t s = wasm_f32x4_convert_i32x4(sum);
        y0 = wasm_f32x4_add(y0, wasm_f32x4_mul(s, wasm_f32x4_mul(m.r0, da)));
        y4 = wasm_f32x4_add(y4, wasm_f32x4_mul(s, wasm_f32x4_mul(m.r4, da)));
      }
      acc[t].r0 = wasm_f32x4_add(acc[t].r0, y0);
      acc[t].r4 = wasm_f32x4_add(acc[t].r4, y4);
    }
  }
}

// 64 numbers of 6 bits, out of 48 bytes, to 4 vectors of bytes.
NB_INLINE void nb_x8_sixes(const uint8_t *p, const nb_x8_constants *k, v128_t out[4]) {
  const v128_t v0 = wasm_v128_load(p), v1 = wasm_v128_load(p + 16), v2 = wasm_v128_load(p + 32);
  out[0] = wasm_v128_andnot(v0, k->top2);
  out[1] = wasm_v128_andnot(v1, k->top2);
  out[2] = wasm_v128_andnot(v2, k->top2);
  out[3] = nb_x8_fourth(v0, v1, v2, k);
}

// The integer factors of a block. Sums of activations are multiplied in pairs of neighbouring stretches.
typedef struct nb_x8_factors {
  v128_t scales[16];  // of each stretch: 8 of 16 bits, one a row
  nb_x8 pairs[8];     // the minimums, or the scales where codes have an offset: row by row those of two stretches
} nb_x8_factors;

NB_INLINE nb_x8 nb_x8_pair(v128_t first, v128_t second) {
  return (nb_x8){wasm_i16x8_shuffle(first, second, 0, 8, 1, 9, 2, 10, 3, 11), wasm_i16x8_shuffle(first, second, 4, 12, 5, 13, 6, 14, 7, 15)};
}

NB_INLINE void nb_x8_read_factors(const nb_x8_format *f, const nb_x8_constants *k, const uint8_t *block, nb_x8_factors *out) {
  const uint8_t *at = block + (f->mins ? 2 : 1) * NB_X8_HALVES;
  v128_t bytes[8];
  if (f->scales == NB_SIGNED_SCALES) {
    for (int i = 0; i < 8; i++) bytes[i] = wasm_v128_load(at + 16 * i);
  } else {
    nb_x8_sixes(at, k, bytes);
    for (int i = 0; i < 4 && f->scales == NB_SCALES_MINUS_32; i++) bytes[i] = wasm_i8x16_sub(bytes[i], wasm_i8x16_splat(32));
  }
  for (int i = 0; i < f->stretches / 2; i++) {
    out->scales[2 * i] = wasm_i16x8_extend_low_i8x16(bytes[i]);
    out->scales[2 * i + 1] = wasm_i16x8_extend_high_i8x16(bytes[i]);
    if (f->offset_shift) out->pairs[i] = nb_x8_pair(out->scales[2 * i], out->scales[2 * i + 1]);
  }
  if (f->mins) {
    nb_x8_sixes(at + NB_X8_SIXES, k, bytes);
    for (int i = 0; i < 4; i++) out->pairs[i] = nb_x8_pair(wasm_i16x8_extend_low_i8x16(bytes[i]), wasm_i16x8_extend_high_i8x16(bytes[i]));
  }
}

// The sum over the stretches of their factors times their sums of activations.
NB_INLINE nb_x8 nb_x8_factor_sums(const nb_x8_format *f, const nb_x8_factors *factors, const int16_t *sums16) {
  int16_t of_stretches[16];
  const v128_t low = wasm_v128_load(sums16), high = wasm_v128_load(sums16 + 8);
  if (f->span == 32) {
    wasm_v128_store(of_stretches, wasm_i16x8_narrow_i32x4(wasm_i32x4_extadd_pairwise_i16x8(low), wasm_i32x4_extadd_pairwise_i16x8(high)));
    sums16 = of_stretches;
  }
  nb_x8 s = {wasm_i32x4_const(0, 0, 0, 0), wasm_i32x4_const(0, 0, 0, 0)};
  for (int i = 0; i < f->stretches / 2; i++) {
    const v128_t pair = wasm_v128_load32_splat(sums16 + 2 * i);
    s.r0 = wasm_i32x4_add(s.r0, wasm_i32x4_dot_i16x8(factors->pairs[i].r0, pair));
    s.r4 = wasm_i32x4_add(s.r4, wasm_i32x4_dot_i16x8(factors->pairs[i].r4, pair));
  }
  return s;
}

// Blocks of 256: 8 or 16 stretches.
NB_INLINE void nb_x8_tile256(const nb_x8_variant *v, const nb_x8_format *f, const nb_x8_constants *k, const uint8_t *group, size_t blocks, nb_x8_vectors a,
                               size_t nt, nb_x8 acc[4]) {
  const v128_t zero = wasm_i32x4_const(0, 0, 0, 0);
  for (size_t t = 0; t < nt; t++) acc[t] = (nb_x8){zero, zero};
  for (size_t b = 0; b < blocks; b++, group += f->block_bytes) {
    nb_x8_factors factors;
    nb_x8_read_factors(f, k, group, &factors);
    nb_x8 total[4];
    for (size_t t = 0; t < nt; t++) total[t] = (nb_x8){zero, zero};
    const uint8_t *stretch = group + f->prefix_bytes;
    for (int j = 0; j < f->stretches; j++, stretch += f->stretch_bytes) {
      const int8_t *q[4];
      for (size_t t = 0; t < nt; t++) q[t] = a.q[t] + 256 * b + (size_t)(f->span * j);
      v->stretch(f, k, stretch, q, nt, v->spread(factors.scales[j]), total);
    }
    const nb_x8 d = nb_x8_halves(wasm_v128_load(group), k), dmin = f->mins ? nb_x8_halves(wasm_v128_load(group + NB_X8_HALVES), k) : d;
    for (size_t t = 0; t < nt; t++) {
      const v128_t da = wasm_v128_load32_splat(a.d[t] + b);
      const nb_x8 s = nb_x8_factor_sums(f, &factors, a.sums[t] + 16 * b);
      v128_t i0 = total[t].r0, i4 = total[t].r4;
      if (f->offset_shift) {
        i0 = wasm_i32x4_sub(i0, nb_x8_offset(v, f, k, s.r0));
        i4 = wasm_i32x4_sub(i4, nb_x8_offset(v, f, k, s.r4));
      }
      v128_t y0 = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(i0), wasm_f32x4_mul(d.r0, da));
      v128_t y4 = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(i4), wasm_f32x4_mul(d.r4, da));
      if (f->mins) {
        y0 = wasm_f32x4_sub(y0, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(s.r0), wasm_f32x4_mul(dmin.r0, da)));
        y4 = wasm_f32x4_sub(y4, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(s.r4), wasm_f32x4_mul(dmin.r4, da)));
      }
      acc[t].r0 = wasm_f32x4_add(acc[t].r0, y0);
      acc[t].r4 = wasm_f32x4_add(acc[t].r4, y4);
    }
  }
}

// The count of vectors is a constant in each copy, so that sums stay in registers.
NB_INLINE void nb_x8_tile(const nb_x8_variant *v, const nb_x8_format *f, const nb_x8_constants *k, const uint8_t *group, size_t blocks, nb_x8_vectors a,
                            size_t nt, nb_x8 acc[4]) {
  if (f->stretches == 1) nb_x8_tile32(v, f, k, group, blocks, a, nt, acc);
  else nb_x8_tile256(v, f, k, group, blocks, a, nt, acc);
}

// is_signed: of NB_BYTES.
NB_INLINE void nb_x8_matmul(const nb_x8_variant variant, const nb_x8_format format, bool is_signed, const nb_matrix *w, const nb_act *a, float *y,
                            size_t ystride, size_t row0, size_t row1) {
  const nb_x8_variant *v = &variant;
  const nb_x8_format *f = &format;
  const size_t block = f->stretches == 1 ? 32 : 256, blocks = a->cols / block;
  assert(a->kind == (block == 32 ? NB_ACT_Q8_32 : NB_ACT_Q8_256) && a->cols == w->cols && w->layout == NB_LAYOUT_X8 && row0 % 8 == 0 && row1 % 8 == 0);
  const nb_x8_constants k = nb_x8_constants_of(v->eight, is_signed);
  for (size_t r = row0; r < row1; r += NB_X8_ROWS) {
    const uint8_t *group = w->data + r * w->row_bytes;
    for (size_t t0 = 0; t0 < a->n; t0 += 4) {
      const size_t nt = a->n - t0 < 4 ? a->n - t0 : 4;
      nb_x8_vectors x;
      for (size_t i = 0; i < 4; i++) {
        const size_t t = t0 + (i < nt ? i : nt - 1);
        x.q[i] = a->q + t * a->cols;
        x.sums[i] = a->sums + t * (a->cols / 16);
        x.d[i] = a->d + t * blocks;
      }
      nb_x8 acc[4];
      if (nt == 1) nb_x8_tile(v, f, &k, group, blocks, x, 1, acc);
      else nb_x8_tile(v, f, &k, group, blocks, x, 4, acc);
      for (size_t t = 0; t < nt; t++) {
        float *out = y + (t0 + t) * ystride + r;
        wasm_v128_store(out, acc[t].r0);
        wasm_v128_store(out + 4, acc[t].r4);
      }
    }
  }
}

// One function for all types: each has its own copy of the code above, apart from the others, so that engines optimise what is in use only.
#define NB_APART static __attribute__((noinline))
#define NB_X8_MATMUL(name, variant)                                                                                                \
  NB_APART void name##_q4_0(const nb_matrix *w, const nb_act *a, float *y, size_t s, size_t r0, size_t r1) { nb_x8_matmul(variant, NB_X8_Q4_0, false, w, a, y, s, r0, r1); }     \
  NB_APART void name##_q4_1(const nb_matrix *w, const nb_act *a, float *y, size_t s, size_t r0, size_t r1) { nb_x8_matmul(variant, NB_X8_Q4_1, false, w, a, y, s, r0, r1); }     \
  NB_APART void name##_q5_0(const nb_matrix *w, const nb_act *a, float *y, size_t s, size_t r0, size_t r1) { nb_x8_matmul(variant, NB_X8_Q5_0, false, w, a, y, s, r0, r1); }     \
  NB_APART void name##_q5_1(const nb_matrix *w, const nb_act *a, float *y, size_t s, size_t r0, size_t r1) { nb_x8_matmul(variant, NB_X8_Q5_1, false, w, a, y, s, r0, r1); }     \
  NB_APART void name##_q8_0(const nb_matrix *w, const nb_act *a, float *y, size_t s, size_t r0, size_t r1) { nb_x8_matmul(variant, NB_X8_Q8_0, false, w, a, y, s, r0, r1); }     \
  NB_APART void name##_iq4_nl(const nb_matrix *w, const nb_act *a, float *y, size_t s, size_t r0, size_t r1) { nb_x8_matmul(variant, NB_X8_IQ4_NL, false, w, a, y, s, r0, r1); } \
  NB_APART void name##_q4_k(const nb_matrix *w, const nb_act *a, float *y, size_t s, size_t r0, size_t r1) { nb_x8_matmul(variant, NB_X8_Q4_K, false, w, a, y, s, r0, r1); }     \
  NB_APART void name##_q5_k(const nb_matrix *w, const nb_act *a, float *y, size_t s, size_t r0, size_t r1) { nb_x8_matmul(variant, NB_X8_Q5_K, false, w, a, y, s, r0, r1); }     \
  NB_APART void name##_q6_k(const nb_matrix *w, const nb_act *a, float *y, size_t s, size_t r0, size_t r1) { nb_x8_matmul(variant, NB_X8_Q6_K, false, w, a, y, s, r0, r1); }     \
  NB_APART void name##_iq4_xs(const nb_matrix *w, const nb_act *a, float *y, size_t s, size_t r0, size_t r1) { nb_x8_matmul(variant, NB_X8_IQ4_XS, false, w, a, y, s, r0, r1); } \
  void name(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {                               \
    switch (w->type) {                                                                                                               \
      case NB_TYPE_Q4_0: name##_q4_0(w, a, y, ystride, row0, row1); break;                                                           \
      case NB_TYPE_Q4_1: name##_q4_1(w, a, y, ystride, row0, row1); break;                                                           \
      case NB_TYPE_Q5_0: name##_q5_0(w, a, y, ystride, row0, row1); break;                                                           \
      case NB_TYPE_Q5_1: name##_q5_1(w, a, y, ystride, row0, row1); break;                                                           \
      case NB_TYPE_Q8_0: name##_q8_0(w, a, y, ystride, row0, row1); break;                                                           \
      case NB_TYPE_IQ4_NL: name##_iq4_nl(w, a, y, ystride, row0, row1); break;                                                       \
      case NB_TYPE_Q4_K: name##_q4_k(w, a, y, ystride, row0, row1); break;                                                           \
      case NB_TYPE_Q5_K: name##_q5_k(w, a, y, ystride, row0, row1); break;                                                           \
      case NB_TYPE_Q6_K: name##_q6_k(w, a, y, ystride, row0, row1); break;                                                           \
      case NB_TYPE_IQ4_XS: name##_iq4_xs(w, a, y, ystride, row0, row1); break;                                                       \
      default: assert(!"a type with this layout");                                                                                   \
    }                                                                                                                                \
  }

#endif
#endif
