#!/usr/bin/env python3
"""Writes tokenizer.txt: two small vocabularies, and what texts become with them, computed the plain and slow way.

    tests/vectors/make_tokenizer.py        needs the package `regex` (Debian: python3-regex)

Nothing here shares a line with src/text: pre-tokenizers are the regular expressions that the models' own tokenizer files give, run by a
general engine; merging looks at all pairs again after each merge; decoding is Python's own, with errors='replace'. The merges are learnt
from the test's own texts without any cutting, so that they reach over nearly every place where a pre-tokenizer cuts: a cut in the wrong
place, or a missing one, shows in the ids.

Lines of the result:
    token KIND HEX [SCORE]                 of the vocabulary that follows or is being made; HEX is the spelling, UTF-8
    merge HEX HEX
    variant bpe | variant spm PREFIX BYTES ends a vocabulary: tests follow. PREFIX: add_space_prefix; BYTES 0: without its byte tokens
    text FLAGS HEX                         FLAGS: nb_encode_flags
    ids NAMES ID ...                       of the last text; NAMES: the pre-tokenizers that give them, or -
    decoded FLAGS HEX ID ...               what ids decode to (- for nothing); FLAGS: nb_decode_flags
"""
import pathlib
import regex

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPECIAL, PARSE, CONTINUE = 1, 2, 4
DECODE_SPECIAL, KEEP_SPACE = 1, 2

# ---- pre-tokenizers: lists of expressions, each cutting the pieces of the one before it ------------------------------------------------

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
ENDINGS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
REST = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + REST
QWEN2 = ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + REST
QWEN35 = ENDINGS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + REST
HEAD, TAIL = r'[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]', r'[\p{Ll}\p{Lm}\p{Lo}\p{M}]'
CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{HEAD}*{TAIL}+%s|[^\r\n\p{{L}}\p{{N}}]?{HEAD}+{TAIL}*%s|%s| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*" + REST
CJK = '[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+'
DEEPSEEK_CASED = (
    r'\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d'
    r'\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u1e00-\u1f15\u2c00-\u2c7b'
    r'\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f]+')  # as far as the texts below go
PRE = {
    'gpt-2': [GPT2],
    'smollm': [r'\p{N}', GPT2],
    'llama-bpe': [LLAMA3],
    'minicpm5': [r'\p{N}{1,3}', LLAMA3],
    'qwen2': [QWEN2],
    'qwen35': [QWEN35],
    'gpt-4o': [CASED % (ENDINGS + '?', ENDINGS + '?', r'\p{N}{1,3}')],
    'tekken': [CASED % ('', '', r'\p{N}')],
    'falcon': [r'[\p{P}\$\+<=>\^~\|`]+', GPT2, '[0-9][0-9][0-9]'],
    'default': [r'[\p{P}\$\+<=>\^~\|]+', GPT2, r'\p{N}+', '[0-9][0-9][0-9]'],
    'deepseek-coder': [r'[\r\n]', r'\s?\p{L}+', r'\s?\p{P}+', CJK, r'\p{N}'],
    'deepseek-llm': [r'[\r\n]', DEEPSEEK_CASED, r'\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+', r'\s+\Z', CJK, r'\p{N}+'],
    'deepseek-v3': [r'\p{N}{1,3}', '[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+',
                    r'[!"#$%&' r"'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*" + REST],
}
WHOLE_WORDS = {'llama-bpe', 'minicpm5', 'tekken'}  # a piece that is a token is not merged


def cut(expressions, text):
    pieces = [text]
    for e in expressions:
        out = []
        for piece in pieces:
            at = 0
            for m in regex.finditer(e, piece):
                if m.end() == m.start():
                    continue
                out += [piece[at:m.start()], m[0]]
                at = m.end()
            out.append(piece[at:])
        pieces = [p for p in out if p]
    assert ''.join(pieces) == text
    return pieces


# ---- texts ------------------------------------------------------------------------------------------------------------------------------

