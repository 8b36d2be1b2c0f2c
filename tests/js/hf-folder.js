/**
 * Hugging Face folders made of GGUF files, the other way round than the converter: to test it where a publisher's folder is not at hand. Written after the
 * formats, not after the converter: rows of q and k are put back one by one, merges are all ways to make a token.
 */
import { openCheckpoint } from '../../js/quantize/checkpoint.js'
import { lookUp } from '../../js/quantize/pairs.js'
import { f16 } from './tiny-model.js'

const BYTE_LEVEL = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }
const split = (/** @type {string} */ Regex) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })
const END = '|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'
const WORDS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
const LLAMA3 = `${WORDS}\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*${END}`
const CASED = ['[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]', '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]']
/** @param {string} contractions @param {string} numbers */
const cased = (contractions, numbers) => `[^\\r\\n\\p{L}\\p{N}]?${CASED[0]}*${CASED[1]}+${contractions}|[^\\r\\n\\p{L}\\p{N}]?${CASED[0]}+${CASED[1]}*${contractions}|${numbers}` +
  `| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*${END}`

/** How publishers write the ways to split text, by the names that GGUF files have for them. @type {Record<string, {steps: object[], whole?: boolean}>} */
export const PRE_TOKENIZERS = {
  'gpt-2': { steps: [{ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true }] },
  smollm: { steps: [{ type: 'Digits', individual_digits: true }, { ...BYTE_LEVEL, use_regex: true }] },
  'llama-bpe': { steps: [split(LLAMA3), BYTE_LEVEL], whole: true },
  dbrx: { steps: [split(LLAMA3), BYTE_LEVEL] },
  minicpm5: { steps: [split('\\p{N}{1,3}'), split(LLAMA3.replace('{1,3}', '+')), BYTE_LEVEL], whole: true },
  qwen2: { steps: [split(`${WORDS}\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*${END}`), BYTE_LEVEL] },
  qwen35: { steps: [split(`${WORDS.replace('?\\p{L}+', '?[\\p{L}\\p{M}]+')}\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*${END}`), BYTE_LEVEL] },
  'gpt-4o': { steps: [split(cased("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", '\\p{N}{1,3}')), BYTE_LEVEL] },
  tekken: { steps: [split(cased('', '\\p{N}')), BYTE_LEVEL], whole: true },
  falcon: { steps: [{ type: 'Punctuation', behavior: 'Contiguous' }, { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true }, { type: 'Digits', individual_digits: false }, split('[0-9][0-9][0-9]')] },
  'deepseek-coder': { steps: [split('[\r\n]'), split('\\s?\\p{L}+'), split('\\s?\\p{P}+'), split('[一-龥ࠀ-一가-\ud7ff]+'), { type: 'Digits', individual_digits: true }, BYTE_LEVEL] },
  'deepseek-llm': {
    steps: [split('[\r\n]'), split('\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ]+'), split('\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+'), split('\\s+$'), split('[一-龥ࠀ-一가-\ud7ff]+'),
      { type: 'Digits', individual_digits: true }, BYTE_LEVEL],
  },
  'deepseek-v3': {
    steps: [split('\\p{N}{1,3}'), split('[一-龥぀-ゟ゠-ヿ]+'),
      split(`[!"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_\`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+`), BYTE_LEVEL],
  },
}

/** Every way to make a token of two others, the best token first. @param {string[]} tokens @param {number[]} types @param {ArrayLike<number>} scores */
function mergesOf(tokens, types, scores) {
  const ids = new Map(tokens.flatMap((token, id) => (types[id] === 1 ? [[token, id]] : [])))
  /** @type {[number, number, number, string, string][]} */
  const found = []
  for (const [token, id] of ids) {
    for (let i = 1; i < token.length; i++) {
      const a = ids.get(token.slice(0, i)), b = ids.get(token.slice(i))
      if (a !== undefined && b !== undefined) found.push([-scores[id], a, b, token.slice(0, i), token.slice(i)])
    }
  }
  return found.sort((x, y) => x[0] - y[0] || x[1] - y[1] || x[2] - y[2]).map(([, , , a, b]) => [a, b])
}

/**
 * tokenizer.json and tokenizer_config.json for the vocabulary of a GGUF file.
 * @param {import('../../js/quantize/pairs.js').Pair[]} pairs @param {{pairMerges?: boolean}} [options]  pairMerges: in the newer form
 * @returns {Record<string, any>}
 */
