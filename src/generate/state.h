// A session as bytes, to go on later, in another process or on another machine: its tokens, their keys and values as far as they were
// evaluated, and a note of the caller's own. Little-endian, version 1:
//
//     0   "NBLSTATE"
//     8   u32 version    u32 type of keys and values (1: F16)    u32 n_layers    u32 numbers in a row
//     24  u32 n_ctx of the session that was saved    u32 n_tokens    u32 n_evaluated <= n_tokens    u32 n_note
//     40  fingerprint of the model [32]
//     72  tokens i32 [n_tokens]
//         of each layer keys [n_evaluated, row], then values [n_evaluated, row]
//         note [n_note]
//         SHA-256 of all that comes before [32]
//
// The fingerprint is a SHA-256 of the architecture, the hyper-parameters, every tensor's name, type and shape, the norms, the first row of
// every matrix, and whether activations were floats: fine-tunings and other quantizations of a model differ in it, its tokenizer's texts and
// the rest of its metadata do not count. Results are the same bits on every machine and number of threads, so states may travel.
//
// What is read is not trusted: nothing is allocated, every size is checked against the bytes that are there, and a session changes only
// after all of it was found right. Right means: whole, of this model, and as it was saved; the hash is no signature, and somebody who makes
// up a state decides what the model takes for said.
#ifndef NB_GENERATE_STATE_H
#define NB_GENERATE_STATE_H

#include "session.h"

#define NB_STATE_HEADER 72
#define NB_STATE_HASH 32
#define NB_STATE_MAX_NOTE (16u << 20)

typedef struct nb_state {  // points into the bytes that were checked
  uint32_t n_tokens, n_evaluated;
  const uint8_t *tokens, *rows;
  nb_str note;
} nb_state;

uint64_t nb_state_bytes(const nb_session *s, size_t n_note);
// Writes nb_state_bytes(s, note.len) bytes. The note has at most NB_STATE_MAX_NOTE.
void nb_state_save(nb_session *s, nb_str note, uint8_t *out);

// Whether the session can take the state: E_FORMAT, E_TRUNCATED, E_INTEGRITY (damaged), E_UNSUPPORTED (of another version or model),
// E_CONTEXT (more tokens than it holds).
nb_status nb_state_check(nb_session *s, const uint8_t *bytes, size_t n, nb_state *out, nb_error *err);
// Makes the session what nb_state_check found, with the very same session.
void nb_state_restore(nb_session *s, const nb_state *state);

#endif
