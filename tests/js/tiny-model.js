/**
 * Small GGUF models with pseudo-random weights, made from a seed: any architecture and tensor type that this library runs, the same bytes
 * on every machine (integer arithmetic, and sums and products of doubles only). Quantized tensors are random bytes with sane scales, so
 * that every pattern of a block is exercised; scales give activations, attention scores and logits the size they have in trained models.
 */

// ---- random numbers -----------------------------------------------------------------------------------------------------------

/** 32-bit integers (Mulberry32). */
export function random(seed) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }
  return {
    next,
    below: (n) => next() % n,
    uniform: () => next() / 2 ** 32, // [0, 1)
    /** Mean 0, variance 1, near enough to Gaussian: a sum of uniform numbers. */
    normal: () => (next() + next() + next() + next() - 2 * 2 ** 32) / 2 ** 32 * Math.sqrt(3),
  }
}

function hash(text) {
  let h = 2166136261
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619)
  return h >>> 0
}

// ---- bytes --------------------------------------------------------------------------------------------------------------------

class Bytes {
  constructor() {
    this.buffer = new Uint8Array(1 << 16)
    this.length = 0
  }
  room(n) {
    while (this.length + n > this.buffer.length) {
      const grown = new Uint8Array(this.buffer.length * 2)
      grown.set(this.buffer)
      this.buffer = grown
    }
    const view = new DataView(this.buffer.buffer, this.length, n)
    this.length += n
    return view
  }
  u8(v) { this.room(1).setUint8(0, v) }
  u32(v) { this.room(4).setUint32(0, v, true) }
  i32(v) { this.room(4).setInt32(0, v, true) }
  f32(v) { this.room(4).setFloat32(0, v, true) }
  u64(v) { this.room(8).setBigUint64(0, BigInt(v), true) }
  raw(bytes) {
    const at = this.length
    this.room(bytes.length)
    this.buffer.set(bytes, at)
  }
  string(s) {
    const bytes = new TextEncoder().encode(s)
    this.u64(bytes.length)
    this.raw(bytes)
  }
  align(n) { while (this.length % n) this.u8(0) }
  done() { return this.buffer.slice(0, this.length) }
}

const scratch = new DataView(new ArrayBuffer(4))
const f32bits = (x) => (scratch.setFloat32(0, x), scratch.getUint32(0))

/** binary16 bits of a number, rounded to nearest even; for finite numbers below 65504. */
export function f16(x) {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0
  const a = Math.abs(x)
  if (a < 2 ** -14) return sign | even(a * 2 ** 24)
  const e = Math.floor(Math.log2(a))
  const exponent = a >= 2 ** (e + 1) ? e + 1 : a < 2 ** e ? e - 1 : e // log2 may be off by one at powers of two
  return sign | (((exponent + 15) << 10) + even((a / 2 ** exponent - 1) * 1024))
}
function even(x) {
  const f = Math.floor(x), r = x - f
  return r > 0.5 || (r === 0.5 && f % 2 === 1) ? f + 1 : f
}

// ---- tensor types -------------------------------------------------------------------------------------------------------------

/** The 12 bytes of eight 6-bit scales and mins (Q4_K, Q5_K). */
function packScales(scales, mins) {
  const out = new Uint8Array(12)
  for (let i = 0; i < 4; i++) {
    out[i] = scales[i] | ((scales[i + 4] >> 4) << 6)
    out[i + 4] = mins[i] | ((mins[i + 4] >> 4) << 6)
    out[i + 8] = (scales[i + 4] & 15) | ((mins[i + 4] & 15) << 4)
  }
  return out
}

/** name -> [type id, weights in a block, function (r, sigma, out: DataView of one block)] */
const randomBytes = (r, out, from, to) => { for (let i = from; i < to; i++) out.setUint8(i, r.next() & 255) }
const spread = (r) => 0.5 + r.uniform() // blocks differ in scale
const half = (out, at, x) => out.setUint16(at, f16(x), true)

