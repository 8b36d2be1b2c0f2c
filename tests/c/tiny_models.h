// The smallest models that run: a few kilobytes of weights, headers of two or three kilobytes, so that a test can afford to damage every byte.
#ifndef NB_TESTS_TINY_MODELS_H
#define NB_TESTS_TINY_MODELS_H

#include "gguf_writer.h"

#define TINY_TEXT "ab abc\n<u>caf\xc3\xa9 <|im_end|> 12 dab"

typedef struct tiny_shape {
  const char *arch;
  uint32_t n_layers, d_model, d_ff, n_heads, n_kv_heads, head_dim, n_vocab;
  uint32_t type;  // of the matrices
  int tied;
} tiny_shape;

static const tiny_shape TINY_LLAMA = {"llama", 1, 8, 8, 2, 1, 4, 28, NB_TYPE_F32, 0}, TINY_QWEN2 = {"qwen2", 1, 32, 32, 4, 2, 8, 24, NB_TYPE_Q4_0, 1},
                        TINY_QWEN3 = {"qwen3", 2, 32, 64, 2, 2, 16, 24, NB_TYPE_Q8_0, 0};

// `<arch>.<suffix>`
GW_UNUSED static const char *tiny_key(const tiny_shape *s, const char *suffix) {
  static char key[96];
  snprintf(key, sizeof key, "%s.%s", s->arch, suffix);
  return key;
}

GW_UNUSED static void tiny_config(gguf_writer *w, const tiny_shape *s) {
  gw_kv_str(w, "general.architecture", s->arch);
  gw_kv_u32(w, tiny_key(s, "block_count"), s->n_layers);
  gw_kv_u32(w, tiny_key(s, "embedding_length"), s->d_model);
  gw_kv_u32(w, tiny_key(s, "feed_forward_length"), s->d_ff);
  gw_kv_u32(w, tiny_key(s, "attention.head_count"), s->n_heads);
  gw_kv_u32(w, tiny_key(s, "attention.head_count_kv"), s->n_kv_heads);
  gw_kv_u32(w, tiny_key(s, "attention.key_length"), s->head_dim);
  gw_kv_u32(w, tiny_key(s, "attention.value_length"), s->head_dim);
  gw_kv_u32(w, tiny_key(s, "context_length"), 64);
  gw_kv_f32(w, tiny_key(s, "rope.freq_base"), 10000);
  gw_kv_f32(w, tiny_key(s, "attention.layer_norm_rms_epsilon"), 1e-5f);
}

// ---- vocabularies -------------------------------------------------------------------------------------------------------------

typedef struct tiny_token {
  const char *text;
  uint32_t kind;
} tiny_token;

GW_UNUSED static void tiny_tokens(gguf_writer *w, const tiny_token *tokens, size_t n) {
  gw_array(w, "tokenizer.ggml.tokens", NB_GGUF_STRING, n);
  for (size_t i = 0; i < n; i++) gw_str(w, tokens[i].text);
  gw_array(w, "tokenizer.ggml.token_type", NB_GGUF_I32, n);
  for (size_t i = 0; i < n; i++) gw_u32(w, tokens[i].kind);
}

#define TINY_SPACE "\xe2\x96\x81"  // U+2581

static const tiny_token TINY_SPM[] = {
    {"<unk>", 2}, {"<s>", 3}, {"</s>", 3}, {"<0x0A>", 6}, {"<0xC3>", 6}, {"<0xA9>", 6}, {"<0xF0>", 6}, {"<0x3C>", 6}, {"a", 1}, {"b", 1}, {"c", 1}, {"d", 1},
    {TINY_SPACE, 1}, {"ab", 1}, {"abc", 1}, {TINY_SPACE "a", 1}, {TINY_SPACE "ab", 1}, {TINY_SPACE TINY_SPACE, 1}, {"1", 1}, {"<u>", 4}, {"<|im_end|>", 3},
    {"", 5}, {"bc", 1}, {"da", 1}, {"[x]", 5}, {"f", 1}, {TINY_SPACE "abc", 1}, {"\xc3\xa9", 1}};

GW_UNUSED static void tiny_spm(gguf_writer *w) {
  const size_t n = sizeof TINY_SPM / sizeof *TINY_SPM;
  gw_kv_str(w, "tokenizer.ggml.model", "llama");
  tiny_tokens(w, TINY_SPM, n);
  gw_array(w, "tokenizer.ggml.scores", NB_GGUF_F32, n);
  for (size_t i = 0; i < n; i++) gw_f32(w, TINY_SPM[i].kind == 1 ? -(float)(i % 7) - (float)i / 64 : 0);
  gw_kv_u32(w, "tokenizer.ggml.bos_token_id", 1);
  gw_kv_u32(w, "tokenizer.ggml.eos_token_id", 2);
  gw_kv_u32(w, "tokenizer.ggml.unknown_token_id", 0);
  gw_kv_bool(w, "tokenizer.ggml.add_bos_token", 1);
}

#define TINY_BPE_SPACE "\xc4\xa0"  // U+0120, GPT-2's spelling of a space

