// UTF-8 and the classes of code points (Unicode 15.1), for pre-tokenizers and decoders.
#ifndef NB_TEXT_UNICODE_H
#define NB_TEXT_UNICODE_H

#include "../base/mem.h"

#define NB_UNICODE_VERSION "15.1"

// General categories as far as the pre-tokenizers tell them apart. White space (the property, not the category) comes first:
// its characters have no other class.
typedef enum nb_class {
  NB_CLASS_OTHER,        // controls, formats, private use, unassigned
  NB_CLASS_UPPER,        // Lu, Lt
  NB_CLASS_LOWER,        // Ll
  NB_CLASS_LETTER,       // Lm, Lo: letters without case
  NB_CLASS_MARK,         // M
  NB_CLASS_NUMBER,       // N
  NB_CLASS_PUNCTUATION,  // P
  NB_CLASS_SYMBOL,       // S
  NB_CLASS_SPACE,        // White_Space
} nb_class;

// Sets of classes, one bit each.
#define NB_SET(class) (1u << (class))
#define NB_SET_LETTER (NB_SET(NB_CLASS_UPPER) | NB_SET(NB_CLASS_LOWER) | NB_SET(NB_CLASS_LETTER))
#define NB_SET_MARK NB_SET(NB_CLASS_MARK)
#define NB_SET_NUMBER NB_SET(NB_CLASS_NUMBER)
#define NB_SET_PUNCTUATION NB_SET(NB_CLASS_PUNCTUATION)
#define NB_SET_SYMBOL NB_SET(NB_CLASS_SYMBOL)
#define NB_SET_SPACE NB_SET(NB_CLASS_SPACE)
#define NB_SET_ALL 0x1ffu

// unicode_tables.c, see make_unicode.py
extern const uint32_t nb_unicode_n_pages, nb_unicode_tail_marks[2];
extern const uint8_t nb_unicode_ascii[128], nb_unicode_runs[];
extern const uint16_t nb_unicode_page[];

nb_class nb_unicode_class(uint32_t cp);

#define NB_REPLACEMENT 0xfffdu  // stands for bytes that are no UTF-8

// Length in bytes of the character at p (1..4), n > 0 bytes being there; *cp is its code point. A byte that does not start a
// well-formed character (no overlong forms, no surrogates, nothing above U+10FFFF) counts as one of its own: 1, NB_REPLACEMENT.
size_t nb_utf8_next(const char *p, size_t n, uint32_t *cp);

// As above without the code point; 0 for a byte that starts no well-formed character.
size_t nb_utf8_length(const char *p, size_t n);

// The number of leading bytes, 0..3, of a character that may still become well-formed when more bytes follow: the n bytes at p
// are a proper prefix of one. 0 when they are not, whatever follows.
size_t nb_utf8_partial(const uint8_t *p, size_t n);

// Writes the 1..4 bytes of a code point.
size_t nb_utf8_put(uint32_t cp, char *out);

// Byte-level vocabularies spell each byte as a printable character: those of Latin-1 that can be seen stand for themselves, the
// others, in order, for U+0100 and on. The published scheme is that of GPT-2.
uint32_t nb_byte_char(uint8_t byte);
int nb_char_byte(uint32_t cp);  // back; -1 for characters that stand for no byte

#endif