const TYPES = {
  F32: [0, 1, 4, (r, s, o) => o.setFloat32(0, s * r.normal(), true)],
  F16: [1, 1, 2, (r, s, o) => half(o, 0, s * r.normal())],
  BF16: [30, 1, 2, (r, s, o) => o.setUint16(0, f32bits(s * r.normal()) >>> 16, true)],
  Q8_0: [8, 32, 34, (r, s, o) => { half(o, 0, s / 73 * spread(r)); randomBytes(r, o, 2, 34) }],
  Q4_0: [2, 32, 18, (r, s, o) => { half(o, 0, s / 4.6 * spread(r) * (r.below(2) ? 1 : -1)); randomBytes(r, o, 2, 18) }],
  Q4_1: [3, 32, 20, (r, s, o) => { const d = s / 4.6 * spread(r); half(o, 0, d); half(o, 2, -7.5 * d); randomBytes(r, o, 4, 20) }],
  Q5_0: [6, 32, 22, (r, s, o) => { half(o, 0, s / 9.2 * spread(r)); randomBytes(r, o, 2, 22) }],
  Q5_1: [7, 32, 24, (r, s, o) => { const d = s / 9.2 * spread(r); half(o, 0, d); half(o, 2, -15.5 * d); randomBytes(r, o, 4, 24) }],
  Q2_K: [10, 256, 84, (r, s, o) => {
    const d = s / 1.12 / 8 * spread(r)
    for (let i = 0; i < 16; i++) { const scale = 1 + r.below(14); o.setUint8(i, scale | Math.max(0, Math.min(15, scale + r.below(3) - 1)) << 4) }
    randomBytes(r, o, 16, 80)
    half(o, 80, d)
    half(o, 82, 1.5 * d)
  }],
  Q3_K: [11, 256, 110, (r, s, o) => { randomBytes(r, o, 0, 108); half(o, 108, s / 42 * spread(r)) }],
  Q4_K: [12, 256, 144, (r, s, o) => kquant(r, s, o, 4.6, 7.5, 144)],
  Q5_K: [13, 256, 176, (r, s, o) => kquant(r, s, o, 9.2, 15.5, 176)],
  Q6_K: [14, 256, 210, (r, s, o) => {
    randomBytes(r, o, 0, 192)
    for (let i = 192; i < 208; i++) o.setInt8(i, r.below(128) - 64)
    half(o, 208, s / 683 * spread(r))
  }],
  IQ4_NL: [20, 32, 18, (r, s, o) => { half(o, 0, s / 68 * spread(r)); randomBytes(r, o, 2, 18) }],
  IQ4_XS: [23, 256, 136, (r, s, o) => { half(o, 0, s / 1260 * spread(r)); randomBytes(r, o, 2, 136) }],
}
export const TENSOR_TYPES = Object.keys(TYPES)

function kquant(r, s, o, deviation, middle, bytes) {
  const d = s / deviation / 36 * spread(r)
  const scales = [], mins = []
  for (let i = 0; i < 8; i++) {
    scales.push(8 + r.below(56))
    mins.push(Math.max(0, Math.min(63, scales[i] + r.below(5) - 2)))
  }
  half(o, 0, d)
  half(o, 2, middle * d)
  packScales(scales, mins).forEach((b, i) => o.setUint8(4 + i, b))
  randomBytes(r, o, 16, bytes)
}

/** The size of a tensor in the file. @param {{name: string, type: string, dims: number[]}} tensor */
export function tensorSize({ name, type, dims }) {
  const [, block, bytes] = TYPES[type]
  if (dims[0] % block) throw new Error(`${name}: rows of ${dims[0]} weights are no whole number of ${type} blocks`)
  return dims.reduce((a, b) => a * b, 1) / block * bytes
}

/** Random weights of a type, a whole number of its blocks. @param {string} type @param {number} sigma @param {number} bytes @param {ReturnType<typeof random>} r */
export function randomBlocks(type, sigma, bytes, r) {
  const [, , size, fill] = TYPES[type], out = new Uint8Array(bytes)
  for (let at = 0; at < bytes; at += size) fill(r, sigma, new DataView(out.buffer, at, size))
  return out
}
/** The block of a type: how many weights, how many bytes. @param {string} type */
export const blockOf = (type) => ({ weights: TYPES[type][1], bytes: TYPES[type][2] })

