// Which tokens begin, end and separate texts. Files say it by id (tokenizer.ggml.*_token_id), but many leave out some of the
// tokens that end a turn, so the well-known spellings are looked up as well.
#include "vocab.h"

static nb_status read_id(const nb_vocab *v, const nb_gguf *g, const char *key, nb_token *out, nb_error *err) {
  uint32_t id = 0;
  bool found = false;
  const nb_status status = nb_gguf_get_u32(g, nb_str_of(key), &id, &found, err);
  if (status != NB_OK || !found) return status;
  if (id >= v->n_vocab) return nb_fail(err, NB_E_FORMAT, "%s is %u, but the vocabulary has %u tokens", key, id, v->n_vocab);
  *out = (nb_token)id;
  return NB_OK;
}

// Padding is never used here, and files exist whose padding token lies just past the vocabulary.
static nb_status read_pad(nb_vocab *v, const nb_gguf *g, nb_error *err) {
  uint32_t id = 0;
  bool found = false;
  const nb_status status = nb_gguf_get_u32(g, NB_STR("tokenizer.ggml.padding_token_id"), &id, &found, err);
  if (status == NB_OK && found && id < v->n_vocab) v->pad = (nb_token)id;
  return status;
}

static nb_token find_z(const nb_vocab *v, const char *spelling) { return nb_vocab_find(v, spelling, strlen(spelling)); }

static bool has_flag(const nb_vocab *v, nb_token id, unsigned flag) { return id != NB_TOKEN_NONE && (v->kinds[id] & flag); }

static void set_flag(nb_vocab *v, nb_token id, unsigned flag) {
  if (id != NB_TOKEN_NONE) v->kinds[id] = (uint8_t)(v->kinds[id] | flag);
}

static void set_kind(nb_vocab *v, nb_token id, nb_token_kind kind) { v->kinds[id] = (uint8_t)((v->kinds[id] & ~NB_KIND_MASK) | kind); }

// Nothing but the end of a turn is ever spelled like these; files that call them ordinary or user-defined tokens are mistaken.
static const char *const TURN_ENDS[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>",
    "<|return|>", "<|call|>", "<|calls|>", "<|flush|>", "<end_of_utterance>", "<turn|>", "<|tool_response>", "[e~[",
    ("<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"),  // DeepSeek: fullwidth bars, U+2581 for spaces
};

// These may be markup or code in a text, and end a turn only where the file says that they are special. The last three begin
// another file in models of code.
static const char *const SPECIAL_ENDS[] = {"<eos>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"};

