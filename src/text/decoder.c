// Token ids back to text.
#include <assert.h>

#include "model.h"
#include "unicode.h"

#define SPACE "\xe2\x96\x81"  // U+2581

typedef struct writer {
  char *out;
  size_t capacity, n;
} writer;

static void write_bytes(writer *w, const void *p, size_t n) {
  assert(n <= w->capacity - w->n);
  if (n > w->capacity - w->n) return;
  memcpy(w->out + w->n, p, n);
  w->n += n;
}

// Takes one byte of text. Whole characters go out, and U+FFFD for each longest run of bytes that could have begun one.
static void put_byte(nb_decoder *d, writer *w, uint8_t byte) {
  if (d->flags & NB_DECODE_RAW || (d->n_pending == 0 && byte < 0x80)) {
    d->started = true;
    write_bytes(w, &byte, 1);
    return;
  }
  d->pending[d->n_pending++] = byte;
  if (nb_utf8_partial(d->pending, d->n_pending) > 0) return;
  d->started = true;
  const size_t n = d->n_pending;
  d->n_pending = 0;
  if (nb_utf8_length((const char *)d->pending, n) == n) {
    write_bytes(w, d->pending, n);
    return;
  }
  write_bytes(w, "\xef\xbf\xbd", 3);
  if (n > 1) put_byte(d, w, byte);  // what came before was the start of a character; this byte does not go on with it
}

static void put_bytes(nb_decoder *d, writer *w, const char *p, size_t n) {
  for (size_t i = 0; i < n; i++) put_byte(d, w, (uint8_t)p[i]);
}

static void put_spm_text(nb_decoder *d, writer *w, nb_str piece) {
  const bool drop = !d->started && d->n_pending == 0 && d->tokenizer->spm.space_prefix && !(d->flags & NB_DECODE_KEEP_SPACE);
  for (size_t i = 0; i < piece.len;) {
    if (piece.len - i >= 3 && memcmp(piece.data + i, SPACE, 3) == 0) {
      if (i > 0 || !drop) put_byte(d, w, ' ');
      d->started = true;
      i += 3;
    } else {
      put_byte(d, w, (uint8_t)piece.data[i++]);
    }
  }
}

static void put_bpe_text(nb_decoder *d, writer *w, nb_str piece) {
  for (size_t i = 0; i < piece.len;) {
    uint32_t cp;
    const size_t n = nb_utf8_next(piece.data + i, piece.len - i, &cp);
    const int byte = nb_char_byte(cp);
    if (byte >= 0) {
      put_byte(d, w, (uint8_t)byte);
    } else {
      put_bytes(d, w, piece.data + i, n);  // stands for itself
    }
    i += n;
  }
}

void nb_decoder_init(nb_decoder *d, const nb_tokenizer *t, unsigned flags) { *d = (nb_decoder){.tokenizer = t, .flags = flags}; }

size_t nb_decoder_push(nb_decoder *d, nb_token id, char *out, size_t capacity) {
  const nb_tokenizer *t = d->tokenizer;
  writer w = {out, capacity, 0};
  const nb_str piece = nb_tokenizer_piece(t, id);
  if (!piece.data) return 0;
  switch (nb_vocab_kind(&t->vocab, id)) {
    case NB_TOKEN_CONTROL:
    case NB_TOKEN_UNKNOWN:
      if (d->flags & NB_DECODE_SPECIAL) put_bytes(d, &w, piece.data, piece.len);
      break;
    case NB_TOKEN_USER_DEFINED:
      put_bytes(d, &w, piece.data, piece.len);  // spelled as in the text
      break;
    case NB_TOKEN_BYTE:
      if (t->model == NB_TOKENIZER_SPM) {
        put_byte(d, &w, nb_spm_byte(piece));
        break;
      }
      // fall through
    case NB_TOKEN_NORMAL:
    case NB_TOKEN_UNUSED:
      if (t->model == NB_TOKENIZER_SPM) {
        put_spm_text(d, &w, piece);
      } else {
        put_bpe_text(d, &w, piece);
      }
      break;
  }
  return w.n;
}

size_t nb_decoder_finish(nb_decoder *d, char *out, size_t capacity) {
  writer w = {out, capacity, 0};
  if (d->n_pending > 0) write_bytes(&w, "\xef\xbf\xbd", 3);
  d->n_pending = 0;
  return w.n;
}

// Each byte may turn out to be no text, three bytes of U+FFFD, and so may the bytes that were held back.
size_t nb_decoder_max(const nb_tokenizer *t) { return 3 * ((size_t)t->vocab.max_bytes + 4); }
