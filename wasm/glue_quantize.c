// What JavaScript calls in the modules of the quantizer, beside glue.c. Every name stands in exports_quantize.txt.
#include "../src/format/gguf.h"
#include "../src/quantize/rows.h"

// ---- headers of GGUF files as they are --------------------------------------------------------------------------------------

// out: pairs, tensors, alignment, offset of the data, bytes of the data
void nbw_gguf_info(const nb_gguf *g, double out[5]) {
  const double values[5] = {(double)nb_gguf_n_kv(g), (double)nb_gguf_n_tensors(g), (double)nb_gguf_alignment(g), (double)nb_gguf_data_offset(g),
                            (double)nb_gguf_data_bytes(g)};
  memcpy(out, values, sizeof values);
}

// out: key pointer, key length, kind, item kind, count, data pointer, data length
void nbw_gguf_kv(const nb_gguf *g, int i, double out[7]) {
  const nb_gguf_kv *kv = nb_gguf_kv_at(g, (size_t)i);
  const double values[7] = {(double)(uintptr_t)kv->key.data, (double)kv->key.len, kv->kind, kv->item_kind, (double)kv->count,
                            (double)(uintptr_t)kv->data, (double)kv->bytes};
  memcpy(out, values, sizeof values);
}

// out: name pointer, name length, type, number of dimensions, four dimensions, bytes, offset from the start of the data
void nbw_gguf_tensor(const nb_gguf *g, int i, double out[10]) {
  const nb_gguf_tensor *t = nb_gguf_tensor_at(g, (size_t)i);
  const double values[10] = {(double)(uintptr_t)t->name.data, (double)t->name.len, t->type, t->n_dims, (double)t->dims[0], (double)t->dims[1],
                             (double)t->dims[2], (double)t->dims[3], (double)t->bytes, (double)t->offset};
  memcpy(out, values, sizeof values);
}

int nbw_gguf_finish(const nb_gguf *g, double file_bytes, nb_error *err) { return nb_gguf_finish(g, (uint64_t)file_bytes, err); }

// ---- encoding ---------------------------------------------------------------------------------------------------------------

// out: whether all numbers are finite, row and column of the first one that is not, then error, norm, weighted error, weighted norm
void nbw_requantize_rows(nb_team *team, int from, int to, int method, const uint8_t *in, uint8_t *blocks, size_t rows, size_t cols,
                         const float *importance, void *scratch, double out[7]) {
  const nb_rows_call call = {(nb_type)from, (nb_type)to, (nb_encode_method)method, in, blocks, rows, cols, importance, scratch};
  nb_rows_result r;
  nb_requantize_rows(team, &call, &r);
  const double values[7] = {r.finite, (double)r.row, (double)r.col, r.error, r.norm, r.weighted_error, r.weighted_norm};
  memcpy(out, values, sizeof values);
}