TEXTS = [
    '', ' ', '  ', '   ', '\t', '\n', '\n\n', ' \n', '\n ', '\t\n', '\r\n\r\n  x', 'a', ' a', '  a', '   a  b   c',
    'Hello world', ' Hello World!', "It's they'RE we'Ll I'd you've I'm can't 'tis 's", "THAT'S don'T x'", '\u2019s it\u2019s',
    '1', '12', '123', '1234', '12345', '1234567 89', 'a1b22c333d4444', '3.14159 $1,000.00 1e-9', '\u0663\u0664\u0665\u0666 \u2167 \u00b2\u00b3 \u00bd',
    '!', '!!', '!?...', ' !!', '--- ===> <= |~| `x` ``` ^^', '#include <stdio.h>\nint main(void) {\n    return 0;  // done\n}\n', '/path/to//file.txt\n/\n',
    'x = {"a": [1, 2], "b": null}', '\u201cquoted\u201d \u2014 dash\u2026', 'caf\u00e9 cafe\u0301 na\u00efve \u00dcber STRASSE stra\u00dfe',
    '\u4e2d\u6587\u6d4b\u8bd5\uff0c\u4f60\u597d\u3002', '\u3053\u3093\u306b\u3061\u306f \u30ab\u30bf\u30ab\u30ca\u30fc', '\ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8',
    '\u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u0422\u0435\u043a\u0441\u0442', '\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac', '\u05e2\u05d1\u05e8\u05d9\u05ea \u0627\u0644\u0639\u0631\u0628\u064a\u0629',
    '\u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22\u0e01\u0e33', '\U0001f600\U0001f468\u200d\U0001f469 \u2705', '\u00a0x\u3000y\u2003 z', '\uff21\uff42 \uff11\uff12\uff0c',
    'HelloWorld XMLHttpRequest iPhone ABCdef', '\u01c5\u02b0\u00aa\u00ba', '\u0001\u200b\ue000\u00ad', 'foo\u0301\u0308bar \u0301x ~\u0301',
    "we're at\u4e2d\u65873's  \n\n\n  'end' ", 'tabs\t\tand  spaces \r\n mixed\u00a0\u00a0', '                many', '\u2581under\u2581',
]
ATOMS = ['a', 'b', 'the', 'Hello', 'XY', '\u00e9', '\u4e2d', '\u304b', '\ud55c', '\u044f', '1', '22', '333', '4444', '\u0663', ' ', ' ', '  ', '   ', '\n', '\r\n', '\t', '\u3000',
         "'s", "'LL", "'", '!', '..', '\u2014', '$', '+', '=', '`', '~', '|', '/', '_', '(', '{', '\U0001f600', '\u0301', '\u200b', '\u3002', '\uff01', '\uff41']
BROKEN = [b'\xff', b'a\xffb', b'\xc3', b'caf\xc3', b'\xe4\xb8', b'\xe4\xb8x', b'\xf0\x9f\x98', b'\xed\xa0\x80', b'\xc0\xaf \x80', b'\xf5\x80 \xf4\x90\x80\x80']


def random_texts(n):
    state, out = 12345, []

    def below(k):
        nonlocal state
        state = (state * 1664525 + 1013904223) % 2 ** 32
        return (state >> 8) % k
    for _ in range(n):
        out.append(''.join(ATOMS[below(len(ATOMS))] for _ in range(2 + below(9))))
    return out


# ---- byte-pair encoding -----------------------------------------------------------------------------------------------------------------

def byte_chars():
    chars, extra = [], 256
    for b in range(256):
        if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174:
            chars.append(chr(b))
        else:
            chars.append(chr(extra))
            extra += 1
    return chars


CHARS = byte_chars()


def learn(sequences, n):
    """the n pairs that are joined, most frequent first (of equals the one met first)"""
    sequences, pairs = [list(s) for s in sequences], []
    while len(pairs) < n:
        counts = {}
        for s in sequences:
            for p in zip(s, s[1:]):
                counts[p] = counts.get(p, 0) + 1
        best = max(counts, key=counts.get)
        if counts[best] < 2:
            break
        pairs.append(best)
        sequences = [join(s, best) for s in sequences]
    return pairs


def join(s, pair):
    out, i = [], 0
    while i < len(s):
        if i + 1 < len(s) and (s[i], s[i + 1]) == pair:
            out.append(s[i] + s[i + 1])
            i += 2
        else:
            out.append(s[i])
            i += 1
    return out


def bpe_piece(data, rank, ids, whole):
    symbols = [CHARS[b] for b in data]
    if whole and ''.join(symbols) in ids:
        return [ids[''.join(symbols)]]
    while True:
        best = min(((rank.get(p, 1e9), i) for i, p in enumerate(zip(symbols, symbols[1:]))), default=(1e9, 0))
        if best[0] == 1e9:
            return [ids[s] for s in symbols]
        i = best[1]
        symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]


