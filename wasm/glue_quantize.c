// What JavaScript calls in the modules of the quantizer, beside glue.c. Every name stands in exports_quantize.txt.
#include <assert.h>

#include "../src/format/gguf.h"
#include "../src/quantize/awq.h"
#include "../src/quantize/calibrate.h"
#include "../src/quantize/columns.h"
#include "../src/quantize/divergence.h"
#include "../src/quantize/error.h"
#include "../src/quantize/gptq.h"
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

enum { METHOD_HQQ = 3 };  // beside those of nb_encode_method

// out: whether all numbers are finite, row and column of the first one that is not, then error, norm, weighted error, weighted norm
void nbw_requantize_rows(nb_team *team, int from, int to, int method, const uint8_t *in, uint8_t *blocks, size_t rows, size_t cols,
                         const float *importance, void *scratch, double out[7]) {
  const bool hqq = method == METHOD_HQQ;
  const nb_rows_call call = {.from = (nb_type)from, .to = (nb_type)to, .method = hqq ? NB_ENCODE_RTN : (nb_encode_method)method, .hqq = hqq, .in = in,
                             .out = blocks, .rows = rows, .cols = cols, .importance = importance, .scratch = scratch};
  nb_rows_result r;
  nb_requantize_rows(team, &call, &r);
  const double values[7] = {r.finite, (double)r.row, (double)r.col, r.error, r.norm, r.weighted_error, r.weighted_norm};
  memcpy(out, values, sizeof values);
}

// ---- methods that look at what matrices are multiplied with ---------------------------------------------------------------------

enum { MOST_MATRICES = 8 };  // that share an input

// A matrix, as JavaScript hands it over: pointers are numbers of 32 bits.
typedef struct matrix_spec {
  uint32_t type, rows, w, out;
} matrix_spec;

static const float *floats_at(uint32_t address) { return (const float *)(uintptr_t)address; }

static void gptq_matrices(const matrix_spec *specs, int n, nb_gptq_matrix out[MOST_MATRICES]) {
  assert(n > 0 && n <= MOST_MATRICES);
  for (int i = 0; i < n; i++)
    out[i] = (nb_gptq_matrix){.type = (nb_type)specs[i].type, .rows = specs[i].rows, .w = floats_at(specs[i].w), .out = (void *)(uintptr_t)specs[i].out};
}

// options: order, scales, damping, alpha, passes of refinement
static nb_gptq_options gptq_options(const double o[5]) {
  return (nb_gptq_options){.order = (nb_gptq_order)o[0], .scales = (nb_encode_method)o[1], .damping = (float)o[2], .alpha = (float)o[3], .refine = (unsigned)o[4]};
}

double nbw_gptq_scratch_bytes(const double options[5], size_t cols, const matrix_spec *specs, int n, int threads) {
  const nb_gptq_options o = gptq_options(options);
  nb_gptq_matrix matrices[MOST_MATRICES];
  gptq_matrices(specs, n, matrices);
  return (double)nb_gptq_scratch_bytes(&o, cols, matrices, (size_t)n, (unsigned)threads);
}

// out: for each matrix energy, error of the weighted search, error, damping, dead columns, rows of the weighted search, of static scales, of groups
int nbw_gptq(nb_team *team, const double options[5], size_t cols, const float *h, const float *cross, const matrix_spec *specs, int n, void *scratch,
             double *out, nb_error *err) {
  const nb_gptq_options o = gptq_options(options);
  nb_gptq_matrix matrices[MOST_MATRICES];
  gptq_matrices(specs, n, matrices);
  const nb_status s = nb_gptq(team, &o, cols, h, cross, matrices, (size_t)n, scratch, err);
  for (int i = 0; i < n && s == NB_OK; i++) {
    const nb_gptq_report *r = &matrices[i].report;
    const double values[8] = {r->energy, r->searched, r->error, r->damping, (double)r->dead, (double)r->rows_search, (double)r->rows_static, (double)r->rows_groups};
    memcpy(out + i * 8, values, sizeof values);
  }
  return s;
}

static void awq_matrices(const matrix_spec *specs, int n, nb_awq_matrix out[MOST_MATRICES]) {
  assert(n > 0 && n <= MOST_MATRICES);
  for (int i = 0; i < n; i++) out[i] = (nb_awq_matrix){.type = (nb_type)specs[i].type, .rows = specs[i].rows, .w = floats_at(specs[i].w)};
}

double nbw_awq_scratch_bytes(size_t cols, const matrix_spec *specs, int n, int threads) {
  nb_awq_matrix matrices[MOST_MATRICES];
  awq_matrices(specs, n, matrices);
  return (double)nb_awq_scratch_bytes(cols, matrices, (size_t)n, (unsigned)threads);
}

// scales: [cols] floats. out: energy, error without scales, error, exponent, whether scales are other than 1
int nbw_awq(nb_team *team, int method, int rows_most, size_t cols, const float *h, const matrix_spec *specs, int n, float *scales, void *scratch,
            double out[5], nb_error *err) {
  nb_awq_matrix matrices[MOST_MATRICES];
  awq_matrices(specs, n, matrices);
  nb_awq_report r;
  const nb_status s = nb_awq(team, (nb_encode_method)method, (size_t)rows_most, cols, h, NULL, matrices, (size_t)n, scales, &r, scratch, err);
  if (s) return s;
  const double values[5] = {r.energy, r.plain, r.error, r.exponent, r.scaled};
  memcpy(out, values, 5 * sizeof *out);
  return NB_OK;
}

