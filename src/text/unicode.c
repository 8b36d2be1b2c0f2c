#include "unicode.h"

nb_class nb_unicode_class(uint32_t cp) {
  if (cp < 128) return (nb_class)nb_unicode_ascii[cp];
  if (cp >> 8 >= nb_unicode_n_pages) return cp >= nb_unicode_tail_marks[0] && cp <= nb_unicode_tail_marks[1] ? NB_CLASS_MARK : NB_CLASS_OTHER;
  enum { UPPER_FIRST = 9, LOWER_FIRST = 10 };  // alternating runs, see make_unicode.py
  const uint8_t *run = nb_unicode_runs + nb_unicode_page[cp >> 8];
  uint32_t at = cp & 255;  // into the run
  for (;;) {
    const uint32_t code = *run >> 4, low = *run & 15;
    run++;
    const uint32_t length = low < 14 ? low + 1 : low == 14 ? 15u + *run++ : 256;
    if (at < length) {
      if (code < UPPER_FIRST) return (nb_class)code;
      return (at & 1) == (code == UPPER_FIRST ? 0u : 1u) ? NB_CLASS_UPPER : NB_CLASS_LOWER;
    }
    at -= length;
  }
}

// The bounds of the second byte keep out overlong forms (e0, f0), surrogates (ed) and what lies above U+10FFFF (f4).
static bool second_ok(uint8_t lead, uint8_t b) {
  const uint8_t lo = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80, hi = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  return b >= lo && b <= hi;
}

static size_t lead_length(uint8_t b) { return b < 0x80 ? 1 : b < 0xc2 ? 0 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : b < 0xf5 ? 4 : 0; }

size_t nb_utf8_length(const char *text, size_t n) {
  const uint8_t *p = (const uint8_t *)text;
  const size_t length = lead_length(p[0]);
  if (length <= 1) return length;
  if (length > n || !second_ok(p[0], p[1])) return 0;
  for (size_t i = 2; i < length; i++) {
    if ((p[i] & 0xc0) != 0x80) return 0;
  }
  return length;
}

size_t nb_utf8_next(const char *text, size_t n, uint32_t *cp) {
  const uint8_t *p = (const uint8_t *)text;
  if (p[0] < 0x80) {
    *cp = p[0];
    return 1;
  }
  const size_t length = nb_utf8_length(text, n);
  if (length == 0) {
    *cp = NB_REPLACEMENT;
    return 1;
  }
  uint32_t c = p[0] & (0x7fu >> length);
  for (size_t i = 1; i < length; i++) c = c << 6 | (p[i] & 0x3fu);
  *cp = c;
  return length;
}

size_t nb_utf8_partial(const uint8_t *p, size_t n) {
  if (n == 0) return 0;
  const size_t length = lead_length(p[0]);
  if (length <= n) return 0;
  if (n > 1 && !second_ok(p[0], p[1])) return 0;
  if (n > 2 && (p[2] & 0xc0) != 0x80) return 0;
  return n;
}

size_t nb_utf8_put(uint32_t cp, char *out) {
  uint8_t *p = (uint8_t *)out;
  if (cp < 0x80) {
    p[0] = (uint8_t)cp;
    return 1;
  }
  if (cp < 0x800) {
    p[0] = (uint8_t)(0xc0 | cp >> 6);
    p[1] = (uint8_t)(0x80 | (cp & 0x3f));
    return 2;
  }
  if (cp < 0x10000) {
    p[0] = (uint8_t)(0xe0 | cp >> 12);
    p[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
    p[2] = (uint8_t)(0x80 | (cp & 0x3f));
    return 3;
  }
  p[0] = (uint8_t)(0xf0 | cp >> 18);
  p[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
  p[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
  p[3] = (uint8_t)(0x80 | (cp & 0x3f));
  return 4;
}

// Bytes that do not stand for themselves: 0..32, 127..160 and 173; 68 of them, spelled U+0100..U+0143.
uint32_t nb_byte_char(uint8_t b) {
  if (b <= 32) return 256u + b;
  if (b >= 127 && b <= 160) return 256u + 33 + (b - 127u);
  return b == 173 ? 256u + 67 : b;
}

int nb_char_byte(uint32_t cp) {
  if (cp < 256) return nb_byte_char((uint8_t)cp) == cp ? (int)cp : -1;
  if (cp < 256 + 33) return (int)cp - 256;
  if (cp < 256 + 67) return (int)cp - 256 - 33 + 127;
  return cp == 256 + 67 ? 173 : -1;
}
