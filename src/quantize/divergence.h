// How far the predictions of two streams of hidden states are from each other.
#ifndef NB_QUANTIZE_DIVERGENCE_H
#define NB_QUANTIZE_DIVERGENCE_H

#include "../base/team.h"
#include "../kernels/kernels.h"

size_t nb_divergence_scratch_bytes(size_t n_vocab, size_t d_model, unsigned threads);

// divergence[t] = the Kullback-Leibler divergence, in nats, of softmax(head (rms_norm(x_t) * norm)) from that of reference_t, for the n vectors of
// x and reference [n, stride], of which the first d_model numbers count. Multiplied by floats. The same for any number of threads.
void nb_divergence(nb_team *team, const nb_matrix *head, const float *norm, float eps, const float *reference, const float *x, size_t n, size_t stride,
                   void *scratch, double *divergence);

#endif
