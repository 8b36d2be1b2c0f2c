// The contract of every kernel. Kernels take pointers and sizes; they know nothing of models, allocate nothing and cannot fail.
//
// Exactness: <op>_scalar.c is the specification. Every other variant gives the same bits, floats included: sums of floats have a
// fixed order (stated at the function), no variant fuses a multiplication with an addition, and exp is our own. So the same
// model, prompt and seed give the same text natively, in strict and in relaxed SIMD, and on any number of threads.
//
// Alignment: float and int8 buffers made by this library are aligned to 16 bytes; weights have the alignment of their file (>= 8).
// No kernel reads or writes outside the ranges given here.
#ifndef NB_KERNELS_KERNELS_H
#define NB_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../format/types.h"

// ---- weights ----------------------------------------------------------------------------------------------------------------

typedef enum nb_layout {
  NB_LAYOUT_ROWS = 0,  // as in the file: row after row of blocks
  NB_LAYOUT_X8 = 1,    // blocks whose halves are below 128: groups of 8 rows interleaved (see pack.h); the last rows % 8 rows as in the file
  NB_LAYOUT_F16_BELOW_128 = 2,  // F16 below 128: other exponents, pairs of rows interleaved (see pack.h)
} nb_layout;

typedef struct nb_matrix {
  const uint8_t *data;
  nb_type type;
  nb_layout layout;
  size_t rows, cols;  // w is [rows, cols]; cols is a multiple of the type's block size
  size_t row_bytes;   // bytes of one row in the file
} nb_matrix;

// The layout the kernels of this build want for a type and shape. Packing happens in place on windows of whole row groups while
// the file streams in; rows that are no whole group are left alone.
nb_layout nb_pack_layout(nb_type type, size_t rows, size_t cols);
size_t nb_pack_group_rows(nb_layout layout);  // rows of one window: 1, 2 or 8
// Rearranges one window of nb_pack_group_rows rows in place. scratch has the size of the window and may not overlap it. False, with the
// window as it was, where it holds halves of 128 and more, infinities or NaN: the matrix stays in NB_LAYOUT_ROWS, where such a rarity is
// slow, and windows packed before are unpacked.
bool nb_pack_group(nb_type type, nb_layout layout, size_t row_bytes, uint8_t *window, uint8_t *scratch);
// Undoes nb_pack_group.
void nb_unpack_group(nb_type type, nb_layout layout, size_t row_bytes, uint8_t *window, uint8_t *scratch);

// y[cols] = row `row` of w as floats, exactly as the format defines it, from any layout.
void nb_dequantize_row(const nb_matrix *w, size_t row, float *y);

// ---- activations ------------------------------------------------------------------------------------------------------------

// How a weight type wants the vectors it is multiplied with.
typedef enum nb_act_kind {
  NB_ACT_F32 = 0,     // floats as they are (F32, F16, BF16 weights, and any type when float activations are asked for)
  NB_ACT_Q8_32 = 1,   // int8 in blocks of 32 (Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL)
  NB_ACT_Q8_256 = 2,  // int8 in blocks of 256 (Q2_K .. Q6_K, IQ4_XS)
} nb_act_kind;

nb_act_kind nb_act_kind_of(nb_type type);

// n vectors of `cols` numbers. Only the parts of `kind` are set; block is 32 or 256.
typedef struct nb_act {
  nb_act_kind kind;
  size_t n, cols;
  const float *x;   // [n, cols]         NB_ACT_F32
  int8_t *q;        // [n, cols]         quantized values, -127..127
  float *d;         // [n, cols/block]   x is about d * q
  int16_t *sums;    // [n, cols/16]      sums of 16 neighbouring q
} nb_act;

// Bytes of the q, d, sums arrays for n vectors, each padded to 16 bytes; nb_act_place cuts a 16-byte aligned buffer of that size.
size_t nb_act_bytes(nb_act_kind kind, size_t n, size_t cols);
void nb_act_place(nb_act *a, nb_act_kind kind, size_t n, size_t cols, void *buffer);
nb_act nb_act_vector(const nb_act *a, size_t t);  // vector t of a, by itself

// Quantizes x [n, cols] into a (placed, kind Q8_*). Per block: d = max|x| / 127, q = x * (127 / max|x|) rounded to nearest with
// ties to even. A block where max|x| < 2^-121 (whose inverse would not be finite) has d = 0, q = 0; one with an infinity or a NaN
// has d = NaN, q = 0, so that every product with it is NaN.
void nb_quantize_act(nb_act *a, const float *x);

// ---- matrix times vectors ---------------------------------------------------------------------------------------------------

// y[t, r] = sum over c of w[r, c] * a[t, c], for r in [row0, row1) and every t < a->n; y has row stride `ystride` floats, and
// y[t * ystride + r] is written. a->kind is nb_act_kind_of(w->type) or NB_ACT_F32. row0 and row1 are multiples of 8, or w->rows.
// Sums: integer parts exact; block results (matmul_scalar.c states the expression of each type) are added to one float sum a row,
// from the first block to the last. For float activations: 16 partial sums (column c goes to c mod 16), then folded by halves:
// i += i+8, i += i+4, (0+2)+(1+3).
void nb_matmul(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1);