static const tiny_token TINY_BPE[] = {
    {"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}, {"f", 1}, {"1", 1}, {"2", 1}, {"\xc4\x8a", 1}, {TINY_BPE_SPACE, 1}, {"<", 1}, {">", 1}, {"u", 1}, {"\xc3\x83", 1},
    {"\xc2\xa9", 1}, {"ab", 1}, {TINY_BPE_SPACE "a", 1}, {TINY_BPE_SPACE "ab", 1}, {"da", 1}, {"", 5}, {"<u>", 4}, {"<unk>", 2}, {"<|endoftext|>", 3},
    {"<|im_start|>", 3}, {"<|im_end|>", 3}};
static const char *const TINY_MERGES[] = {"a b", TINY_BPE_SPACE " a", TINY_BPE_SPACE "a b", "d a", TINY_BPE_SPACE " ab"};

GW_UNUSED static void tiny_bpe(gguf_writer *w, const char *pre) {
  const size_t n_merges = sizeof TINY_MERGES / sizeof *TINY_MERGES;
  gw_kv_str(w, "tokenizer.ggml.model", "gpt2");
  gw_kv_str(w, "tokenizer.ggml.pre", pre);
  tiny_tokens(w, TINY_BPE, sizeof TINY_BPE / sizeof *TINY_BPE);
  gw_array(w, "tokenizer.ggml.merges", NB_GGUF_STRING, n_merges);
  for (size_t i = 0; i < n_merges; i++) gw_str(w, TINY_MERGES[i]);
  gw_kv_u32(w, "tokenizer.ggml.eos_token_id", 21);
  gw_kv_u32(w, "tokenizer.ggml.unknown_token_id", 20);
}

// ---- weights ------------------------------------------------------------------------------------------------------------------

GW_UNUSED static void tiny_layer(gguf_writer *w, const tiny_shape *s, uint32_t i) {
  const uint64_t q = (uint64_t)s->n_heads * s->head_dim, kv = (uint64_t)s->n_kv_heads * s->head_dim;
  char name[64];
#define TINY_NAME(suffix) (snprintf(name, sizeof name, "blk.%u.%s", (unsigned)i, suffix), name)
  gw_vector(w, TINY_NAME("attn_norm.weight"), s->d_model);
  gw_matrix(w, TINY_NAME("attn_q.weight"), s->type, q, s->d_model);
  gw_matrix(w, TINY_NAME("attn_k.weight"), s->type, kv, s->d_model);
  gw_matrix(w, TINY_NAME("attn_v.weight"), s->type, kv, s->d_model);
  if (!strcmp(s->arch, "qwen2")) {
    gw_vector(w, TINY_NAME("attn_q.bias"), q);
    gw_tensor(w, TINY_NAME("attn_k.bias"), NB_TYPE_F16, 1, &kv);  // turned into floats at load
    gw_vector(w, TINY_NAME("attn_v.bias"), kv);
  }
  if (!strcmp(s->arch, "qwen3")) {
    gw_vector(w, TINY_NAME("attn_q_norm.weight"), s->head_dim);
    gw_vector(w, TINY_NAME("attn_k_norm.weight"), s->head_dim);
  }
  gw_matrix(w, TINY_NAME("attn_output.weight"), s->type, s->d_model, q);
  gw_vector(w, TINY_NAME("ffn_norm.weight"), s->d_model);
  gw_matrix(w, TINY_NAME("ffn_gate.weight"), s->type, s->d_ff, s->d_model);
  gw_matrix(w, TINY_NAME("ffn_up.weight"), s->type, s->d_ff, s->d_model);
  gw_matrix(w, TINY_NAME("ffn_down.weight"), s->type, s->d_model, s->d_ff);
#undef TINY_NAME
}

GW_UNUSED static void tiny_ends(gguf_writer *w, const tiny_shape *s) {
  gw_matrix(w, "token_embd.weight", s->type, s->n_vocab, s->d_model);
  gw_vector(w, "output_norm.weight", s->d_model);
  if (!s->tied) gw_matrix(w, "output.weight", s->type, s->n_vocab, s->d_model);
}

// A Llama with a SentencePiece vocabulary, F32, own head and rope factors.
GW_UNUSED static void tiny_llama(gguf_writer *w) {
  gw_begin(w, 3);
  tiny_config(w, &TINY_LLAMA);
  gw_kv_u32(w, "llama.rope.dimension_count", 4);
  tiny_spm(w);
  tiny_ends(w, &TINY_LLAMA);
  gw_vector(w, "rope_freqs.weight", 2);
  for (uint32_t i = 0; i < TINY_LLAMA.n_layers; i++) tiny_layer(w, &TINY_LLAMA, i);
  gw_finish(w);
}

// A Qwen2 with a byte-pair vocabulary, Q4_0 (packed in groups of rows), tied, biases.
GW_UNUSED static void tiny_qwen2(gguf_writer *w) {
  gw_begin(w, 2);
  tiny_config(w, &TINY_QWEN2);
  tiny_bpe(w, "qwen2");
  tiny_ends(w, &TINY_QWEN2);
  for (uint32_t i = 0; i < TINY_QWEN2.n_layers; i++) tiny_layer(w, &TINY_QWEN2, i);
  gw_finish(w);
}

#define TINY_PARTS 3

GW_UNUSED static void tiny_split_keys(gguf_writer *w, uint64_t no, uint64_t count, uint64_t total) {
  gw_kv_int(w, "split.no", NB_GGUF_U16, no);
  gw_kv_int(w, "split.count", NB_GGUF_U16, count);
  gw_kv_int(w, "split.tensors.count", NB_GGUF_I32, total);
}

// A Qwen3 in three files: metadata and the ends, then a layer each.
GW_UNUSED static void tiny_qwen3_split(gguf_writer parts[TINY_PARTS]) {
  const uint64_t total = 3 + 2 * 11;
  for (uint32_t i = 0; i < TINY_PARTS; i++) {
    gw_begin(&parts[i], 3);
    if (i == 0) {
      tiny_config(&parts[i], &TINY_QWEN3);
      tiny_bpe(&parts[i], "gpt-2");
    }
    tiny_split_keys(&parts[i], i, TINY_PARTS, total);
    if (i == 0) tiny_ends(&parts[i], &TINY_QWEN3);
    else tiny_layer(&parts[i], &TINY_QWEN3, i - 1);
    gw_finish(&parts[i]);
  }
}

#endif