static const char *const TURN_ENDS_BY_RANK[] = {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<end_of_utterance>"};  // for eot

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void mark_ends(nb_vocab *v) {
  for (size_t i = 0; i < COUNT(TURN_ENDS); i++) {
    const nb_token id = find_z(v, TURN_ENDS[i]);
    if (id == NB_TOKEN_NONE) continue;
    set_flag(v, id, NB_KIND_EOG);
    set_kind(v, id, NB_TOKEN_CONTROL);
  }
  for (size_t i = 0; i < COUNT(SPECIAL_ENDS); i++) {
    const nb_token id = find_z(v, SPECIAL_ENDS[i]);
    if (id != NB_TOKEN_NONE && nb_vocab_is(v, id, NB_KIND(NB_TOKEN_CONTROL))) set_flag(v, id, NB_KIND_EOG);
  }
  // </s> is the old end of text in Phi-3, where it is called user-defined; in Gemma's vocabularies it is the HTML tag.
  const nb_token s = find_z(v, "</s>");
  const bool gemma = v->eos != NB_TOKEN_NONE && v->eos == find_z(v, "<eos>");
  if (s != NB_TOKEN_NONE && (nb_vocab_is(v, s, NB_KIND(NB_TOKEN_CONTROL)) || (nb_vocab_is(v, s, NB_KIND(NB_TOKEN_USER_DEFINED)) && !gemma))) {
    set_flag(v, s, NB_KIND_EOG);
    set_kind(v, s, NB_TOKEN_CONTROL);
  }
  // Vocabularies with messages inside a turn (<|return|> or <|flush|> and <|call|> or <|calls|> end it) use <|end|> between them.
  const bool calls = find_z(v, "<|call|>") != NB_TOKEN_NONE || find_z(v, "<|calls|>") != NB_TOKEN_NONE;
  const bool returns = find_z(v, "<|return|>") != NB_TOKEN_NONE || find_z(v, "<|flush|>") != NB_TOKEN_NONE;
  const nb_token end = find_z(v, "<|end|>");
  if (calls && returns && end != NB_TOKEN_NONE) v->kinds[end] = (uint8_t)(v->kinds[end] & ~NB_KIND_EOG);

  if (v->eot == NB_TOKEN_NONE) {
    for (size_t i = 0; i < COUNT(TURN_ENDS_BY_RANK) && v->eot == NB_TOKEN_NONE; i++) {
      const nb_token id = find_z(v, TURN_ENDS_BY_RANK[i]);
      if (has_flag(v, id, NB_KIND_EOG)) v->eot = id;
    }
  }
  set_flag(v, v->eos, NB_KIND_EOG);
  set_flag(v, v->eot, NB_KIND_EOG);
  set_flag(v, v->eom, NB_KIND_EOG);
}

static bool contains_ignoring_case(nb_str s, const char *lower) {
  const size_t n = strlen(lower);
  for (size_t i = 0; i + n <= s.len; i++) {
    size_t k = 0;
    while (k < n && (s.data[i + k] >= 'A' && s.data[i + k] <= 'Z' ? s.data[i + k] + 32 : s.data[i + k]) == lower[k]) k++;
    if (k == n) return true;
  }
  return false;
}

// Phi-3's own tokenizer drops white space after its added tokens. GGUF has no field for that; the name of the model tells.
static nb_status mark_phi3(nb_vocab *v, const nb_gguf *g, nb_error *err) {
  nb_str name = {"", 0};
  bool found = false;
  const nb_status status = nb_gguf_get_str(g, NB_STR("general.name"), &name, &found, err);
  if (status != NB_OK || !(contains_ignoring_case(name, "phi-3") || contains_ignoring_case(name, "phi3"))) return status;
  const nb_token except[] = {find_z(v, "<unk>"), find_z(v, "<s>"), find_z(v, "<|endoftext|>")};
  for (uint32_t id = 0; id < v->n_vocab; id++) {
    const nb_token t = (nb_token)id;
    if (!nb_vocab_is(v, t, NB_KINDS_SPECIAL | NB_KIND(NB_TOKEN_USER_DEFINED))) continue;
    if (t != except[0] && t != except[1] && t != except[2]) set_flag(v, t, NB_KIND_RSTRIP);
  }
  return NB_OK;
}

nb_status nb_vocab_load_roles(nb_vocab *v, const nb_gguf *g, bool sentencepiece, bool default_bos, nb_error *err) {
  if (sentencepiece && v->n_vocab > 2) {
    if (nb_vocab_is(v, 0, NB_KIND(NB_TOKEN_UNKNOWN))) v->unk = 0;
    if (nb_vocab_is(v, 1, NB_KIND(NB_TOKEN_CONTROL))) v->bos = 1;
    if (nb_vocab_is(v, 2, NB_KIND(NB_TOKEN_CONTROL))) v->eos = 2;
  }
  v->add_bos = default_bos;
  v->add_eos = false;
  bool found;
  nb_status status = read_id(v, g, "tokenizer.ggml.bos_token_id", &v->bos, err);
  if (status == NB_OK) status = read_id(v, g, "tokenizer.ggml.eos_token_id", &v->eos, err);
  if (status == NB_OK) status = read_id(v, g, "tokenizer.ggml.eot_token_id", &v->eot, err);
  if (status == NB_OK) status = read_id(v, g, "tokenizer.ggml.eom_token_id", &v->eom, err);
  if (status == NB_OK) status = read_id(v, g, "tokenizer.ggml.unknown_token_id", &v->unk, err);
  if (status == NB_OK) status = read_pad(v, g, err);
  if (status == NB_OK) status = nb_gguf_get_bool(g, NB_STR("tokenizer.ggml.add_bos_token"), &v->add_bos, &found, err);
  if (status == NB_OK) status = nb_gguf_get_bool(g, NB_STR("tokenizer.ggml.add_eos_token"), &v->add_eos, &found, err);
  if (status != NB_OK) return status;
  if (v->add_bos && v->bos == NB_TOKEN_NONE) {
    return nb_fail(err, NB_E_FORMAT, "this vocabulary begins its texts with BOS, but tokenizer.ggml.bos_token_id is missing");
  }
  if (v->add_eos && v->eos == NB_TOKEN_NONE) {
    return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.add_eos_token is true, but tokenizer.ggml.eos_token_id is missing");
  }
  mark_ends(v);
  return mark_phi3(v, g, err);
}