export function tokenizerFiles(pairs, { pairMerges = true } = {}) {
  const get = (/** @type {string} */ key) => /** @type {any} */ (lookUp(pairs, `tokenizer.ggml.${key}`))
  const tokens = [...get('tokens')], types = [...get('token_type')], spm = get('model') === 'llama'
  const id = (/** @type {string} */ role) => get(`${role}_token_id`) ?? (spm ? { bos: 1, eos: 2, unknown: 0 }[role] : undefined)
  const special = (/** @type {number} */ i) => types[i] === 3 || types[i] === 2
  const added = tokens.flatMap((content, i) => (special(i) || types[i] === 4 ? [{ id: i, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: special(i) }] : []))
  const vocab = Object.fromEntries(tokens.flatMap((token, i) => (types[i] === 5 || (!spm && (special(i) || types[i] === 4)) ? [] : [[token, i]])))
  const merges = spm ? mergesOf(tokens, types, get('scores')) : get('merges').map((/** @type {string} */ m) => m.split(' '))
  const bos = id('bos'), addBos = get('add_bos_token') ?? spm, pre = PRE_TOKENIZERS[get('pre')]
  const processor = addBos ? [{ type: 'TemplateProcessing', single: [{ SpecialToken: { id: tokens[bos], type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }], pair: [], special_tokens: {} }] : []
  const replace = { type: 'Replace', pattern: { String: ' ' }, content: '▁' }
  const front = get('add_space_prefix') === false ? replace : { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, replace] }
  const named = (/** @type {number | undefined} */ i) => (i === undefined ? null : tokens[i])
  return {
    'tokenizer.json': {
      version: '1.0', truncation: null, padding: null, added_tokens: added,
      normalizer: spm ? front : get('pre') === 'qwen2' ? { type: 'NFC' } : null,
      pre_tokenizer: spm ? null : pre.steps.length === 1 ? pre.steps[0] : { type: 'Sequence', pretokenizers: pre.steps },
      post_processor: { type: 'Sequence', processors: [{ type: 'ByteLevel', add_prefix_space: true, trim_offsets: false, use_regex: true }, ...processor] },
      decoder: spm ? { type: 'Sequence', decoders: [{ type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }] } : { type: 'ByteLevel' },
      model: {
        type: 'BPE', dropout: null, unk_token: spm ? named(id('unknown')) : null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: spm, byte_fallback: spm,
        ignore_merges: pre?.whole ?? false, vocab, merges: pairMerges ? merges : merges.map((/** @type {string[]} */ m) => m.join(' ')),
      },
    },
    'tokenizer_config.json': {
      tokenizer_class: 'PreTrainedTokenizerFast', bos_token: named(bos), eos_token: { content: named(id('eos')), special: true }, unk_token: named(id('unknown')),
      ...(lookUp(pairs, 'tokenizer.chat_template') !== undefined && { chat_template: lookUp(pairs, 'tokenizer.chat_template') }),
    },
  }
}

/** A safetensors file. @param {[name: string, dtype: string, shape: number[], bytes: Uint8Array][]} tensors */
export function safetensors(tensors) {
  let at = 0
  const header = Buffer.from(JSON.stringify({
    __metadata__: { format: 'pt' },
    ...Object.fromEntries(tensors.map(([name, dtype, shape, bytes]) => [name, { dtype, shape, data_offsets: [at, at += bytes.length] }])),
  }))
  const head = Buffer.concat([Buffer.alloc(8), header, Buffer.alloc(-header.length & 7, ' ')])
  head.writeBigUInt64LE(BigInt(head.length - 8))
  return new Uint8Array(Buffer.concat([head, ...tensors.map(([, , , bytes]) => bytes)]))
}

const PARTS = { attn_q: 'self_attn.q_proj', attn_k: 'self_attn.k_proj', attn_v: 'self_attn.v_proj', attn_output: 'self_attn.o_proj', attn_q_norm: 'self_attn.q_norm', attn_k_norm: 'self_attn.k_norm',
  attn_norm: 'input_layernorm', ffn_norm: 'post_attention_layernorm', ffn_gate: 'mlp.gate_proj', ffn_up: 'mlp.up_proj', ffn_down: 'mlp.down_proj' }
const WHOLE = { token_embd: 'model.embed_tokens', output_norm: 'model.norm', output: 'lm_head' }

/** @param {string} name */
function nameOf(name) {
  const [, layer, part, end] = /^(?:blk\.(\d+)\.)?(.*)\.(weight|bias)$/.exec(name) ?? []
  return layer === undefined ? `${/** @type {any} */ (WHOLE)[part]}.${end}` : `model.layers.${layer}.${/** @type {any} */ (PARTS)[part]}.${end}`
}

const SAMPLING = { temp: 'temperature', top_k: 'top_k', top_p: 'top_p', min_p: 'min_p', penalty_repeat: 'repetition_penalty' }

