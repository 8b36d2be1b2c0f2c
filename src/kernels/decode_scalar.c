// Weights to floats, exactly as the formats define it: every product and difference is rounded on its own, in the order
// (d * scale) * q - (dmin * min) for blocks of 256 and d * q + m for blocks of 32.
#include <assert.h>
#include <string.h>

#include "pack.h"
#include "unpack.h"
#include "variants.h"

static void decode_32(const nb_matrix *w, size_t row, size_t c0, size_t n, float *y) {
  nb_unpack32_fn *unpack = nb_unpack32_of(w->type);
  const bool mins = nb_has_mins(w->type);
  nb_block_buffer buffer;
  for (size_t c = c0; c < c0 + n; c += 32, y += 32) {
    nb_ints32 u;
    unpack(nb_file_block(w, row, c / 32, &buffer), &u);
    for (int i = 0; i < 32; i++) y[i] = (float)u.q[i] * u.d;
    if (mins) {
      for (int i = 0; i < 32; i++) y[i] += u.m;
    }
  }
}

static void decode_256(const nb_matrix *w, size_t row, size_t c0, size_t n, float *y) {
  nb_unpack256_fn *unpack = nb_unpack256_of(w->type);
  const bool mins = nb_has_mins(w->type);
  nb_block_buffer buffer;
  for (size_t c = c0; c < c0 + n; c += 256, y += 256) {
    nb_ints256 u;
    unpack(nb_file_block(w, row, c / 256, &buffer), &u);
    for (int j = 0; j < 16; j++) {
      const float scale = u.d * (float)u.scale[j], min = u.dmin * (float)u.min[j];
      for (int i = 16 * j; i < 16 * j + 16; i++) {
        y[i] = scale * (float)u.q[i];
        if (mins) y[i] -= min;
      }
    }
  }
}

void nb_decode_scalar(const nb_matrix *w, size_t row, size_t c0, size_t n, float *y) {
  const uint8_t *data = w->data + row * w->row_bytes;
  switch (w->type) {
    case NB_TYPE_F32: memcpy(y, data + c0 * 4, n * 4); return;
    case NB_TYPE_F16:
      if (w->layout == NB_LAYOUT_F16_BELOW_128 && row < w->rows / NB_BELOW_128_ROWS * NB_BELOW_128_ROWS) {
        data -= row % NB_BELOW_128_ROWS * w->row_bytes;
        for (size_t c = c0; c < c0 + n; c++) y[c - c0] = nb_below_128_to_f32(((const uint16_t *)data)[nb_below_128_at(w->cols, row, c)]);
        return;
      }
      for (size_t c = 0; c < n; c++) y[c] = nb_f16_to_f32(((const uint16_t *)data)[c0 + c]);
      return;
    case NB_TYPE_BF16:
      for (size_t c = 0; c < n; c++) y[c] = nb_bf16_to_f32(((const uint16_t *)data)[c0 + c]);
      return;
    default: break;
  }
  const size_t block_size = nb_type_get(w->type)->block_size;
  assert(block_size == 32 || block_size == 256);
  assert(c0 % block_size == 0 && n % block_size == 0);
  if (block_size == 32) decode_32(w, row, c0, n, y);
  else decode_256(w, row, c0, n, y);
}
