#include "loader.h"

#include <assert.h>
#include <stdlib.h>

#include "../base/sha256.h"

#define HEADER_WINDOW (64 * 1024)
#define MAX_FILES 512
#define MAX_TENSORS (1u << 20)  // of all parts together

struct nb_loader {
  unsigned flags;
  nb_load_state state;
  nb_status failed;          // sticky
  nb_model *model;
  nb_sha256 sha;
  uint64_t position;         // in the current file
  uint64_t file_bytes;       // data end of the current file, known after its header
  uint32_t n_files_expected;
  uint32_t n_tensors_expected;  // over all parts; 0 where the file does not say
  // the tensors of the current file in the order of their data
  nb_loaded_tensor **order;
  size_t n_order, next;      // next: the tensor being filled
  uint64_t filled;           // bytes of it that are there
  uint64_t packed;           // bytes of it that are rearranged
  uint8_t *scratch;          // one group of rows
  size_t scratch_bytes;
  uint8_t window[HEADER_WINDOW];  // header bytes, and padding between tensors
};

nb_loader *nb_loader_new(unsigned flags) {
  nb_loader *l = calloc(1, sizeof *l);
  if (!l) return NULL;
  l->flags = flags;
  l->n_files_expected = 1;
  l->model = calloc(1, sizeof *l->model);
  if (!l->model) {
    free(l);
    return NULL;
  }
  nb_sha256_init(&l->sha);
  return l;
}

void nb_loader_free(nb_loader *l) {
  if (!l) return;
  nb_model_free(l->model);
  free(l->order);
  free(l->scratch);
  free(l);
}

void nb_model_free(nb_model *m) {
  if (!m) return;
  for (size_t i = 0; i < m->n_tensors; i++) {
    free(m->tensors[i].data);
    free(m->tensors[i].as_floats);
  }
  for (uint32_t i = 0; i < m->n_files; i++) nb_gguf_free(m->files[i]);
  free(m->tensors);
  free(m->files);
  free(m->weights.layers);
  free(m);
}

static bool hashes(const nb_loader *l) { return !(l->flags & (NB_LOAD_HEADER_ONLY | NB_LOAD_NO_HASH)); }

static nb_gguf *current(const nb_loader *l) { return l->model->n_files ? l->model->files[l->model->n_files - 1] : NULL; }

// ---- what follows a header --------------------------------------------------------------------------------------------------

static nb_status start_file(nb_loader *l, nb_error *err) {
  nb_model *m = l->model;
  nb_gguf **files = realloc(m->files, (m->n_files + 1) * sizeof *files);
  if (!files) return nb_fail_nomem(err, "the list of files", (m->n_files + 1) * sizeof *files);
  m->files = files;
  nb_gguf *g = nb_gguf_new();
  if (!g) return nb_fail_nomem(err, "the header", 0);
  m->files[m->n_files++] = g;
  return NB_OK;
}

static nb_status check_split(nb_loader *l, nb_error *err) {
  uint32_t index, count, total;
  nb_status s = nb_gguf_split(current(l), &index, &count, &total, err);
  if (s) return s;
  if (l->model->n_files == 1) {
    if (count > MAX_FILES) return nb_fail(err, NB_E_FORMAT, "split.count is %u, the limit is %d", (unsigned)count, MAX_FILES);
    l->n_files_expected = count;
    l->n_tensors_expected = count > 1 ? total : 0;
  }
  if (index != l->model->n_files - 1 || count != l->n_files_expected)
    return nb_fail(err, NB_E_FORMAT, "this is part %u of %u of a split model where part %u of %u is expected", (unsigned)index + 1,
                   (unsigned)count, (unsigned)l->model->n_files, (unsigned)l->n_files_expected);
  return NB_OK;
}

static int compare_offsets(const void *a, const void *b) {
  uint64_t x = (*(nb_loaded_tensor *const *)a)->info->offset, y = (*(nb_loaded_tensor *const *)b)->info->offset;
  return (x > y) - (x < y);
}

