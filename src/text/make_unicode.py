#!/usr/bin/env python3
"""Writes unicode_tables.c: the class of every code point, as the pre-tokenizers need it.

    src/text/make_unicode.py [--data DIR]          writes src/text/unicode_tables.c
                                                   and tests/vectors/tokenizer_unicode.txt, the checksums of its test

DIR holds UnicodeData.txt, PropList.txt and DerivedAge.txt of the Unicode Character Database (Debian: package unicode-data).

The vocabularies in use were made, and are run elsewhere, with the categories of Unicode 15.1. The 627 characters that 15.1 added to 15.0
are written down below, so that the database of either version gives the same file.

The table: code points come in pages of 256. A page is a list of runs, a run is a class and a length:

    one byte   cccc llll     length llll + 1 for llll = 0..13
    two bytes  cccc 1110 n   length 15 + n
    one byte   cccc 1111     to the end of the page

Classes 9 and 10 stand for letters that alternate between upper and lower case, starting with upper or with lower. Pages of equal
content share their runs. Code points after the last page have one class only, but for one range of marks.
"""
import argparse
import pathlib
import re
import zlib

PAGE = 256
OTHER, UPPER, LOWER, LETTER, MARK, NUMBER, PUNCTUATION, SYMBOL, SPACE, UPPER_FIRST, LOWER_FIRST = range(11)
OF_CATEGORY = {'Lu': UPPER, 'Lt': UPPER, 'Ll': LOWER, 'Lm': LETTER, 'Lo': LETTER, 'Mn': MARK, 'Mc': MARK, 'Me': MARK,
               'Nd': NUMBER, 'Nl': NUMBER, 'No': NUMBER, 'Pc': PUNCTUATION, 'Pd': PUNCTUATION, 'Ps': PUNCTUATION, 'Pe': PUNCTUATION,
               'Pi': PUNCTUATION, 'Pf': PUNCTUATION, 'Po': PUNCTUATION, 'Sm': SYMBOL, 'Sc': SYMBOL, 'Sk': SYMBOL, 'So': SYMBOL}
ADDED_BY_15_1 = [(0x2ffc, 0x2fff, SYMBOL), (0x31ef, 0x31ef, SYMBOL), (0x2ebf0, 0x2ee5d, LETTER)]


def classes(data):
    """[0x110000] class of each code point, White_Space before the general category"""
    age = (data / 'DerivedAge.txt').read_text()
    version = re.match(r'# DerivedAge-(\d+\.\d+)', age)[1]
    if version not in ('15.0', '15.1'):
        raise SystemExit(f'{data} is Unicode {version}; the table is of 15.1 and can be made from 15.0 or 15.1')
    table = [OTHER] * 0x110000
    first = None
    for line in (data / 'UnicodeData.txt').read_text().splitlines():
        code, name, category = line.split(';')[:3]
        cp, c = int(code, 16), OF_CATEGORY.get(category, OTHER)
        if name.endswith(', First>'):
            first = cp
        elif name.endswith(', Last>'):
            table[first:cp + 1] = [c] * (cp + 1 - first)
        else:
            table[cp] = c
    for lo, hi, c in ADDED_BY_15_1:
        table[lo:hi + 1] = [c] * (hi + 1 - lo)
    for m in re.finditer(r'^([0-9A-F]+)(?:\.\.([0-9A-F]+))?\s*; White_Space', (data / 'PropList.txt').read_text(), re.M):
        lo, hi = int(m[1], 16), int(m[2] or m[1], 16)
        table[lo:hi + 1] = [SPACE] * (hi + 1 - lo)
    return table


def runs(page):
    """the bytes of one page"""
    out, i = [], 0
    while i < PAGE:
        j, c = i + 1, page[i]
        if c in (UPPER, LOWER):
            while j < PAGE and page[j] == UPPER + LOWER - page[j - 1]:
                j += 1
        if j - i >= 3:
            c = UPPER_FIRST if c == UPPER else LOWER_FIRST
        else:
            j = i + 1
            while j < PAGE and page[j] == c:
                j += 1
        n = j - i
        out += [c << 4 | 15] if j == PAGE else [c << 4 | n - 1] if n <= 14 else [c << 4 | 14, n - 15]
        i = j
    return bytes(out)


def rows(values, form, per_row):
    return '\n'.join('  ' + ' '.join(form % v + ',' for v in values[i:i + per_row]) for i in range(0, len(values), per_row))


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    args = argparse.ArgumentParser()
    args.add_argument('--data', type=pathlib.Path, default=pathlib.Path('/usr/share/unicode'))
    table = classes(args.parse_args().data)

    # What lies after the last page: marks in one range, nothing else.
    marks = [cp for cp in range(0xe0000, 0x110000) if table[cp] != OTHER]
    assert marks == list(range(marks[0], marks[-1] + 1)) and {table[cp] for cp in marks} == {MARK}
    n_pages = -(-max(cp for cp in range(0xe0000) if table[cp] != OTHER) // PAGE)

    stream, places, starts = b'', {}, []
    for i in range(n_pages):
        r = runs(table[i * PAGE:(i + 1) * PAGE])
        if r not in places:
            places[r] = len(stream)
            stream += r
        starts.append(places[r])
    assert len(stream) < 65536

    (root / 'src/text/unicode_tables.c').write_text(f'''// Made by make_unicode.py from the Unicode Character Database, version 15.1: not to be edited. {2 * n_pages + len(stream) + 128} bytes.
// Data Copyright (c) 1991-2023 Unicode, Inc., under the Unicode License (https://www.unicode.org/license.txt).
#include "unicode.h"

const uint32_t nb_unicode_n_pages = {n_pages};
const uint32_t nb_unicode_tail_marks[2] = {{{marks[0]:#x}, {marks[-1]:#x}}};

const uint8_t nb_unicode_ascii[128] = {{
{rows(table[:128], '%d', 32)}
}};

// [nb_unicode_n_pages] where the runs of a page start
const uint16_t nb_unicode_page[] = {{
{rows(starts, '%d', 24)}
}};

const uint8_t nb_unicode_runs[] = {{
{rows(stream, '0x%02x', 24)}
}};
''')

    # The test walks all code points, a byte of class each, and compares these.
    lines = [f'{plane:x} {zlib.crc32(bytes(table[plane << 16:plane + 1 << 16])):08x}' for plane in range(17)]
    (root / 'tests/vectors/tokenizer_unicode.txt').write_text(
        '# made by src/text/make_unicode.py: plane, CRC-32 of the classes of its 65536 code points\n' + '\n'.join(lines) + '\n')


main()