# ---- SentencePiece ----------------------------------------------------------------------------------------------------------------------

def characters(data):
    """well-formed characters, and single bytes that begin none"""
    out, i = [], 0
    while i < len(data):
        for n in (1, 2, 3, 4):
            try:
                data[i:i + n].decode()
                break
            except UnicodeDecodeError:
                continue
        else:
            n = 1
        out.append(data[i:i + n])
        i += n
    return out


def spm_text(data, ids, kinds, scores, space):
    """ids by spelling (bytes), of which those of text kinds may be made"""
    symbols = [c if c != b' ' else '\u2581'.encode() for c in ([b' '] if space else []) + characters(data)]

    def text_id(s):
        return ids[s] if s in ids and kinds[ids[s]] in (NORMAL, USER, UNUSED) else None
    while True:
        best = None
        for i in range(len(symbols) - 1):
            joined = text_id(symbols[i] + symbols[i + 1])
            if joined is not None and (best is None or scores[joined] > best[0]):
                best = (scores[joined], i)
        if best is None:
            break
        symbols[best[1]:best[1] + 2] = [symbols[best[1]] + symbols[best[1] + 1]]
    out, after_unknown = [], False
    for s in symbols:
        as_bytes = [ids.get(b'<0x%02X>' % b) for b in s]
        if text_id(s) is not None:
            out.append(text_id(s))
        elif None not in as_bytes:
            out += as_bytes
        else:
            if not after_unknown:
                out.append(0)
            after_unknown = True
            continue
        after_unknown = False
    return out


# ---- special tokens, and the way back ---------------------------------------------------------------------------------------------------

def split_special(data, tokens, parse):
    """(bytes | id) in turn; leftmost, then longest"""
    found = {t: i for i, (kind, t, _) in enumerate(tokens) if t and (kind == USER or (parse and kind in (CONTROL, UNKNOWN)))}
    if not found:
        return [data]
    out, at = [], 0
    for m in regex.finditer(b'|'.join(regex.escape(t) for t in sorted(found, key=len, reverse=True)), data):
        out += [data[at:m.start()], found[m[0]]]
        at = m.end()
    return out + [data[at:]]


def encode(tokens, data, flags, text, bos):
    out, first = [bos] if flags & SPECIAL and bos is not None else [], not flags & CONTINUE
    for part in split_special(data, tokens, flags & PARSE):
        if isinstance(part, int):
            out.append(part)
            first = True
        elif part:
            out += text(part, first)
            first = False
    return out


def decode_bytes(tokens, ids, flags, spm, prefix=True):
    out, started = b'', False
    for i in ids:
        kind, t, _ = tokens[i]
        if kind in (CONTROL, UNKNOWN):
            out += t if flags & DECODE_SPECIAL else b''
        elif kind == USER:
            out += t
        elif kind == BYTE:
            out += bytes([int(t[3:5], 16)])
        elif spm:
            piece = t.replace('\u2581'.encode(), b' ')
            if not started and out == b'' and prefix and not flags & KEEP_SPACE and piece.startswith(b' '):
                piece = piece[1:]
            out += piece
            started = True
        else:
            for c in t.decode():
                out += bytes([CHARS.index(c)]) if c in CHARS else c.encode()
    return out.decode(errors='replace').encode()


# ---- the file ---------------------------------------------------------------------------------------------------------------------------