/**
 * The folder of a model in floats, as the list of its files.
 * @param {import('../../js/quantize/checkpoint.js').CheckpointSource} source
 * @param {{parts?: number, vectors?: 'F32' | 'F16', config?: object, files?: Record<string, any>, pairMerges?: boolean}} [options]  parts: safetensors files;
 *   vectors: their type; config: more of config.json; files: others, or in place of those made
 * @returns {Promise<{name: string, file: Uint8Array}[]>}
 */
export async function huggingFaceFolder(source, { parts = 1, vectors = 'F32', config = {}, files = {}, pairMerges } = {}) {
  const checkpoint = await openCheckpoint(source), { pairs, tensors, read } = checkpoint
  const arch = String(lookUp(pairs, 'general.architecture')), get = (/** @type {string} */ key) => /** @type {any} */ (lookUp(pairs, `${arch}.${key}`))
  const heads = get('attention.head_count'), kvHeads = get('attention.head_count_kv') ?? heads
  /** @type {[string, string, number[], Uint8Array][]} */
  const list = []
  for (const tensor of tensors) {
    if (tensor.name === 'rope_freqs.weight') continue
    let bytes = await read(tensor, 0, tensor.bytes)
    const of = /attn_([qk])\.(weight|bias)$/.exec(tensor.name)?.[1]
    if (arch === 'llama' && of) {
      const rows = tensor.shape.at(-1) ?? 1, row = tensor.bytes / rows, head = rows / (of === 'q' ? heads : kvHeads), halves = new Uint8Array(bytes.length)
      for (let r = 0; r < rows; r++) {
        const within = r % head, to = r - within + (within % 2 ? head / 2 : 0) + Math.floor(within / 2)
        halves.set(bytes.subarray(r * row, (r + 1) * row), to * row)
      }
      bytes = halves
    }
    let dtype = tensor.type
    if (tensor.shape.length === 1 && vectors === 'F16') {
      const floats = new Float32Array(bytes.slice().buffer)
      bytes = new Uint8Array(Uint16Array.from(floats, f16).buffer)
      dtype = 'F16'
    }
    list.push([nameOf(tensor.name), dtype, [...tensor.shape].reverse(), bytes])
  }
  await checkpoint.close()
  const sampling = Object.entries(SAMPLING).flatMap(([key, name]) => (lookUp(pairs, `general.sampling.${key}`) === undefined ? [] : [[name, lookUp(pairs, `general.sampling.${key}`)]]))
  const each = Math.ceil(list.length / parts), name = (/** @type {number} */ i) => `model-${String(i + 1).padStart(5, '0')}-of-${String(parts).padStart(5, '0')}.safetensors`
  const weights = parts === 1 ? { 'model.safetensors': safetensors(list) }
    : Object.fromEntries(Array.from({ length: parts }, (_, i) => [name(i), safetensors(list.slice(i * each, (i + 1) * each))]))
  const index = parts > 1 && { 'model.safetensors.index.json': { metadata: {}, weight_map: Object.fromEntries(list.map(([tensor], i) => [tensor, name(Math.floor(i / each))])) } }
  const scaling = get('rope.scaling.type') === 'linear' ? { rope_scaling: { type: 'linear', factor: get('rope.scaling.factor') } } : {}
  const embedding = tensors.find((t) => t.name === 'token_embd.weight')
  const all = {
    'config.json': {
      architectures: [{ llama: 'LlamaForCausalLM', qwen2: 'Qwen2ForCausalLM', qwen3: 'Qwen3ForCausalLM' }[arch]], model_type: arch, hidden_act: 'silu', vocab_size: embedding?.shape[1],
      hidden_size: get('embedding_length'), num_hidden_layers: get('block_count'), num_attention_heads: heads, num_key_value_heads: kvHeads,
      ...(get('attention.key_length') && { head_dim: get('attention.key_length') }), intermediate_size: get('feed_forward_length'), max_position_embeddings: get('context_length'),
      rms_norm_eps: get('attention.layer_norm_rms_epsilon'), rope_theta: get('rope.freq_base') ?? 10000, ...scaling, attention_bias: tensors.some((t) => t.name.endsWith('attn_output.bias')),
      tie_word_embeddings: !tensors.some((t) => t.name === 'output.weight'), ...config,
    },
    ...weights, ...index, 'generation_config.json': { do_sample: true, ...Object.fromEntries(sampling) }, ...tokenizerFiles(pairs, { pairMerges }), ...files,
  }
  return Object.entries(all).filter(([, file]) => file !== undefined)
    .map(([name, file]) => ({ name, file: file instanceof Uint8Array ? file : new TextEncoder().encode(typeof file === 'string' ? file : JSON.stringify(file)) }))
}