// Enters this file's tensors into the table; their memory comes later.
static nb_status list_tensors(nb_loader *l, nb_error *err) {
  nb_model *m = l->model;
  const nb_gguf *g = current(l);
  const size_t n = nb_gguf_n_tensors(g), first = m->n_tensors;
  if (n == 0) return NB_OK;
  if (n > MAX_TENSORS - first) return nb_fail(err, NB_E_FORMAT, "the parts of the model hold more than %u tensors", MAX_TENSORS);
  nb_loaded_tensor *tensors = realloc(m->tensors, (first + n) * sizeof *tensors);
  if (!tensors) return nb_fail_nomem(err, "the tensor table", (first + n) * sizeof *tensors);
  m->tensors = tensors;
  memset(tensors + first, 0, n * sizeof *tensors);
  m->n_tensors += n;
  for (size_t i = 0; i < n; i++) tensors[first + i].info = nb_gguf_tensor_at(g, i);
  for (size_t i = 0; i < n; i++) {
    nb_loaded_tensor *t = &tensors[first + i];
    const nb_gguf_tensor *info = t->info;
    m->weight_bytes += info->bytes;  // the reader has checked that they fit into a file
    m->n_parameters += info->dims[0] * info->dims[1] * info->dims[2] * info->dims[3];
    if (info->n_dims == 2) t->layout = nb_pack_layout(info->type, (size_t)info->dims[1], (size_t)info->dims[0]);
  }
  return NB_OK;
}

// Reserves the memory of this file's tensors, so that a model which does not fit fails before its bytes are downloaded.
static nb_status allocate_tensors(nb_loader *l, nb_error *err) {
  nb_model *m = l->model;
  const nb_gguf *g = current(l);
  const size_t n = nb_gguf_n_tensors(g);
  free(l->order);
  l->order = NULL;
  l->n_order = l->next = 0;
  if (n == 0) return NB_OK;
  nb_loaded_tensor *tensors = m->tensors + (m->n_tensors - n);
  for (size_t i = 0; i < n; i++) {
    nb_loaded_tensor *t = &tensors[i];
    size_t bytes;
    if (!nb_to_size(t->info->bytes, &bytes)) return nb_fail_nomem(err, "a tensor", t->info->bytes);
    t->data = malloc(bytes);
    if (!t->data) return nb_fail_nomem(err, "the weights", nb_gguf_data_bytes(g));
    const size_t group = nb_pack_group_rows(t->layout) * (bytes / (size_t)t->info->dims[1]);
    if (t->layout != NB_LAYOUT_ROWS && group > l->scratch_bytes) {
      uint8_t *scratch = realloc(l->scratch, group);
      if (!scratch) return nb_fail_nomem(err, "rearranging weights", group);
      l->scratch = scratch;
      l->scratch_bytes = group;
    }
  }
  l->order = malloc(n * sizeof *l->order);
  if (!l->order) return nb_fail_nomem(err, "the tensor table", n * sizeof *l->order);
  for (size_t i = 0; i < n; i++) l->order[i] = &tensors[i];
  l->n_order = n;
  qsort(l->order, n, sizeof *l->order, compare_offsets);
  return NB_OK;
}

static nb_status read_config(nb_loader *l, nb_error *err) {
  nb_model *m = l->model;
  nb_gguf *g = m->files[0];
  nb_str name = {"", 0};
  bool found = false;
  nb_status s = nb_gguf_get_str(g, NB_STR("general.architecture"), &name, &found, err);
  if (s) return s;
  if (!found) return nb_fail(err, NB_E_FORMAT, "the file names no general.architecture");
  const nb_arch *arch = nb_arch_find(name);
  if (!arch)
    return nb_fail(err, NB_E_UNSUPPORTED, "the architecture '%.*s' is not supported; this version runs %s", (int)(name.len < 40 ? name.len : 40),
                   name.data, nb_arch_names());
  if ((s = nb_config_read(&m->config, g, err))) return s;
  m->config.rope_order = arch->rope_order;
  m->arch = arch;
  return NB_OK;
}

