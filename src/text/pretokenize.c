#include "pretokenize.h"

#include "unicode.h"

// ---------------------------------------------------------------- characters and sets of them

typedef struct peeked {
  uint32_t cp;
  uint32_t set;  // NB_SET of its class; 0 at the end of the range
  size_t next;   // where the character after it starts
} peeked;

static inline peeked peek(const char *text, size_t at, size_t end) {
  if (at >= end) return (peeked){0, 0, end};
  uint32_t cp;
  const size_t n = nb_utf8_next(text + at, end - at, &cp);
  return (peeked){cp, NB_SET(nb_unicode_class(cp)), at + n};
}

typedef struct char_set {
  uint32_t classes;             // every character of these classes,
  const uint32_t (*ranges)[2];  // and these, in ascending order
  size_t n_ranges;
} char_set;

static bool in_set(const char_set *s, const peeked *c) {
  if (c->set & s->classes) return true;
  if (c->set == 0) return false;
  size_t lo = 0, hi = s->n_ranges;
  while (lo < hi) {
    const size_t mid = (lo + hi) / 2;
    if (c->cp > s->ranges[mid][1]) {
      lo = mid + 1;
    } else {
      hi = mid;
    }
  }
  return lo < s->n_ranges && c->cp >= s->ranges[lo][0];
}

static size_t skip_classes(const char *text, size_t at, size_t end, uint32_t classes) {
  for (peeked c; (c = peek(text, at, end)).set & classes;) at = c.next;
  return at;
}

static bool is_newline(uint32_t cp) { return cp == '\r' || cp == '\n'; }

// ---------------------------------------------------------------- parts that several expressions share

// (?:'s|'t|'re|'ve|'m|'ll|'d) at the apostrophe; the end of it, or `at`. Case counts only where `any_case` is false.
static size_t contraction(const char *text, size_t at, size_t end, bool any_case) {
  if (at >= end || text[at] != '\'' || end - at < 2) return at;
  const char fold = any_case ? 32 : 0;
  const char a = text[at + 1], x = a >= 'A' && a <= 'Z' ? (char)(a + fold) : a;
  if (x == 's' || x == 't' || x == 'm' || x == 'd') return at + 2;
  if (end - at < 3) return at;
  const char b = text[at + 2], y = b >= 'A' && b <= 'Z' ? (char)(b + fold) : b;
  return (x == 'r' && y == 'e') || (x == 'v' && y == 'e') || (x == 'l' && y == 'l') ? at + 3 : at;
}