/** The content of a tensor of a plan. @param {Tensor} tensor @param {number} seed */
export function tensorBytes(tensor, seed) {
  const { name, type, sigma = 0, center, values } = tensor, bytes = tensorSize(tensor)
  const r = random(hash(`${seed}/${name}`))
  if (values) return new Uint8Array(Float32Array.from({ length: bytes / 4 }, (_, i) => values(i)).buffer)
  if (center) return new Uint8Array(Float32Array.from({ length: bytes / 4 }, () => center * (1 + 0.1 * r.normal())).buffer)
  return randomBlocks(type, sigma, bytes, r)
}

// ---- vocabularies -------------------------------------------------------------------------------------------------------------

const WORDS = ['the', 'and', 'was', 'to', 'a', 'in', 'it', 'of', 'she', 'he', 'her', 'that', 'with', 'little', 'once', 'upon', 'time', 'there', 'day', 'big',
  'happy', 'said', 'they', 'play', 'ing', 'ed', 'er', 'Hello', 'world', 'user', 'assistant', 'system']

/** GPT-2's map from bytes to printable characters. */
function byteChars() {
  const chars = []
  for (let b = 0, extra = 256; b < 256; b++) {
    const printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174
    chars.push(String.fromCodePoint(printable ? b : extra++))
  }
  return chars
}

function bpeVocab(n) {
  const chars = byteChars(), tokens = [...chars], types = tokens.map(() => 1), merges = []
  for (const word of WORDS) {
    for (const start of ['\u0120', '']) {
      let left = start || word[0]
      for (const c of start ? word : word.slice(1)) {
        const joined = left + c
        if (!tokens.includes(joined)) {
          if (tokens.length >= n - 4) break
          tokens.push(joined)
          types.push(1)
          merges.push(`${left} ${c}`)
        }
        left = joined
      }
    }
  }
  while (tokens.length < n - 4) { tokens.push(`[unused${tokens.length}]`); types.push(5) }
  const bos = tokens.length
  tokens.push('<|endoftext|>', '<|im_start|>', '<|im_end|>', '<|pad|>')
  types.push(3, 3, 3, 3)
  return { model: 'gpt2', pre: 'gpt-2', tokens, types, merges, bos, eos: bos + 2, addBos: false }
}

function spmVocab(n) {
  const tokens = ['<unk>', '<s>', '</s>'], types = [2, 3, 3], scores = [0, 0, 0]
  for (let b = 0; b < 256; b++) { tokens.push(`<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`); types.push(6); scores.push(0) }
  const pieces = new Set(['\u2581'])
  for (const word of WORDS) for (const start of ['\u2581', '']) for (let i = 1; i <= word.length; i++) pieces.add(start + word.slice(0, i))
  for (let c = 33; c < 127; c++) pieces.add(String.fromCharCode(c))
  let rank = 0
  for (const p of pieces) { if (tokens.length >= n) break; tokens.push(p); types.push(1); scores.push(-(++rank)) }
  while (tokens.length < n) { tokens.push(`[unused${tokens.length}]`); types.push(5); scores.push(-1e4) }
  return { model: 'llama', tokens, types, scores, bos: 1, eos: 2, addBos: true }
}

export const CHATML = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

// ---- the file -----------------------------------------------------------------------------------------------------------------

const U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9