// Binds every tensor to its place in nb_weights; with shapes_only before their bytes are there.
static nb_status bind_weights(nb_model *m, bool shapes_only, nb_error *err) {
  if (!m->weights.layers) {
    m->weights.layers = calloc(m->config.n_layers, sizeof *m->weights.layers);
    if (!m->weights.layers) return nb_fail_nomem(err, "the layers", m->config.n_layers * sizeof *m->weights.layers);
  }
  nb_loaded_tensor *embedding = nb_find_loaded(m->tensors, m->n_tensors, NB_STR("token_embd.weight"));
  if (!embedding) return nb_fail(err, NB_E_FORMAT, "the model has no tensor token_embd.weight");
  if (embedding->info->dims[1] > 1u << 24)
    return nb_fail(err, NB_E_FORMAT, "token_embd.weight has %llu rows, the limit is %u", (unsigned long long)embedding->info->dims[1], 1u << 24);
  m->config.n_vocab = (uint32_t)embedding->info->dims[1];
  nb_binder b = {.config = &m->config, .tensors = m->tensors, .n_tensors = m->n_tensors, .shapes_only = shapes_only, .err = err};
  nb_bind_common(&b, &m->weights);
  for (uint32_t i = 0; i < m->config.n_layers && !b.status; i++) m->arch->bind(&b, (int)i, &m->weights.layers[i]);
  if (b.status) return b.status;
  for (size_t i = 0; i < m->n_tensors; i++)
    if (!m->tensors[i].used)
      return nb_fail(err, NB_E_UNSUPPORTED, "tensor %.*s is not part of the architecture '%s' as it is run here",
                     (int)(m->tensors[i].info->name.len < 80 ? m->tensors[i].info->name.len : 80), m->tensors[i].info->name.data, m->arch->name);
  return NB_OK;
}

// Finds wrong names and shapes before memory is reserved and data downloaded. The order of the table changes, so this binds a copy.
static nb_status check_shapes(nb_model *m, nb_error *err) {
  nb_loaded_tensor *table = m->tensors;
  const size_t bytes = m->n_tensors * sizeof *table;
  nb_loaded_tensor *copy = malloc(bytes ? bytes : 1);
  if (!copy) return nb_fail_nomem(err, "the tensor table", bytes);
  if (bytes) memcpy(copy, table, bytes);
  nb_sort_tensors(copy, m->n_tensors);
  m->tensors = copy;
  const nb_status s = bind_weights(m, true, err);
  for (size_t i = 0; i < m->n_tensors; i++) free(copy[i].as_floats);
  free(copy);
  m->tensors = table;
  nb_layer *layers = m->weights.layers;
  if (layers) memset(layers, 0, m->config.n_layers * sizeof *layers);
  m->weights = (nb_weights){.layers = layers};
  return s;
}

// Frequencies are divided by these.
static nb_status check_rope_factors(const nb_model *m, nb_error *err) {
  const float *f = m->weights.rope_factors;
  for (uint32_t i = 0; f && i < m->config.n_rot / 2; i++)
    if (!(f[i] >= 1e-6f && f[i] <= 1e6f)) return nb_fail(err, NB_E_FORMAT, "rope_freqs.weight: factor %u is %g, outside 1e-6..1e6", (unsigned)i, (double)f[i]);
  return NB_OK;
}

