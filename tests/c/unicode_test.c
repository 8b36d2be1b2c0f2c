// The classes of all code points against the database they were made from (as checksums, see make_unicode.py), and UTF-8 in all its errors.
#include "../../src/text/unicode.h"
#include "check.h"

static uint32_t crc32_add(uint32_t crc, uint8_t b) {
  crc ^= b;
  for (int i = 0; i < 8; i++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  return crc;
}

static void classes(void) {
  size_t n;
  char *text = (char *)check_read_file(check_vectors_dir(), "tokenizer_unicode.txt", &n);
  CHECK(text != NULL);
  if (!text) return;
  int planes = 0;
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    unsigned plane, expected;
    if (sscanf(line, "%x %x", &plane, &expected) != 2) continue;
    uint32_t crc = 0xffffffffu;
    for (uint32_t cp = plane << 16; cp < (plane + 1) << 16; cp++) crc = crc32_add(crc, (uint8_t)nb_unicode_class(cp));
    CHECK_EQ_INT(~crc, expected);
    planes++;
  }
  CHECK_EQ_INT(planes, 17);
  free(text);
}

// What RFC 3629 says, written down the long way.
static size_t valid_length(const uint8_t *p, size_t n) {
  static const struct { uint8_t lo[4], hi[4]; size_t length; } FORMS[] = {
      {{0x00}, {0x7f}, 1},
      {{0xc2, 0x80}, {0xdf, 0xbf}, 2},
      {{0xe0, 0xa0, 0x80}, {0xe0, 0xbf, 0xbf}, 3},
      {{0xe1, 0x80, 0x80}, {0xec, 0xbf, 0xbf}, 3},
      {{0xed, 0x80, 0x80}, {0xed, 0x9f, 0xbf}, 3},
      {{0xee, 0x80, 0x80}, {0xef, 0xbf, 0xbf}, 3},
      {{0xf0, 0x90, 0x80, 0x80}, {0xf0, 0xbf, 0xbf, 0xbf}, 4},
      {{0xf1, 0x80, 0x80, 0x80}, {0xf3, 0xbf, 0xbf, 0xbf}, 4},
      {{0xf4, 0x80, 0x80, 0x80}, {0xf4, 0x8f, 0xbf, 0xbf}, 4},
  };
  for (size_t f = 0; f < sizeof FORMS / sizeof *FORMS; f++) {
    bool fits = n >= FORMS[f].length;
    for (size_t i = 0; fits && i < FORMS[f].length; i++) fits = p[i] >= FORMS[f].lo[i] && p[i] <= FORMS[f].hi[i];
    if (fits) return FORMS[f].length;
  }
  return 0;
}

static bool partial_by_search(const uint8_t *p, size_t n) {
  static const uint8_t FILL[] = {0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf};
  uint8_t q[4];
  for (int a = 0; a < 6; a++)
    for (int b = 0; b < 6; b++)
      for (int c = 0; c < 6; c++) {
        memcpy(q, p, n);
        if (n < 2) q[1] = FILL[a];
        if (n < 3) q[2] = FILL[b];
        q[3] = FILL[c];
        if (valid_length(q, 4) > n) return true;
      }
  return false;
}

static void utf8(void) {
  static const uint8_t EDGES[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1,
                                  0xf3, 0xf4, 0xf5, 0xf8, 0xff};
  enum { N = sizeof EDGES };
  uint8_t p[4];
  for (int a = 0; a < N; a++)
    for (int b = 0; b < N; b++)
      for (int c = 0; c < N; c++) {
        p[0] = EDGES[a], p[1] = EDGES[b], p[2] = EDGES[c];
        for (size_t n = c ? 3 : b ? 2 : 1; n <= 3; n++) {
          const bool partial = !valid_length(p, n) && partial_by_search(p, n);
          if (nb_utf8_partial(p, n) != (partial ? n : 0)) CHECK_FAIL("partial %02x %02x %02x, %zu there", p[0], p[1], p[2], n);
        }
        for (int d = 0; d < N; d++) {
          p[3] = EDGES[d];
          for (size_t n = 1; n <= 4; n++) {
            const size_t length = valid_length(p, n);
            uint32_t cp;
            if (nb_utf8_length((const char *)p, n) != length) CHECK_FAIL("length of %02x %02x %02x %02x, %zu there", p[0], p[1], p[2], p[3], n);
            if (nb_utf8_next((const char *)p, n, &cp) != (length ? length : 1)) CHECK_FAIL("next of %02x %02x %02x %02x", p[0], p[1], p[2], p[3]);
            if (!length && cp != NB_REPLACEMENT) CHECK_FAIL("code point of %02x %02x %02x %02x", p[0], p[1], p[2], p[3]);
          }
        }
      }
  for (uint32_t cp = 0; cp < 0x110000; cp++) {
    if (cp >= 0xd800 && cp < 0xe000) continue;
    char out[4];
    uint32_t back;
    const size_t n = nb_utf8_put(cp, out);
    if (nb_utf8_next(out, n, &back) != n || back != cp) CHECK_FAIL("U+%04X does not come back", (unsigned)cp);
  }
  check_count++;
}

static void byte_chars(void) {
  for (int b = 0; b < 256; b++) CHECK_EQ_INT(nb_char_byte(nb_byte_char((uint8_t)b)), b);
  CHECK_EQ_INT(nb_byte_char(' '), 0x120);
  CHECK_EQ_INT(nb_byte_char('\n'), 0x10a);
  CHECK_EQ_INT(nb_byte_char('!'), '!');
  CHECK_EQ_INT(nb_byte_char(0xad), 0x143);
  CHECK_EQ_INT(nb_char_byte(0x144), -1);
  CHECK_EQ_INT(nb_char_byte(' '), -1);
  CHECK_EQ_INT(nb_char_byte(0x10ffff), -1);
}

int main(void) {
  classes();
  utf8();
  byte_chars();
  return check_result();
}
