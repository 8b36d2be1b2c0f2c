// Takes the bytes of a model in the order of the file and puts them where they stay.
//
//   nb_loader *l = nb_loader_new(flags, &err);
//   while (there are bytes) {
//     size_t room; uint8_t *to = nb_loader_window(l, &room);   // the next n <= room bytes of the file belong here
//     … copy n bytes to `to` …
//     nb_loader_commit(l, n, &err);                            // hash, parse, pack
//   }
//   nb_loader_end_file(l, &err);     // once for each part of a split model
//   nb_model *m = nb_loader_take(l, &err); nb_loader_free(l);
//
// While the header is read, the window is a small buffer; after that it is the tensor's own memory, so tensor bytes are written
// once. Groups of rows are rearranged for the kernels in place as soon as they are complete, after they were hashed.
#ifndef NB_MODEL_LOADER_H
#define NB_MODEL_LOADER_H

#include "model.h"

typedef struct nb_loader nb_loader;

typedef enum nb_load_flags {
  NB_LOAD_HEADER_ONLY = 1,  // stop after the header: for inspecting a file, or for its tokenizer (vocabulary-only files too). The
                            // first part of a split model will do: do not call nb_loader_end_file to stop there
  NB_LOAD_NO_HASH = 2,      // the caller hashes the bytes by faster means, or not at all: nb_loader_end_file writes no hash
} nb_load_flags;

typedef enum nb_load_state {
  NB_LOAD_HEADER = 0,  // reading a header
  NB_LOAD_DATA = 1,    // reading tensors
  NB_LOAD_END = 2,     // this part is complete: call nb_loader_end_file
} nb_load_state;

nb_loader *nb_loader_new(unsigned flags);  // NULL when memory is out
void nb_loader_free(nb_loader *l);         // frees everything not taken

uint8_t *nb_loader_window(nb_loader *l, size_t *room);  // never NULL; room >= 1 unless the state is NB_LOAD_END
nb_status nb_loader_commit(nb_loader *l, size_t n, nb_error *err);
nb_load_state nb_loader_state(const nb_loader *l);

// The source of the current part ended. *more tells that the model has another part, whose bytes come next. With sha256 not NULL
// the 32 bytes of the hash of this part are written there (but for headers alone, and with NB_LOAD_NO_HASH).
nb_status nb_loader_end_file(nb_loader *l, bool *more, uint8_t *sha256, nb_error *err);

// Position in the current part, and the part's length as its header tells (0 while that is not known).
uint64_t nb_loader_position(const nb_loader *l);
uint64_t nb_loader_file_bytes(const nb_loader *l);

// The model as far as it has been read; NULL before the first header is complete. For estimates before the data is fetched.
const nb_model *nb_loader_model(const nb_loader *l);

// The model, complete after the last part; with NB_LOAD_HEADER_ONLY as far as the header tells (config only where the file has
// an architecture this version runs: arch is NULL otherwise).
nb_model *nb_loader_take(nb_loader *l, nb_error *err);

#endif