def main():
    texts = [t.encode() for t in TEXTS + random_texts(40)] + BROKEN
    lines = ['# made by make_tokenizer.py, which says what the lines mean']

    merges = learn([[CHARS[b] for b in t] for t in texts], 420)
    tokens = [(NORMAL, c.encode(), None) for c in CHARS] + [(NORMAL, (a + b).encode(), None) for a, b in merges]
    tokens += [(CONTROL, b'<|endoftext|>', None), (CONTROL, b'<|im_start|>', None), (CONTROL, b'<|im_end|>', None), (USER, b'<u>', None), (USER, b'<u><v>', None),
               (UNUSED, b'[unused]', None)]
    # the second spelling of a token by other merges keeps the first id
    spelled = {}
    tokens = [t for t in tokens if spelled.setdefault(t[1], t) is t]
    ids = {t.decode(): i for i, (_, t, _) in enumerate(tokens)}
    rank = {p: r for r, p in reversed(list(enumerate(merges)))}
    lines += [f'token {k} {t.hex()}' for k, t, _ in tokens] + [f'merge {a.encode().hex()} {b.encode().hex()}' for a, b in merges] + ['variant bpe']

    def bpe_text(pre):
        # Bytes that are no UTF-8 are cut as U+FFFD is: each stands for one character that is no letter, number, mark or sign known to a rule.
        def text(data, _first):
            chars = characters(data)
            shown = ''.join(c.decode() if valid(c) else '\ufffd' for c in chars)
            out, at = [], 0
            for piece in cut(PRE[pre], shown):
                out += bpe_piece(b''.join(chars[at:at + len(piece)]), rank, ids, pre in WHOLE_WORDS)
                at += len(piece)
            return out
        return text

    def add(data, flags):
        lines.append(f'text {flags} {data.hex()}')
        answers = {}
        for pre in PRE:
            answers.setdefault(tuple(encode(tokens, data, flags, bpe_text(pre), None)), []).append(pre)
        for answer, names in answers.items():
            lines.append(f'ids {",".join(names)} ' + ' '.join(map(str, answer)))
        return next(iter(answers))

    specials = [b'<|im_start|>user\nhi <|im_end|>\n<u>x<u><v>y<u><v', b'<|im_end|><|im_end|>', b'<|im_e', b'a<u>b <|endoftext|>']
    for data in texts:
        answer = add(data, 0)
        if data in BROKEN:
            lines.append(f'decoded 0 {decode_bytes(tokens, answer, 0, False).hex() or "-"} ' + ' '.join(map(str, answer)))
    for data in specials:
        for flags in (0, PARSE):
            answer = add(data, flags)
            for decode in (0, DECODE_SPECIAL):
                lines.append(f'decoded {decode} {decode_bytes(tokens, answer, decode, False).hex() or "-"} ' + ' '.join(map(str, answer)))

    spaced = [[c.decode() for c in characters(t.replace(b' ', '\u2581'.encode())) if valid(c)] for t in texts]
    pieces = sorted({c for s in spaced for c in s if ord(c) < 0x2000 or c == '\u2581'})
    scored = [(c, -500 - i) for i, c in enumerate(pieces)] + [(a + b, -(r // 2)) for r, (a, b) in enumerate(learn(spaced, 260)) if a + b not in pieces]
    full = [(UNKNOWN, b'<unk>', 0), (CONTROL, b'<s>', 0), (CONTROL, b'</s>', 0)] + [(BYTE, b'<0x%02X>' % b, 0) for b in range(256)]
    seen = set()
    full += [(NORMAL, p.encode(), s) for p, s in scored if not (p in seen or seen.add(p))]
    full += [(CONTROL, b'<|im_start|>', 0), (CONTROL, b'<|im_end|>', 0), (USER, b'<u>', 0), (UNUSED, '\u2581of'.encode(), -3), (USER, b'<u><v>', 0)]
    lines += [f'token {k} {t.hex()} {s}' for k, t, s in full]
    for prefix, with_bytes in ((1, 1), (0, 1), (1, 0)):
        lines.append(f'variant spm {prefix} {with_bytes}')
        tokens = [t for t in full if with_bytes or t[0] != BYTE]
        ids = {t: i for i, (_, t, _) in enumerate(tokens)}
        kinds, scores = [k for k, _, _ in tokens], [s for _, _, s in tokens]

        def text(data, first):
            return spm_text(data, ids, kinds, scores, first and prefix)
        for data in texts[:len(TEXTS) + 10] + BROKEN + specials:
            every = data in specials or len(data) < 3
            for flags in (0, SPECIAL, PARSE, CONTINUE) if every else (0,):
                answer = encode(tokens, data, flags, text, 1)
                lines += [f'text {flags} {data.hex()}', 'ids - ' + ' '.join(map(str, answer))]
                for decode in (0, DECODE_SPECIAL, KEEP_SPACE) if every else (0,):
                    lines.append(f'decoded {decode} {decode_bytes(tokens, answer, decode, True, prefix).hex() or "-"} ' + ' '.join(map(str, answer)))
    pathlib.Path(__file__).with_name('tokenizer.txt').write_text('\n'.join(line.rstrip() for line in lines) + '\n')


def valid(c):
    try:
        c.decode()
        return True
    except UnicodeDecodeError:
        return False


main()