// \s+(?!\S)|\s+ at white space: all of it, but where something else follows the last character is left to that, if it is not the only one.
static size_t white_space(const char *text, size_t at, size_t end) {
  size_t last = at, stop = at;
  for (peeked c; (c = peek(text, stop, end)).set & NB_SET_SPACE; stop = c.next) last = stop;
  return stop < end && last > at ? last : stop;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ at white space: up to its last line break, if it has one.
static size_t lines_or_white_space(const char *text, size_t at, size_t end) {
  size_t last = at, stop = at, line_end = at;
  for (peeked c; (c = peek(text, stop, end)).set & NB_SET_SPACE; stop = c.next) {
    last = stop;
    if (is_newline(c.cp)) line_end = c.next;
  }
  if (line_end > at) return line_end;
  return stop < end && last > at ? last : stop;
}

// ` ?[classes]+[\r\n]*`: the end, or `at` where it does not match. A slash counts among the line breaks if `slash`.
static size_t spaced_run_and_lines(const char *text, size_t at, size_t end, uint32_t classes, bool slash) {
  const size_t start = at < end && text[at] == ' ' ? at + 1 : at;
  size_t stop = skip_classes(text, start, end, classes);
  if (stop == start) return at;
  while (stop < end && (is_newline((uint8_t)text[stop]) || (slash && text[stop] == '/'))) stop++;
  return stop;
}

// Numbers of at most `max` digits.
static size_t digits(const char *text, size_t at, size_t end, size_t max) {
  peeked c;
  for (size_t i = 0; i < max && (c = peek(text, at, end)).set & NB_SET_NUMBER; i++) at = c.next;
  return at;
}

// ---------------------------------------------------------------- rules

// GPT-2: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// A word, a number or a run of other signs takes one space (U+0020 only) with it; the endings of English contractions stand alone.
static size_t gpt2_piece(const nb_split_rule *rule, const char *text, size_t at, size_t end) {
  (void)rule;
  const size_t quote = contraction(text, at, end, false);
  if (quote > at) return quote;
  const size_t start = text[at] == ' ' ? at + 1 : at;
  const uint32_t set = peek(text, start, end).set;
  if (set & NB_SET_LETTER) return skip_classes(text, start, end, NB_SET_LETTER);
  if (set & NB_SET_NUMBER) return skip_classes(text, start, end, NB_SET_NUMBER);
  if (set & ~NB_SET_SPACE) return skip_classes(text, start, end, NB_SET_ALL & ~(NB_SET_SPACE | NB_SET_LETTER | NB_SET_NUMBER));
  return white_space(text, at, end);
}

// Llama 3 and Qwen: (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
// A word takes any one sign before it that is no letter, number or line break. Qwen has \p{N} for \p{N}{1,3}; Qwen 3.5 counts
// marks (\p{M}) as letters, which may also begin a word.
typedef struct word_options {
  size_t max_digits;
  uint32_t letters;
} word_options;

static size_t llama3_piece(const nb_split_rule *rule, const char *text, size_t at, size_t end) {
  const word_options *o = rule->options;
  const size_t quote = contraction(text, at, end, true);
  if (quote > at) return quote;
  const peeked c = peek(text, at, end);
  if (c.set & o->letters) return skip_classes(text, at, end, o->letters);
  if (c.set & NB_SET_NUMBER) return digits(text, at, end, o->max_digits);
  if (!is_newline(c.cp) && peek(text, c.next, end).set & o->letters) return skip_classes(text, c.next, end, o->letters);
  const size_t signs = spaced_run_and_lines(text, at, end, NB_SET_ALL & ~(NB_SET_SPACE | NB_SET_NUMBER | o->letters), false);
  return signs > at ? signs : lines_or_white_space(text, at, end);
}

// GPT-4o and Tekken:
//   [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//   |[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//   |\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
// Words are cut before an upper-case letter that follows a lower-case one; letters without case and marks go with either side.
// Tekken has no contractions and single digits.
typedef struct cased_options {
  size_t max_digits;
  bool contractions;
} cased_options;

enum {
  HEAD = NB_SET(NB_CLASS_UPPER) | NB_SET(NB_CLASS_LETTER) | NB_SET_MARK,
  TAIL = NB_SET(NB_CLASS_LOWER) | NB_SET(NB_CLASS_LETTER) | NB_SET_MARK,
};

// [HEAD]*[TAIL]+ at `at`; the end, or `at`. When nothing lower-case comes after the run of HEAD, the run gives back characters until
// the last one that is in TAIL as well. *head_end: where the run ends.
static size_t head_then_tail(const char *text, size_t at, size_t end, size_t *head_end) {
  size_t stop = at, after_both = at;
  for (peeked c; (c = peek(text, stop, end)).set & HEAD; stop = c.next) {
    if (c.set & TAIL) after_both = c.next;
  }
  *head_end = stop;
  const size_t tail = skip_classes(text, stop, end, TAIL);
  return tail > stop ? tail : after_both;
}

static size_t cased_piece(const nb_split_rule *rule, const char *text, size_t at, size_t end) {
  const cased_options *o = rule->options;
  const peeked c = peek(text, at, end);
  const bool prefix = !is_newline(c.cp) && !(c.set & (NB_SET_LETTER | NB_SET_NUMBER));
  // Both alternatives try to take a prefix first. Only a mark can be a prefix and part of the word.
  size_t word = at, head_with = at, head_without = at;
  if (prefix) {
    word = head_then_tail(text, c.next, end, &head_with);
    if (word == c.next) word = at;
  }
  if (word == at) word = head_then_tail(text, at, end, &head_without);
  if (word == at && prefix && head_with > c.next) word = head_with;  // the second alternative: upper case alone
  if (word == at) word = head_without;
  if (word > at) return o->contractions ? contraction(text, word, end, true) : word;
  if (c.set & NB_SET_NUMBER) return digits(text, at, end, o->max_digits);
  const size_t signs = spaced_run_and_lines(text, at, end, NB_SET_ALL & ~(NB_SET_SPACE | NB_SET_LETTER | NB_SET_NUMBER), true);
  return signs > at ? signs : lines_or_white_space(text, at, end);
}

// DeepSeek V3, after numbers and CJK:
//   [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
// An ASCII sign goes with the ASCII letters after it; controls and unassigned characters match nothing.
static bool ascii_letter(uint32_t cp) { return (cp | 32) >= 'a' && (cp | 32) <= 'z'; }

static size_t deepseek3_match(const char *text, size_t at, size_t end) {
  const uint32_t letters = NB_SET_LETTER | NB_SET_MARK, signs = NB_SET_PUNCTUATION | NB_SET_SYMBOL;
  const peeked c = peek(text, at, end);
  if (c.cp < 128 && c.set & signs && c.next < end && ascii_letter((uint8_t)text[c.next])) {
    size_t stop = c.next;
    while (stop < end && ascii_letter((uint8_t)text[stop])) stop++;
    return stop;
  }
  if (c.set & letters) return skip_classes(text, at, end, letters);
  if (!is_newline(c.cp) && !(c.set & signs) && peek(text, c.next, end).set & letters) return skip_classes(text, c.next, end, letters);
  const size_t run = spaced_run_and_lines(text, at, end, signs, false);
  if (run > at) return run;
  return c.set & NB_SET_SPACE ? lines_or_white_space(text, at, end) : at;
}

static size_t deepseek3_piece(const nb_split_rule *rule, const char *text, size_t at, size_t end) {
  (void)rule;
  size_t stop = deepseek3_match(text, at, end);
  if (stop > at) return stop;
  for (stop = at; stop < end && deepseek3_match(text, stop, end) == stop;) stop = peek(text, stop, end).next;
  return stop;
}

// [set]{1,max}: runs of a set.
typedef struct run_options {
  char_set set;
  size_t max;
} run_options;

static size_t run_piece(const nb_split_rule *rule, const char *text, size_t at, size_t end) {
  const run_options *o = rule->options;
  peeked c = peek(text, at, end);
  if (!in_set(&o->set, &c)) {
    while (at < end && !in_set(&o->set, &c)) c = peek(text, at = c.next, end);
    return at;
  }
  for (size_t i = 0; i < o->max && in_set(&o->set, &c); i++) c = peek(text, at = c.next, end);
  return at;
}

// \s?[set]+: runs of a set, each with one white space before it.
static size_t spaced_run_piece(const nb_split_rule *rule, const char *text, size_t at, size_t end) {
  const char_set *s = rule->options;
  size_t stop = at;
  for (;;) {
    peeked c = peek(text, stop, end);
    peeked d = c.set & NB_SET_SPACE ? peek(text, c.next, end) : c;
    if (in_set(s, &c)) d = c;
    if (in_set(s, &d)) {
      if (stop > at) return stop;  // what did not match
      while (in_set(s, &d)) d = peek(text, stop = d.next, end);
      return stop;
    }
    if (stop >= end) return end;
    stop = c.next;
  }
}

// \s+$: the white space at the end.
static size_t trailing_space_piece(const nb_split_rule *rule, const char *text, size_t at, size_t end) {
  (void)rule;
  size_t stop = at, space = at;
  bool inside = false;
  for (peeked c; (c = peek(text, stop, end)).set; stop = c.next) {
    const bool is_space = c.set & NB_SET_SPACE;
    if (is_space && !inside) space = stop;
    inside = is_space;
  }
  return inside && space > at ? space : end;
}

// [0-9][0-9][0-9]
static size_t three_digits_piece(const nb_split_rule *rule, const char *text, size_t at, size_t end) {
  (void)rule;
  size_t n = 0, stop = at;
  for (; stop < end; stop++) {
    n = text[stop] >= '0' && text[stop] <= '9' ? n + 1 : 0;
    if (n == 3) return stop - 2 > at ? stop - 2 : stop + 1;
  }
  return end;
}

// ---------------------------------------------------------------- sets

static const uint32_t LINE_BREAKS[][2] = {{'\n', '\n'}, {'\r', '\r'}};
// The ideographs, and what older DeepSeek vocabularies put beside them: all of U+0800..U+4E00 and the Hangul syllables.
static const uint32_t CJK[][2] = {{0x0800, 0x9fa5}, {0xac00, 0xd7ff}};
static const uint32_t CJK3[][2] = {{0x3040, 0x309f}, {0x30a0, 0x30ff}, {0x4e00, 0x9fa5}};
static const uint32_t FALCON_SIGNS[][2] = {{'$', '$'}, {'+', '+'}, {'<', '>'}, {'^', '^'}, {'`', '`'}, {'|', '|'}, {'~', '~'}};
static const uint32_t DEFAULT_SIGNS[][2] = {{'$', '$'}, {'+', '+'}, {'<', '>'}, {'^', '^'}, {'|', '|'}, {'~', '~'}};  // and not `
static const uint32_t DEEPSEEK_SIGNS[][2] = {{'!', '/'}, {':', '~'}, {0x2018, 0x201f}, {0x3000, 0x3002}, {0xff01, 0xff0f}, {0xff1a, 0xff5e}};
// The letters with case, as DeepSeek LLM's expression lists them.
static const uint32_t CASED[][2] = {
    {'A', 'Z'},         {'a', 'z'},         {0xb5, 0xb5},       {0xc0, 0xd6},       {0xd8, 0xf6},       {0xf8, 0x1ba},      {0x1bc, 0x1bf},
    {0x1c4, 0x293},     {0x295, 0x2af},     {0x370, 0x373},     {0x376, 0x377},     {0x37b, 0x37d},     {0x37f, 0x37f},     {0x386, 0x386},
    {0x388, 0x38a},     {0x38c, 0x38c},     {0x38e, 0x3a1},     {0x3a3, 0x3f5},     {0x3f7, 0x481},     {0x48a, 0x52f},     {0x531, 0x556},
    {0x10a0, 0x10c5},   {0x13a0, 0x13f5},   {0x13f8, 0x13fd},   {0x1c90, 0x1cba},   {0x1cbd, 0x1cbf},   {0x1d00, 0x1d2b},   {0x1d6b, 0x1d77},
    {0x1d79, 0x1d9a},   {0x1e00, 0x1f15},   {0x1f18, 0x1f1d},   {0x1f20, 0x1f45},   {0x1f48, 0x1f4d},   {0x1f50, 0x1f57},   {0x1f59, 0x1f59},
    {0x1f5b, 0x1f5b},   {0x1f5d, 0x1f5d},   {0x1f5f, 0x1f7d},   {0x1f80, 0x1fb4},   {0x1fb6, 0x1fbc},   {0x1fbe, 0x1fbe},   {0x1fc2, 0x1fc4},
    {0x1fc6, 0x1fcc},   {0x1fd0, 0x1fd3},   {0x1fd6, 0x1fdb},   {0x1fe0, 0x1fec},   {0x1ff2, 0x1ff4},   {0x1ff6, 0x1ffc},   {0x2102, 0x2102},
    {0x2107, 0x2107},   {0x210a, 0x2113},   {0x2115, 0x2115},   {0x2119, 0x211d},   {0x2124, 0x2124},   {0x2126, 0x2126},   {0x2128, 0x2128},
    {0x212a, 0x212d},   {0x212f, 0x2134},   {0x2139, 0x2139},   {0x213c, 0x213f},   {0x2145, 0x2149},   {0x214e, 0x214e},   {0x2183, 0x2184},
    {0x2c00, 0x2c7b},   {0x2c7e, 0x2ce4},   {0x2ceb, 0x2cee},   {0x2cf2, 0x2cf3},   {0xa640, 0xa66d},   {0xa680, 0xa69b},   {0xa722, 0xa76f},
    {0xa771, 0xa787},   {0xa78b, 0xa78e},   {0xab70, 0xabbf},   {0xfb00, 0xfb06},   {0xfb13, 0xfb17},   {0xff21, 0xff3a},   {0xff41, 0xff5a},
    {0x10400, 0x1044f}, {0x104b0, 0x104d3}, {0x104d8, 0x104fb}, {0x10c80, 0x10cb2}, {0x10cc0, 0x10cf2}, {0x118a0, 0x118df}, {0x1e900, 0x1e943},
};

#define RANGES(a) (a), sizeof(a) / sizeof *(a)

static const run_options each_line_break = {{0, RANGES(LINE_BREAKS)}, 1}, numbers = {{NB_SET_NUMBER, NULL, 0}, SIZE_MAX},
                         single_numbers = {{NB_SET_NUMBER, NULL, 0}, 1}, three_numbers = {{NB_SET_NUMBER, NULL, 0}, 3},
                         cjk = {{0, RANGES(CJK)}, SIZE_MAX}, cjk3 = {{0, RANGES(CJK3)}, SIZE_MAX},
                         falcon_signs = {{NB_SET_PUNCTUATION, RANGES(FALCON_SIGNS)}, SIZE_MAX},
                         default_signs = {{NB_SET_PUNCTUATION, RANGES(DEFAULT_SIGNS)}, SIZE_MAX};
static const char_set letters = {NB_SET_LETTER, NULL, 0}, punctuation = {NB_SET_PUNCTUATION, NULL, 0}, cased = {0, RANGES(CASED)},
                      deepseek_signs = {0, RANGES(DEEPSEEK_SIGNS)};
static const word_options llama3_words = {3, NB_SET_LETTER}, qwen2_words = {1, NB_SET_LETTER}, qwen35_words = {1, NB_SET_LETTER | NB_SET_MARK};
static const cased_options gpt4o_words = {3, true}, tekken_words = {1, false};

// ---------------------------------------------------------------- families

#define RUNS(options) {run_piece, &(options)}
#define SPACED_RUNS(set) {spaced_run_piece, &(set)}
#define GPT2_WORDS {gpt2_piece, NULL}
#define THREE_DIGITS {three_digits_piece, NULL}

static const nb_pretokenizer GPT2 = {1, {GPT2_WORDS}};
static const nb_pretokenizer DIGITS_GPT2 = {2, {RUNS(single_numbers), GPT2_WORDS}};  // \p{N} before GPT-2's
static const nb_pretokenizer LLAMA3 = {1, {{llama3_piece, &llama3_words}}};
static const nb_pretokenizer QWEN2 = {1, {{llama3_piece, &qwen2_words}}};
static const nb_pretokenizer QWEN35 = {1, {{llama3_piece, &qwen35_words}}};
static const nb_pretokenizer MINICPM5 = {2, {RUNS(three_numbers), {llama3_piece, &llama3_words}}};  // \p{N}{1,3} before Llama 3's
static const nb_pretokenizer GPT4O = {1, {{cased_piece, &gpt4o_words}}};
static const nb_pretokenizer TEKKEN = {1, {{cased_piece, &tekken_words}}};
static const nb_pretokenizer FALCON = {3, {RUNS(falcon_signs), GPT2_WORDS, THREE_DIGITS}};
static const nb_pretokenizer DEFAULT = {4, {RUNS(default_signs), GPT2_WORDS, RUNS(numbers), THREE_DIGITS}};
// [\r\n]   \s?\p{L}+   \s?\p{P}+   [CJK]+   \p{N}
static const nb_pretokenizer DEEPSEEK_CODER = {5, {RUNS(each_line_break), SPACED_RUNS(letters), SPACED_RUNS(punctuation), RUNS(cjk), RUNS(single_numbers)}};
// [\r\n]   \s?[letters with case]+   \s?[signs]+   \s+$   [CJK]+   \p{N}+
static const nb_pretokenizer DEEPSEEK_LLM = {
    6, {RUNS(each_line_break), SPACED_RUNS(cased), SPACED_RUNS(deepseek_signs), {trailing_space_piece, NULL}, RUNS(cjk), RUNS(numbers)}};
// \p{N}{1,3}   [ideographs and kana]+   see deepseek3_match
static const nb_pretokenizer DEEPSEEK3 = {3, {RUNS(three_numbers), RUNS(cjk3), {deepseek3_piece, NULL}}};

static const nb_pre_info KNOWN[] = {
    {"gpt-2", &GPT2, false, false},
    {"phi-2", &GPT2, false, false},
    {"mpt", &GPT2, false, false},
    {"olmo", &GPT2, false, false},
    {"jais", &GPT2, false, false},
    {"trillion", &GPT2, false, false},
    {"granite-docling", &GPT2, false, false},
    {"gigachat", &GPT2, false, false},
    {"a.x-4.0", &GPT2, false, false},
    {"mellum", &GPT2, false, false},
    {"exaone4", &GPT2, false, false},
    {"smollm", &DIGITS_GPT2, false, false},
    {"starcoder", &DIGITS_GPT2, false, false},
    {"refact", &DIGITS_GPT2, false, false},
    {"command-r", &DIGITS_GPT2, false, false},
    {"codeshell", &DIGITS_GPT2, false, false},
    {"exaone", &DIGITS_GPT2, false, false},
    {"minerva-7b", &DIGITS_GPT2, false, false},
    {"llama-bpe", &LLAMA3, true, true},
    {"llama3", &LLAMA3, true, true},
    {"llama-v3", &LLAMA3, true, true},
    {"falcon3", &LLAMA3, true, true},
    {"falcon-h1", &LLAMA3, true, true},
    {"pixtral", &LLAMA3, true, true},
    {"midm-2.0", &LLAMA3, true, true},
    {"lfm2", &LLAMA3, true, true},
    {"smaug-bpe", &LLAMA3, false, false},
    {"dbrx", &LLAMA3, false, false},
    {"glm4", &LLAMA3, false, false},
    {"chatglm-bpe", &LLAMA3, false, false},
    {"minicpm5", &MINICPM5, true, false},
    {"qwen2", &QWEN2, false, false},
    {"deepseek-r1-qwen", &QWEN2, false, false},
    {"stablelm2", &QWEN2, false, false},
    {"megrez", &QWEN2, false, false},
    {"hunyuan", &QWEN2, false, false},
    {"solar-open", &QWEN2, false, false},
    {"grok-2", &QWEN2, false, false},
    {"kormo", &QWEN2, false, false},
    {"qwen35", &QWEN35, false, false},
    {"gpt-4o", &GPT4O, false, false},
    {"llama4", &GPT4O, false, false},
    {"kanana2", &GPT4O, false, false},
    {"tekken", &TEKKEN, true, true},
    {"falcon", &FALCON, false, false},
    {"default", &DEFAULT, false, false},
    {"deepseek-coder", &DEEPSEEK_CODER, false, false},
    {"deepseek-llm", &DEEPSEEK_LLM, false, false},
    {"deepseek-v3", &DEEPSEEK3, false, false},
    {"hunyuan-dense", &DEEPSEEK3, false, false},
    {"joyai-llm", &DEEPSEEK3, false, false},
};

const nb_pre_info *nb_pretokenizer_find(nb_str name) {
  for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
    if (nb_str_eq(name, nb_str_of(KNOWN[i].name))) return &KNOWN[i];
  }
  return NULL;
}

// ---------------------------------------------------------------- walking

void nb_pieces_start(nb_pieces *p, const nb_pretokenizer *pretokenizer, const char *text, size_t n) {
  *p = (nb_pieces){.pretokenizer = pretokenizer, .text = text, .n = n};
}

bool nb_pieces_next(nb_pieces *p, nb_str *piece) {
  if (p->at >= p->n) return false;
  // A rule whose piece is used up cuts the next one, out of the piece of the rule before it.
  size_t end = p->n;
  for (size_t i = 0; i < p->pretokenizer->n_rules; i++) {
    const nb_split_rule *rule = &p->pretokenizer->rules[i];
    if (p->ends[i] <= p->at) p->ends[i] = rule->piece_end(rule, p->text, p->at, end);
    end = p->ends[i];
  }
  *piece = (nb_str){p->text + p->at, end - p->at};
  p->at = end;
  return true;
}