static nb_status after_header(nb_loader *l, nb_error *err) {
  nb_status s = check_split(l, err);
  if (s) return s;
  l->file_bytes = nb_gguf_data_offset(current(l)) + nb_gguf_data_bytes(current(l));
  const bool header_only = l->flags & NB_LOAD_HEADER_ONLY;
  if (l->model->n_files == 1) {
    s = read_config(l, err);
    // A header may be looked at whatever its architecture is, and vocabulary files lack most fields.
    if (s && (!header_only || s == NB_E_NOMEM)) return s;
    if (s) l->model->arch = NULL;
  }
  if ((s = list_tensors(l, err))) return s;
  for (size_t i = 0; i < l->model->n_tensors; i++) {  // for estimates; bind_weights checks it
    const nb_gguf_tensor *t = l->model->tensors[i].info;
    if (nb_str_eq(t->name, NB_STR("token_embd.weight")) && t->dims[1] <= 1u << 24) l->model->config.n_vocab = (uint32_t)t->dims[1];
  }
  if (header_only) {
    l->state = NB_LOAD_END;
    return NB_OK;
  }
  if (l->n_files_expected == 1 && (s = check_shapes(l->model, err))) return s;  // of a split model not all tensors are known yet
  if ((s = allocate_tensors(l, err))) return s;
  l->state = l->n_order ? NB_LOAD_DATA : NB_LOAD_END;
  l->filled = l->packed = 0;
  return NB_OK;
}

// ---- data -------------------------------------------------------------------------------------------------------------------

static uint64_t tensor_start(const nb_loader *l) { return nb_gguf_data_offset(current(l)) + l->order[l->next]->info->offset; }

// Bytes of padding between the position and the tensor to be filled.
static uint64_t gap(const nb_loader *l) {
  const uint64_t start = tensor_start(l);
  return l->filled == 0 && l->position < start ? start - l->position : 0;
}

static void pack_complete_groups(nb_loader *l) {
  nb_loaded_tensor *t = l->order[l->next];
  if (t->layout == NB_LAYOUT_ROWS) return;
  const size_t row_bytes = (size_t)(t->info->bytes / t->info->dims[1]), group = nb_pack_group_rows(t->layout) * row_bytes;
  while (l->packed + group <= l->filled) {
    if (!nb_pack_group(t->info->type, t->layout, row_bytes, t->data + l->packed, l->scratch)) {
      for (; l->packed > 0; l->packed -= group) nb_unpack_group(t->info->type, t->layout, row_bytes, t->data + l->packed - group, l->scratch);
      t->layout = NB_LAYOUT_ROWS;
      return;
    }
    l->packed += group;
  }
}

// n bytes have been written to the window of the data state.
static void advance(nb_loader *l, size_t n) {
  if (gap(l)) {
    l->position += n;
    return;
  }
  l->position += n;
  l->filled += n;
  pack_complete_groups(l);
  if (l->filled == l->order[l->next]->info->bytes) {
    l->filled = l->packed = 0;
    if (++l->next == l->n_order) l->state = NB_LOAD_END;
  }
}

uint8_t *nb_loader_window(nb_loader *l, size_t *room) {
  *room = sizeof l->window;
  if (l->state != NB_LOAD_DATA) return l->window;  // at the end: the padding after the last tensor
  const uint64_t padding = gap(l);
  if (padding) {
    if (padding < *room) *room = (size_t)padding;
    return l->window;
  }
  nb_loaded_tensor *t = l->order[l->next];
  *room = (size_t)(t->info->bytes - l->filled);
  return t->data + l->filled;
}

static nb_status commit_header(nb_loader *l, size_t n, nb_error *err) {
  nb_status s;
  if (l->position == 0 && (s = start_file(l, err))) return s;
  size_t used = 0;
  if ((s = nb_gguf_feed(current(l), l->window, n, &used, err))) return s;
  l->position += used;
  if (!nb_gguf_complete(current(l))) return NB_OK;
  if ((s = after_header(l, err))) return s;
  // What came along with the end of the header already belongs to the first tensors.
  while (used < n && l->state == NB_LOAD_DATA) {
    size_t room;
    uint8_t *to = nb_loader_window(l, &room);
    const size_t part = n - used < room ? n - used : room;
    if (to != l->window) memcpy(to, l->window + used, part);
    advance(l, part);
    used += part;
  }
  l->position += n - used;
  return NB_OK;
}