// Relaxed SIMD has two kernels for packed weights, whose products are first summed in 16 bits (the default) or in 32. Results are the
// same; the choice is made between passes. Returns false, and changes nothing, where there is no choice.
bool nb_matmul_sums_in_32(bool on);
// Whether 32 bits are the faster ones here: on machines that have them as one instruction (x64 with AVX-VNNI, arm64 with DOTPROD). What it
// does with bytes of 128 and more tells them from the others.
bool nb_matmul_sums_in_32_faster(void);

// ---- element by element, and rows -------------------------------------------------------------------------------------------

// y[i] = x[i] * (1 / sqrt(mean(x^2) + eps)) * w[i]; x may be y. Sum of squares in 16 partial sums as above.
void nb_rms_norm(float *y, const float *x, const float *w, size_t n, float eps);
void nb_add(float *y, const float *x, size_t n);                        // y += x
void nb_swiglu(float *gate, const float *up, size_t n);                 // gate = gate / (1 + exp(-gate)) * up
// In place; n >= 1. exp(x - max), summed in 16 partial sums as above, times the sum's inverse. Unspecified for NaN.
void nb_softmax(float *x, size_t n);
float nb_exp(float x);  // the library's own: <= 2 ulp, 0 below -104, inf above 88.8, NaN of NaN

typedef enum nb_rope_order {
  NB_ROPE_NORM = 0,  // rotates neighbours (2i, 2i+1): Llama and Mistral files
  NB_ROPE_NEOX = 1,  // rotates halves (i, i + n_rot/2): Qwen and most others
} nb_rope_order;

// Rotates the first n_rot numbers of each of n_heads vectors of head_dim numbers by the angles of one position:
// cos_sin [n_rot/2, 2].
void nb_rope(float *x, size_t n_heads, size_t head_dim, size_t n_rot, nb_rope_order order, const float *cos_sin);

void nb_f32_to_f16_row(uint16_t *y, const float *x, size_t n);

// ---- attention --------------------------------------------------------------------------------------------------------------

#define NB_ATTENTION_CHUNK 128  // positions whose weights and values are summed by themselves: part of the result's definition

// Causal attention of queries at neighbouring positions over a cache of f16 keys and values: query t attends to the rows
// first .. first + n + t - 1.
//
// Scores: the query times scale, then the dot product with a key, in 4 partial sums (column i goes to i mod 4), folded (0+2)+(1+3).
// The rows from `first` on are taken in chunks of NB_ATTENTION_CHUNK. In a chunk, weights are exp(score - greatest score of the chunk), 0 below e^-87,
// summed in 16 partial sums as above; values times weights are added in order of position. Chunks are added in order of position, both
// sides scaled by exp(own greatest score - greatest so far); at the end comes the inverse of the sum of weights. So the result for a query
// depends neither on the other queries of the call nor on who computes which unit.
// A NaN or +infinity among the scores that a query sees makes its head's result NaN; infinities and NaN among the values show in their column.
typedef struct nb_attention_call {
  float *out;            // [n_queries, n_heads, head_dim]
  const float *q;        // [n_queries, n_heads, head_dim]
  size_t n_queries;      // >= 1
  const uint16_t *k, *v; // [n_ctx, n_kv_heads * head_dim] f16: row p at k + p * kv_stride
  size_t kv_stride;
  size_t n_heads, n_kv_heads, head_dim;  // heads h of a group of n_heads / n_kv_heads share KV head h / group
  size_t first, n;       // n >= 1
  float scale;
  float *partials;       // [nb_attention_partials(...)], aligned to 16 bytes: results of units on their way to the merge
} nb_attention_call;

// A call is so many units of work. Each may be done by any thread, at any time, in any order, each once.
size_t nb_attention_units(const nb_attention_call *c);
// scratch: [nb_attention_scratch(...)] floats of the thread's own, aligned to 16 bytes
void nb_attention_unit(const nb_attention_call *c, size_t unit, float *scratch);
// When all units are done, the results of so many rows (a row is a head of a query) are still to be merged: all or none. The rows of
// [row0, row1) are independent of the others; it costs about 1/100 of the units.
size_t nb_attention_merge_rows(const nb_attention_call *c);
void nb_attention_merge(const nb_attention_call *c, size_t row0, size_t row1);
// All of it, by the caller alone.
void nb_attention(const nb_attention_call *c, float *scratch);

// Floats of scratch for one thread, and of partials for calls with up to n_rows = n + n_queries - 1 rows and n_queries queries.
size_t nb_attention_scratch(size_t n_heads, size_t n_kv_heads, size_t head_dim);
uint64_t nb_attention_partials(size_t n_heads, size_t head_dim, size_t n_rows, size_t n_queries);

#endif
