#include "weights.h"

#include <stdio.h>
#include <stdlib.h>

static int compare_names(nb_str a, nb_str b) {
  int c = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
  return c ? c : (a.len > b.len) - (a.len < b.len);
}

static int compare_tensors(const void *a, const void *b) {
  return compare_names(((const nb_loaded_tensor *)a)->info->name, ((const nb_loaded_tensor *)b)->info->name);
}

void nb_sort_tensors(nb_loaded_tensor *tensors, size_t n) { qsort(tensors, n, sizeof *tensors, compare_tensors); }

nb_loaded_tensor *nb_find_loaded(nb_loaded_tensor *tensors, size_t n, nb_str name) {
  size_t lo = 0, hi = n;
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    int c = compare_names(tensors[mid].info->name, name);
    if (c == 0) return &tensors[mid];
    if (c < 0) lo = mid + 1;
    else hi = mid;
  }
  return NULL;
}

// Finds the tensor and checks its shape; NULL when it is missing (an error unless optional) or of another shape.
static nb_loaded_tensor *bind(nb_binder *b, int layer, const char *name, uint64_t rows, uint64_t cols, int optional) {
  if (b->status) return NULL;
  char full[96];
  int n = layer < 0 ? snprintf(full, sizeof full, "%s", name) : snprintf(full, sizeof full, "blk.%d.%s", layer, name);
  nb_loaded_tensor *t = nb_find_loaded(b->tensors, b->n_tensors, (nb_str){full, (size_t)n});
  if (!t) {
    if (!optional) b->status = nb_fail(b->err, NB_E_FORMAT, "the model has no tensor %s", full);
    return NULL;
  }
  const uint64_t *d = t->info->dims;
  if (d[0] != cols || d[1] != rows || d[2] != 1 || d[3] != 1) {
    b->status = nb_fail(b->err, NB_E_FORMAT, "tensor %s has shape [%llu, %llu, %llu, %llu] where the metadata asks for [%llu, %llu]", full,
                        (unsigned long long)d[0], (unsigned long long)d[1], (unsigned long long)d[2], (unsigned long long)d[3],
                        (unsigned long long)cols, (unsigned long long)rows);
    return NULL;
  }
  t->used = true;
  return t;
}

void nb_bind_matrix(nb_binder *b, int layer, const char *name, uint64_t rows, uint64_t cols, int optional, nb_matrix *out) {
  nb_loaded_tensor *t = bind(b, layer, name, rows, cols, optional);
  if (!t) return;
  // Before memory is reserved (shapes_only) sizes may be too large for this machine; then nobody uses the result.
  *out = (nb_matrix){.data = t->data, .type = t->info->type, .layout = t->layout, .rows = (size_t)rows, .cols = (size_t)cols,
                     .row_bytes = (size_t)(t->info->bytes / rows)};
}

void nb_bind_vector(nb_binder *b, int layer, const char *name, uint64_t n, int optional, float **out) {
  nb_loaded_tensor *t = bind(b, layer, name, 1, n, optional);
  if (!t) return;
  if (t->info->type == NB_TYPE_F32) {
    *out = (float *)(void *)t->data;  // blocks of the loader are aligned
    return;
  }
  if (!t->as_floats) {
    t->as_floats = malloc((size_t)n * sizeof(float));
    if (!t->as_floats) {
      b->status = nb_fail_nomem(b->err, "a vector of weights", n * sizeof(float));
      return;
    }
  }
  *out = t->as_floats;
  if (b->shapes_only) return;
  nb_matrix row = {.data = t->data, .type = t->info->type, .layout = NB_LAYOUT_ROWS, .rows = 1, .cols = (size_t)n, .row_bytes = (size_t)t->info->bytes};
  nb_dequantize_row(&row, 0, t->as_floats);
}
