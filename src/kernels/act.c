// Where the parts of quantized activations lie.
#include <assert.h>

#include "kernels.h"

nb_act_kind nb_act_kind_of(nb_type type) {
  switch (nb_type_get(type)->block_size) {
    case 32: return NB_ACT_Q8_32;
    case 256: return NB_ACT_Q8_256;
    default: return NB_ACT_F32;
  }
}

static size_t padded(size_t bytes) { return (bytes + 15) / 16 * 16; }

static size_t block_of(nb_act_kind kind) { return kind == NB_ACT_Q8_32 ? 32 : 256; }

size_t nb_act_bytes(nb_act_kind kind, size_t n, size_t cols) {
  if (kind == NB_ACT_F32) return 0;
  return padded(n * cols) + padded(n * (cols / block_of(kind)) * sizeof(float)) + padded(n * (cols / 16) * sizeof(int16_t));
}

void nb_act_place(nb_act *a, nb_act_kind kind, size_t n, size_t cols, void *buffer) {
  *a = (nb_act){.kind = kind, .n = n, .cols = cols};
  if (kind == NB_ACT_F32) return;
  assert((uintptr_t)buffer % 16 == 0 && cols % block_of(kind) == 0);
  uint8_t *p = buffer;
  a->q = (int8_t *)p;
  p += padded(n * cols);
  a->d = (float *)p;
  p += padded(n * (cols / block_of(kind)) * sizeof(float));
  a->sums = (int16_t *)p;
}

nb_act nb_act_vector(const nb_act *a, size_t t) {
  nb_act one = *a;
  one.n = 1;
  if (a->kind == NB_ACT_F32) {
    one.x += t * a->cols;
  } else {
    one.q += t * a->cols;
    one.d += t * (a->cols / block_of(a->kind));
    one.sums += t * (a->cols / 16);
  }
  return one;
}