/**
 * @typedef {object} Tensor
 * @property {string} name  @property {number[]} dims  @property {string} type
 * @property {number} [sigma]  deviation of its weights  @property {number} [center]  their mean, for vectors  @property {(i: number) => number} [values]
 * @typedef {object} Shape
 * @property {'llama' | 'qwen2' | 'qwen3'} [arch]
 * @property {string} [type]  of all matrices
 * @property {Record<string, string>} [types]  other types for tensors by the end of their name, such as {'output.weight': 'Q6_K'}
 * @property {number} [n_layers]  @property {number} [d_model]  @property {number} [d_ff]  @property {number} [n_heads]  @property {number} [n_kv_heads]
 * @property {number} [head_dim]  @property {number} [n_vocab]  @property {number} [n_ctx]
 * @property {boolean} [tied]  @property {number} [ropeBase]  @property {number} [eps]
 * @property {boolean} [ropeFactors]  add Llama 3's rope_freqs
 * @property {'bpe' | 'spm'} [vocab]
 * @property {string} [chatTemplate]
 * @property {[string, number, any][]} [metadata]  more pairs: key, kind, value
 */

/**
 * A small model.
 * @param {Shape & {seed?: number, split?: number}} [options]  split: parts; the result is then an array
 * @returns {Uint8Array | Uint8Array[]}
 */
export function tinyModel({ seed = 1, split = 1, ...shape } = {}) {
  const { kv, tensors } = plan(shape)
  if (split === 1) return file(kv, tensors, seed)
  const each = Math.ceil(tensors.length / split), parts = []
  for (let i = 0; i < split; i++) {
    const splitKv = [['split.no', 2, i], ['split.count', 2, split], ['split.tensors.count', I32, tensors.length]]
    parts.push(file([...(i === 0 ? kv : []), ...splitKv], tensors.slice(i * each, (i + 1) * each), seed))
  }
  return parts
}

/** What the file of a model of any size holds. @param {Shape} shape */
export function plan({
  arch = 'llama', type = 'F32', types = {}, n_layers = 2, d_model = 256, d_ff = 512, n_heads = 4, n_kv_heads = 2, head_dim = 64, n_vocab = 512, n_ctx = 256,
  tied = false, ropeFactors = false, ropeBase = arch === 'llama' ? 10000 : 1e6, eps = arch === 'llama' ? 1e-5 : 1e-6, vocab = 'bpe', chatTemplate = CHATML,
  metadata = [],
} = {}) {
  const v = vocab === 'spm' ? spmVocab(n_vocab) : bpeVocab(n_vocab)
  const kv = [
    ['general.architecture', STRING, arch], ['general.name', STRING, `tiny-${arch}-${type}`],
    [`${arch}.context_length`, U32, n_ctx], [`${arch}.embedding_length`, U32, d_model], [`${arch}.block_count`, U32, n_layers],
    [`${arch}.feed_forward_length`, U32, d_ff], [`${arch}.attention.head_count`, U32, n_heads], [`${arch}.attention.head_count_kv`, U32, n_kv_heads],
    [`${arch}.attention.key_length`, U32, head_dim], [`${arch}.attention.value_length`, U32, head_dim], [`${arch}.rope.dimension_count`, U32, head_dim],
    [`${arch}.rope.freq_base`, F32, ropeBase], [`${arch}.attention.layer_norm_rms_epsilon`, F32, eps], [`${arch}.vocab_size`, U32, n_vocab],
    ['tokenizer.ggml.model', STRING, v.model], ...(v.pre ? [['tokenizer.ggml.pre', STRING, v.pre]] : []),
    ['tokenizer.ggml.tokens', [ARRAY, STRING], v.tokens], ...(v.scores ? [['tokenizer.ggml.scores', [ARRAY, F32], v.scores]] : []),
    ['tokenizer.ggml.token_type', [ARRAY, I32], v.types], ...(v.merges ? [['tokenizer.ggml.merges', [ARRAY, STRING], v.merges]] : []),
    ['tokenizer.ggml.bos_token_id', U32, v.bos], ['tokenizer.ggml.eos_token_id', U32, v.eos], ['tokenizer.ggml.add_bos_token', BOOL, v.addBos],
    ...(chatTemplate ? [['tokenizer.chat_template', STRING, chatTemplate]] : []), ...metadata,
  ]
  /** @type {Tensor[]} */
  const tensors = []
  const typeOf = (name) => types[Object.keys(types).find((end) => name.endsWith(end)) ?? ''] ?? type
  const matrix = (name, cols, rows, sigma) => tensors.push({ name, dims: [cols, rows], type: typeOf(name), sigma })
  const vector = (name, n, sigma, center = 0) => tensors.push({ name, dims: [n], type: 'F32', sigma, center })
  const unit = 3 / Math.sqrt(d_model) // rows of the embedding have norm 3
  const branch = (tied ? 5 : 2) / Math.sqrt(2 * n_layers) * unit / 0.6
  matrix('token_embd.weight', d_model, n_vocab, unit)
  vector('output_norm.weight', d_model, 0, 1)
  if (!tied) matrix('output.weight', d_model, n_vocab, unit)
  if (ropeFactors) tensors.push({ name: 'rope_freqs.weight', dims: [head_dim / 2], type: 'F32', values: (i) => 1 + 31 * i / (head_dim / 2 - 1) })
  const q = n_heads * head_dim, kvDim = n_kv_heads * head_dim, from = 1 / Math.sqrt(d_model)
  for (let i = 0; i < n_layers; i++) {
    const b = `blk.${i}.`
    vector(`${b}attn_norm.weight`, d_model, 0, 1)
    matrix(`${b}attn_q.weight`, d_model, q, 0.5 * from)
    matrix(`${b}attn_k.weight`, d_model, kvDim, 0.5 * from)
    matrix(`${b}attn_v.weight`, d_model, kvDim, 0.5 * from)
    if (arch === 'qwen2') for (const [x, n] of [['q', q], ['k', kvDim], ['v', kvDim]]) vector(`${b}attn_${x}.bias`, n, 0.3)
    if (arch === 'qwen3') for (const x of ['q', 'k']) vector(`${b}attn_${x}_norm.weight`, head_dim, 0, 0.7)
    matrix(`${b}attn_output.weight`, q, d_model, branch / Math.sqrt(q))
    vector(`${b}ffn_norm.weight`, d_model, 0, 1)
    matrix(`${b}ffn_gate.weight`, d_model, d_ff, from)
    matrix(`${b}ffn_up.weight`, d_model, d_ff, from)
    matrix(`${b}ffn_down.weight`, d_ff, d_model, branch / Math.sqrt(d_ff))
  }
  return { kv, tensors }
}