double nbw_error_scratch_bytes(size_t cols, int threads) { return (double)nb_error_scratch_bytes(cols, (unsigned)threads); }

// tr((W - W') H (W - W')^T), of the W' that blocks decode to (0: none, the energy). errors: [rows], scratch
double nbw_output_error(nb_team *team, int type, const float *w, const void *blocks, size_t rows, size_t cols, const float *h, void *scratch, double *errors) {
  nb_output_errors(team, (nb_type)type, w, blocks, rows, cols, h, NULL, scratch, errors);
  return nb_sum_errors(errors, rows);
}

// ---- calibration ------------------------------------------------------------------------------------------------------------

static nb_calibration_options calibration_options(int n_samples, int n_ctx, int reference, int float_activations, const uint8_t parts[NB_SITES], nb_team *team) {
  nb_calibration_options o = {.n_samples = (uint32_t)n_samples, .n_ctx = (uint32_t)n_ctx, .reference = reference != 0, .float_activations = float_activations != 0, .team = team};
  memcpy(o.parts, parts, sizeof o.parts);
  return o;
}

nb_calibration *nbw_calibration_new(const nb_model *header, int n_samples, int n_ctx, int reference, int float_activations, const uint8_t *parts, nb_team *team,
                                    nb_error *err) {
  const nb_calibration_options o = calibration_options(n_samples, n_ctx, reference, float_activations, parts, team);
  return nb_calibration_new(header, &o, err);
}

double nbw_calibration_bytes(const nb_model *header, int n_samples, int n_ctx, int reference, const uint8_t *parts, nb_team *team) {
  const nb_calibration_options o = calibration_options(n_samples, n_ctx, reference, 0, parts, team);
  return (double)nb_calibration_bytes(header, &o);
}

// out: data pointer, bytes
int nbw_calibration_place(nb_calibration *c, int set, const char *name, int type, uint32_t out[2], nb_error *err) {
  uint8_t *data = NULL;
  size_t bytes = 0;
  const nb_status s = nb_calibration_place(c, (nb_set)set, name, (nb_type)type, &data, &bytes, err);
  out[0] = (uint32_t)(uintptr_t)data;
  out[1] = (uint32_t)bytes;
  return s;
}

// out: columns, inputs, inputs left out, dead columns, then pointers: sum, sum_sq (doubles), max_abs, h, cross (floats; 0 where there is none).
// Returns 0 where the layer has no such site.
int nbw_calibration_stats(const nb_calibration *c, int site, double out[9]) {
  const nb_stats *s = nb_calibration_stats(c, (nb_site)site);
  if (!s) return 0;
  const double values[9] = {(double)s->cols, (double)s->n, (double)s->n_left_out, (double)nb_stats_dead(s, NULL), (double)(uintptr_t)s->sum,
                            (double)(uintptr_t)s->sum_sq, (double)(uintptr_t)s->max_abs, (double)(uintptr_t)s->h, (double)(uintptr_t)s->cross};
  memcpy(out, values, sizeof values);
  return 1;
}

// out: difference, output, change. The quantized layer beside the original one, or with `drift` the main stream beside the reference.
int nbw_calibration_error(nb_calibration *c, int sample, int drift, double out[3], nb_error *err) {
  nb_layer_error e = {0};
  const nb_status s = drift ? nb_calibration_drift(c, (uint32_t)sample, &e, err) : nb_calibration_compare(c, (uint32_t)sample, &e, err);
  const double values[3] = {e.difference, e.output, e.change};
  memcpy(out, values, sizeof values);
  return s;
}

// ---- pruning ----------------------------------------------------------------------------------------------------------------

double nbw_columns_scratch_bytes(size_t rows, size_t cols, int compensate) { return (double)nb_columns_scratch_bytes(rows, cols, compensate != 0); }

// kept: [cols] bytes. out: the damping that was used
int nbw_prune_columns(nb_team *team, size_t keep, int compensate, double damping, float *w, size_t rows, size_t cols, const float *h, uint8_t *kept,
                      void *scratch, double *out, nb_error *err) {
  const nb_columns_options o = {.keep = keep, .compensate = compensate != 0, .damping = (float)damping};
  nb_columns_report r = {0};
  const nb_status s = nb_prune_columns(team, &o, w, rows, cols, h, kept, &r, scratch, err);
  *out = r.damping;
  return s;
}

// The head as a file has it, of type `type` and [rows, cols]; norm [cols]; reference, x [n, cols]. Returns the sum over the n vectors.
double nbw_divergence(nb_team *team, int type, const uint8_t *head, size_t rows, size_t cols, const float *norm, double eps, const float *reference,
                      const float *x, size_t n, void *scratch, double *each) {
  const nb_type_info *info = nb_type_get((nb_type)type);
  const nb_matrix m = {head, (nb_type)type, NB_LAYOUT_ROWS, rows, cols, cols / info->block_size * info->block_bytes};
  nb_divergence(team, &m, norm, (float)eps, reference, x, n, cols, scratch, each);
  double sum = 0;
  for (size_t t = 0; t < n; t++) sum += each[t];
  return sum;
}
