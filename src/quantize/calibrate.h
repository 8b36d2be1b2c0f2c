// Calibration one layer at a time: what the layers of a model compute on samples of text, with the statistics of what each matrix is multiplied
// with. Of the weights, one layer is in memory (twice where it is quantized); of the samples, what enters the layer.
//
//   nb_calibration *c = nb_calibration_new(header, &options, &err);
//   … nb_calibration_tokens(c, i)[0 .. n_ctx-1] = tokens of sample i, for each one
//   … nb_calibration_place(c, NB_SET_ENDS, "output_norm.weight", type, …) and its bytes; rope_freqs.weight where there is one
//   nb_calibration_bind(c, NB_SET_ENDS, &err);
//   … nb_calibration_embed(…) with all rows of token_embd.weight
//   for (layer = 0; layer < n_layers; layer++) {
//     nb_calibration_begin(c, layer, &err);
//     … nb_calibration_place(c, NB_SET_ORIGINAL, …) for each tensor of the layer, and its bytes
//     nb_calibration_bind(c, NB_SET_ORIGINAL, &err);
//     for each sample i: nb_calibration_run(c, i, NB_SET_ORIGINAL, NB_RUN_STATS);
//     nb_calibration_finish(c);                           // now nb_calibration_stats(c, site) are complete
//     … quantize; nb_calibration_place(c, NB_SET_QUANTIZED, …) for what was quantized; nb_calibration_bind(c, NB_SET_QUANTIZED, &err);
//     for each sample i: nb_calibration_run(c, i, NB_SET_QUANTIZED, NB_RUN_ADVANCE);
//     // from here the state may be saved: nb_calibration_activations of each sample
//   }
//   nb_calibration_begin(c, n_layers, &err);              // what the head is multiplied with
//   for each sample i: nb_calibration_run(c, i, NB_SET_ENDS, NB_RUN_STATS);
//   nb_calibration_finish(c);
//
// The layers are computed by the architecture's own function, with the kernels of inference: with the original weights throughout, the hidden
// states are those of nb_pass_run, bit by bit.
#ifndef NB_QUANTIZE_CALIBRATE_H
#define NB_QUANTIZE_CALIBRATE_H

#include "../model/forward.h"
#include "stats.h"

// The inputs of matrices. Those that share one are in one site.
typedef enum nb_site {
  NB_SITE_QKV = 0,
  NB_SITE_ATTN_OUTPUT = 1,
  NB_SITE_GATE_UP = 2,
  NB_SITE_DOWN = 3,
  NB_SITE_HEAD = 4,  // of the whole model, after the last layer
  NB_SITES = 5,
} nb_site;

// The samples' activations.
typedef enum nb_stream {
  NB_STREAM_MAIN = 0,       // through the layers as they are quantized
  NB_STREAM_REFERENCE = 1,  // through the original ones
  NB_STREAMS = 2,
} nb_stream;

typedef enum nb_set {
  NB_SET_ORIGINAL = 0,
  NB_SET_QUANTIZED = 1,  // tensors that are not placed in it are those of NB_SET_ORIGINAL
  NB_SET_ENDS = 2,       // output_norm.weight, rope_freqs.weight
  NB_SETS = 3,
} nb_set;

typedef enum nb_run_flags {
  NB_RUN_STATS = 1,      // what matrices are multiplied with goes to the statistics
  NB_RUN_ADVANCE = 2,    // the layer's output takes the place of its input
  NB_RUN_REFERENCE = 4,  // the reference stream goes through NB_SET_ORIGINAL, too, and on to the next layer. Sites with NB_STATS_CROSS need it
} nb_run_flags;

typedef struct nb_calibration_options {
  uint32_t n_samples, n_ctx;  // samples, all of n_ctx tokens
  bool reference;             // keep the reference stream: as many bytes again
  bool float_activations;     // of NB_SET_QUANTIZED; false: int8, as inference does
  uint8_t parts[NB_SITES];    // nb_stats_parts of every site
  nb_team *team;              // NULL: the calling thread alone
} nb_calibration_options;

typedef struct nb_calibration nb_calibration;

// header: a model of which no more than the header was read; it has to live as long as the calibration.
nb_calibration *nb_calibration_new(const nb_model *header, const nb_calibration_options *o, nb_error *err);
void nb_calibration_free(nb_calibration *c);
// Bytes that a calibration takes at most, without the weights.
uint64_t nb_calibration_bytes(const nb_model *header, const nb_calibration_options *o);

int32_t *nb_calibration_tokens(nb_calibration *c, uint32_t sample);  // [n_ctx], to be filled in before nb_calibration_embed

// Reserves the memory of a tensor that the header has, stored as `type` (which need not be the header's), and says where its *bytes bytes go, as
// a GGUF file has them. Replaces one of that name.
nb_status nb_calibration_place(nb_calibration *c, nb_set set, const char *name, nb_type type, uint8_t **data, size_t *bytes, nb_error *err);
// Called when the bytes of all tensors of the set are there: checks shapes, rearranges weights for the kernels.
nb_status nb_calibration_bind(nb_calibration *c, nb_set set, nb_error *err);
// Frees the tensors of a set.
void nb_calibration_drop(nb_calibration *c, nb_set set);

// Rows row0 .. row0 + n - 1 of the embedding, as a file has them, for the tokens that are among them: piece after piece, from row 0 to the last one.
// streams: bits 1 << nb_stream.
nb_status nb_calibration_embed(nb_calibration *c, unsigned streams, nb_type type, const uint8_t *rows, size_t row0, size_t n, nb_error *err);

// From now on it is about this layer (n_layers: about the head): the weights of the layer before go, statistics start anew.
// Also the way to go on from activations that were saved: they are what enters the layer that is begun.
nb_status nb_calibration_begin(nb_calibration *c, uint32_t layer, nb_error *err);

// One sample through the layer. flags: of nb_run_flags. E_ARGUMENT where the set is not bound, or its state does not allow what is asked for.
nb_status nb_calibration_run(nb_calibration *c, uint32_t sample, nb_set set, unsigned flags, nb_error *err);
void nb_calibration_finish(nb_calibration *c);
const nb_stats *nb_calibration_stats(const nb_calibration *c, nb_site site);  // NULL where the layer has none

// What enters the layer: [n_ctx, d_model] floats of one sample, to be read or, for going on, to be filled in. NULL for a stream that is not kept.
float *nb_calibration_activations(nb_calibration *c, nb_stream stream, uint32_t sample);

// Errors as sums over the numbers of one sample.
typedef struct nb_layer_error {
  double difference;  // of (output - wanted output)^2
  double output;      // of wanted output^2
  double change;      // of (wanted output - input)^2: what the layer adds
} nb_layer_error;

// The output of NB_SET_QUANTIZED beside that of NB_SET_ORIGINAL for the same input, the main stream's. Neither goes on.
nb_status nb_calibration_compare(nb_calibration *c, uint32_t sample, nb_layer_error *e, nb_error *err);
// The main stream beside the reference stream, at the same layer; `change` is 0.
nb_status nb_calibration_drift(nb_calibration *c, uint32_t sample, nb_layer_error *e, nb_error *err);

#endif