function value(out, kind, v) {
  if (Array.isArray(kind)) {
    out.u32(kind[1])
    out.u64(v.length)
    for (const item of v) value(out, kind[1], item)
  } else if (kind === STRING) out.string(v)
  else if (kind === F32) out.f32(v)
  else if (kind === BOOL) out.u8(v ? 1 : 0)
  else if (kind === I32) out.i32(v)
  else if (kind === 2) { out.u8(v & 255); out.u8(v >> 8) }
  else out.u32(v)
}

/** Tensors and what lies behind them end at multiples of this. */
export const padded = (/** @type {number} */ n) => Math.ceil(n / 32) * 32

/** All of a file before its tensors. @param {[string, any, any][]} kv @param {Tensor[]} tensors */
export function header(kv, tensors) {
  const out = new Bytes()
  out.raw([71, 71, 85, 70]) // GGUF
  out.u32(3)
  out.u64(tensors.length)
  out.u64(kv.length)
  for (const [key, kind, v] of kv) {
    out.string(key)
    out.u32(Array.isArray(kind) ? kind[0] : kind)
    value(out, kind, v)
  }
  let offset = 0
  for (const t of tensors) {
    out.string(t.name)
    out.u32(t.dims.length)
    for (const d of t.dims) out.u64(d)
    out.u32(TYPES[t.type][0])
    out.u64(offset)
    offset = padded(offset + tensorSize(t))
  }
  out.align(32)
  return out.done()
}

function file(kv, tensors, seed) {
  const out = new Bytes()
  out.raw(header(kv, tensors))
  for (const t of tensors) {
    out.raw(tensorBytes(t, seed))
    out.align(32)
  }
  return out.done()
}