nb_status nb_loader_commit(nb_loader *l, size_t n, nb_error *err) {
  if (l->failed) return nb_fail(err, l->failed, "this load has failed before");
  if (n == 0) return NB_OK;
  size_t room;
  const uint8_t *from = nb_loader_window(l, &room);
  assert(n <= room);
  if (hashes(l)) nb_sha256_update(&l->sha, from, n);
  nb_status s = NB_OK;
  if (l->state == NB_LOAD_HEADER) s = commit_header(l, n, err);
  else if (l->state == NB_LOAD_DATA) advance(l, n);
  else l->position += n;
  if (!s && l->state == NB_LOAD_END && !(l->flags & NB_LOAD_HEADER_ONLY) && l->position > nb_align_up(l->file_bytes, nb_gguf_alignment(current(l))))
    s = nb_gguf_finish(current(l), l->position, err);  // more bytes than the header announced
  return l->failed = s;
}

nb_load_state nb_loader_state(const nb_loader *l) { return l->state; }
uint64_t nb_loader_position(const nb_loader *l) { return l->position; }
uint64_t nb_loader_file_bytes(const nb_loader *l) { return l->file_bytes; }

nb_status nb_loader_end_file(nb_loader *l, bool *more, uint8_t *sha256, nb_error *err) {
  *more = false;
  if (l->failed) return nb_fail(err, l->failed, "this load has failed before");
  nb_status s;
  if (!current(l) || (l->position == 0 && l->state == NB_LOAD_HEADER))
    return l->failed = nb_fail(err, NB_E_TRUNCATED, "the source is empty");
  if (!(l->flags & NB_LOAD_HEADER_ONLY)) {
    if ((s = nb_gguf_finish(current(l), l->position, err))) return l->failed = s;
  } else if (l->state != NB_LOAD_END) {
    s = nb_gguf_finish(current(l), l->position, err);
    return l->failed = s ? s : nb_fail(err, NB_E_TRUNCATED, "the header is not complete");
  }
  if (sha256 && hashes(l)) nb_sha256_final(&l->sha, sha256);
  if (l->model->n_files < l->n_files_expected) {
    nb_sha256_init(&l->sha);
    l->position = l->file_bytes = 0;
    l->state = NB_LOAD_HEADER;
    *more = true;
    return NB_OK;
  }
  if (l->flags & NB_LOAD_HEADER_ONLY) return NB_OK;
  free(l->order);
  l->order = NULL;
  l->n_order = 0;
  nb_model *m = l->model;
  if (l->n_tensors_expected && m->n_tensors != l->n_tensors_expected)
    return l->failed = nb_fail(err, NB_E_FORMAT, "the parts hold %zu tensors where split.tensors.count says %u", m->n_tensors, (unsigned)l->n_tensors_expected);
  nb_sort_tensors(m->tensors, m->n_tensors);
  for (size_t i = 1; i < m->n_tensors; i++)
    if (nb_str_eq(m->tensors[i - 1].info->name, m->tensors[i].info->name))
      return l->failed = nb_fail(err, NB_E_FORMAT, "two parts of the model have a tensor %.*s",
                                 (int)(m->tensors[i].info->name.len < 80 ? m->tensors[i].info->name.len : 80), m->tensors[i].info->name.data);
  nb_status bound = bind_weights(m, false, err);
  if (!bound) bound = check_rope_factors(m, err);
  return l->failed = bound;
}

const nb_model *nb_loader_model(const nb_loader *l) {
  const bool known = l->model && l->model->n_files && (l->model->n_files > 1 || l->state != NB_LOAD_HEADER);
  return known ? l->model : NULL;
}

nb_model *nb_loader_take(nb_loader *l, nb_error *err) {
  const bool header_only = l->flags & NB_LOAD_HEADER_ONLY;
  if (l->failed || !current(l) || l->state != NB_LOAD_END || (!header_only && !l->model->weights.embedding.data)) {
    nb_fail(err, NB_E_ARGUMENT, "the model is not complete");
    return NULL;
  }
  nb_model *m = l->model;
  l->model = NULL;
  l->failed = NB_E_ARGUMENT;  // nothing more can be loaded with it
  return m;
}
