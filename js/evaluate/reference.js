/**
 * What a model predicts on a text, in a file: the reference that a quantized form of it is compared with, without the model at hand.
 *
 * Whole distributions take a vocabulary's worth of numbers for every prediction, tens of gigabytes in all. Kept are the most probable tokens,
 * the probability of all others together (the tail), and a few of the tail's tokens drawn at random, as often as they are probable.
 * Measured on demo/model, Q4_0 against F16: with 64 tokens and the tail as one the divergence comes out 13.5 % too small, with 256 still
 * 4.8 %; with 32 and 16 drawn ones it is right within 0.2 % (standard error), in a fiftieth of the bytes.
 *
 * The file, little-endian:
 *
 *      0  8 bytes  magic
 *      8  u32      version
 *     12  u32      n_vocab
 *     16  u32      n_ctx, tokens of a chunk
 *     20  u32      chunks
 *     24  u32      most tokens kept at a position
 *     28  u32      most tokens drawn at a position
 *     32  u32      flags: 1: made with float activations
 *     36  u32      greedy texts
 *     40  u32      bytes of the name
 *     44  u32      0
 *     48  32 bytes SHA-256 of the model's file; zeros: not known
 *     80  32 bytes SHA-256 of the tokens, each as u32
 *    112  name in UTF-8; then tokens of all chunks as ids; then the predictions; then greedy texts; then SHA-256 of everything before
 *
 *    id            u16 in vocabularies of up to 65,536, else u32
 *    log-prob.     u16: -log p * 2048, at most 65535
 *    a prediction  u16 kept, u16 drawn, f32 log-probability of the token that really follows, f32 tail, the kept ids, their log-probabilities
 *                  in falling order, the drawn ids, their log-probabilities
 *    a greedy text u32 tokens of the beginning, u32 tokens behind it, ids
 */
import { NibbleError } from '../errors.js'
import { decodeUtf8, encodeUtf8 } from '../memory.js'
import { chunksAsGiven, countOf, planChunks, visitPredictions } from './chunks.js'
import { Mean } from './figures.js'
import { greedyTexts, promptsOf } from './loops.js'

const MAGIC = [0x4e, 0x42, 0x52, 0x45, 0x46, 0x0d, 0x0a, 0x1a] // NBREF, and what a transfer as text would change
const VERSION = 1
const HEADER = 112
const HASH = 32
const FLOAT_ACTIVATIONS = 1
const LIMITS = { n_vocab: 2 ** 20, n_ctx: 2 ** 20, chunks: 2 ** 24, greedy: 2 ** 16, name: 1024 }
const STEPS = 2048 // of a unit of log-probability

export const TOP_K = 32
export const DRAWN = 16
/** Where so little is left, the list of kept tokens ends. */
const LEAST_TAIL = 1e-3
/** Tokens drawn from a tail that is certain; less probable ones get their share, so that a peaked distribution costs few bytes. */
const DRAWN_PER_TAIL = 160

/** @param {Uint8Array} bytes */
const sha256 = async (bytes) => {
  const { subtle } = globalThis.crypto
  if (!subtle) throw new NibbleError('E_UNSUPPORTED', 'hashes cannot be computed here; serve the page over https or from localhost')
  return new Uint8Array(await subtle.digest('SHA-256', /** @type {Uint8Array<ArrayBuffer>} */ (bytes)))
}

/** @param {Uint8Array} bytes */
const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('')

/** @param {number[][]} chunks */
const hashTokens = (chunks) => sha256(new Uint8Array(Uint32Array.from(chunks.flat()).buffer))

/** Whether bytes begin as a reference file. @param {Uint8Array} bytes */
export const isReference = (bytes) => MAGIC.every((byte, i) => bytes[i] === byte)

/** Bytes that grow. */
class Output {
  bytes = new Uint8Array(1 << 16)
  view = new DataView(this.bytes.buffer)
  length = 0

  /** @param {number} n */
  room(n) {
    if (this.length + n <= this.bytes.length) return
    const larger = new Uint8Array(Math.max(2 * this.bytes.length, this.length + n))
    larger.set(this.bytes.subarray(0, this.length))
    this.bytes = larger
    this.view = new DataView(larger.buffer)
  }

  /** @param {ArrayLike<number>} bytes */
  raw(bytes) {
    this.room(bytes.length)
    this.bytes.set(bytes, this.length)
    this.length += bytes.length
  }

  /** @param {ArrayLike<number>} numbers */
  u16(numbers) {
    this.room(2 * numbers.length)
    for (let i = 0; i < numbers.length; i++, this.length += 2) this.view.setUint16(this.length, numbers[i], true)
  }

  /** @param {ArrayLike<number>} numbers */
  u32(numbers) {
    this.room(4 * numbers.length)
    for (let i = 0; i < numbers.length; i++, this.length += 4) this.view.setUint32(this.length, numbers[i], true)
  }

  /** @param {ArrayLike<number>} numbers */
  f32(numbers) {
    this.room(4 * numbers.length)
    for (let i = 0; i < numbers.length; i++, this.length += 4) this.view.setFloat32(this.length, numbers[i], true)
  }
}

/** A number in [0, 1) that a position always gets. @param {number} n */
function jitter(n) {
  let x = Math.imul(n + 1, 0x9e3779b1)
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
  return ((x ^ (x >>> 16)) >>> 0) / 2 ** 32
}

/** @param {number} logprob */
const coarse = (logprob) => Math.min(65535, Math.max(0, Math.round(-logprob * STEPS)))

/**
 * @typedef {object} ReferenceOnly
 * @property {number} [topK]  tokens kept at most of each prediction (default 32)
 * @property {number} [drawn]  tokens drawn at most from the others (default 16)
 * @property {number} [loops]  greedy texts to keep, for a comparison of loops (default 0)
 * @property {string} [modelHash]  SHA-256 of the model's file, in hexadecimal, where known
 * @property {AbortSignal} [signal]
 * @property {(done: number, total: number, ppl: number) => void} [onProgress]  called after each chunk
 * @typedef {import('./chunks.js').ChunkOptions & ReferenceOnly} ReferenceOptions
 */

/**
 * The reference of a model on a text.
 * @param {import('../model.js').Model} model @param {string | number[][]} text  or its chunks as token ids, all of the same length
 * @param {ReferenceOptions} [options]
 * @returns {Promise<{bytes: Uint8Array, evaluation: import('../evaluate.js').PerplexityOnly}>} the file, which openReference() reads, and what was seen on the way
 */
export async function createReference(model, text, { topK = TOP_K, drawn = DRAWN, loops = 0, modelHash, signal, onProgress, ...options } = {}) {
  for (const [name, value, least] of /** @type {const} */ ([['topK', topK, 1], ['drawn', drawn, 0], ['loops', loops, 0]])) {
    if (!Number.isInteger(value) || value < least || value > 65535) throw new NibbleError('E_ARGUMENT', `${name} must be a whole number from ${least} to 65535, not ${value}`)
  }
  if (modelHash !== undefined && !/^[0-9a-f]{64}$/.test(modelHash)) throw new NibbleError('E_ARGUMENT', `modelHash must be 64 hexadecimal digits, not '${modelHash}'`)
  const plan = typeof text === 'string' ? planChunks(model, text, options) : chunksAsGiven(model, text)
  const { tokenizer } = model
  const { n_vocab } = tokenizer
  const k = Math.min(topK, n_vocab)
  const name = encodeUtf8(model.info.name).subarray(0, LIMITS.name)
  const out = new Output()
  out.raw(MAGIC)
  out.u32([VERSION, n_vocab, plan.n_ctx, plan.chunks.length, k, drawn, model.options.floatActivations ? FLOAT_ACTIVATIONS : 0, loops, name.length, 0])
  out.raw(modelHash ? modelHash.match(/../g)?.map((byte) => parseInt(byte, 16)) ?? [] : new Uint8Array(HASH))
  out.raw(await hashTokens(plan.chunks))
  out.raw(name)
  const writeIds = n_vocab <= 65536 ? out.u16.bind(out) : out.u32.bind(out)
  for (const tokens of plan.chunks) writeIds(tokens)
  const isKept = new Uint8Array(n_vocab)
  const loss = new Mean()
  for (const [index, tokens] of plan.chunks.entries()) {
    await visitPredictions(model, tokens, signal, (_, logits, next, session, passIndex) => {
      const top = session.topLogprobs(passIndex, k)
      logits = model.engine.heap.f32(session.logitsPtr(passIndex), n_vocab) // the call above may have moved the memory
      const logZ = logits[top[0][0]] - top[0][1]
      let count = 0, left = 1
      while (count < k && left > LEAST_TAIL) left -= Math.exp(top[count++][1])
      top.length = count
      for (const [token] of top) isKept[token] = 1
      let tail = 0
      for (let i = 0; i < n_vocab; i++) if (!isKept[i]) tail += Math.exp(logits[i] - logZ)
      // At equal steps of the tail's probability, beginning anywhere in the first: each token is met as often as it is probable.
      const draws = count === n_vocab ? 0 : Math.min(drawn, Math.ceil(tail * DRAWN_PER_TAIL))
      const ids = []
      let at = jitter(loss.n) * tail / draws
      for (let i = 0, sum = 0; i < n_vocab && ids.length < draws; i++) {
        if (isKept[i]) continue
        sum += Math.exp(logits[i] - logZ)
        for (; ids.length < draws && at < sum; at += tail / draws) ids.push(i)
      }
      for (const [token] of top) isKept[token] = 0
      const logprob = Math.min(0, logits[next] - logZ)
      loss.add(-logprob)
      out.u16([count, ids.length])
      out.f32([logprob, count === n_vocab ? 0 : Math.min(1, tail)])
      writeIds(top.map(([token]) => token))
      out.u16(top.map(([, p]) => coarse(p)))
      writeIds(ids)
      out.u16(ids.map((i) => coarse(logits[i] - logZ)))
    })
    onProgress?.(index + 1, plan.chunks.length, Math.exp(loss.value))
  }
  for (const { prompt, tokens } of await greedyTexts(model, promptsOf(plan, loops, tokenizer), { signal })) {
    out.u32([prompt.length, tokens.length])
    writeIds(prompt)
    writeIds(tokens)
  }
  out.raw(await sha256(out.bytes.subarray(0, out.length)))
  const ppl = Math.exp(loss.value)
  return { bytes: out.bytes.slice(0, out.length), evaluation: { ppl, ppl_error: loss.plainError * ppl, tokens: loss.n, n_ctx: plan.n_ctx, chunks: plan.chunks.length } }
}

/** A reference that was read and checked. */
export class Reference {
  /**
   * @param {Uint8Array} bytes
   * @param {{n_vocab: number, n_ctx: number, chunks: number[][], top_k: number, drawn: number, name: string, floatActivations: boolean, model_sha256: string | undefined,
   *   tokens_sha256: string, positions: Float64Array, greedy: import('./loops.js').Greedy[]}} parts
   */
  constructor(bytes, { n_vocab, n_ctx, chunks, top_k, drawn, name, floatActivations, model_sha256, tokens_sha256, positions, greedy }) {
    this.bytes = bytes.length
    this.name = name
    this.n_vocab = n_vocab
    this.n_ctx = n_ctx
    /** Token ids. */
    this.chunks = chunks
    this.top_k = top_k
    this.drawn = drawn
    this.floatActivations = floatActivations
    this.model_sha256 = model_sha256
    this.tokens_sha256 = tokens_sha256
    this.greedy = greedy
    this.positions = positions
    this.reader = new Reader(bytes, n_vocab)
  }

  /** Of a chunk the i-th prediction that counts. @param {number} chunk @param {number} i */
  prediction(chunk, i) {
    this.reader.at = this.positions[chunk * countOf(this.n_ctx) + i]
    return this.reader.prediction()
  }
}

/** Reads numbers; what reads beyond the end was checked against it before. */
class Reader {
  /** @param {Uint8Array} bytes @param {number} n_vocab */
  constructor(bytes, n_vocab) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length - HASH)
    this.at = HEADER
    this.idBytes = n_vocab <= 65536 ? 2 : 4
  }

  /** @param {number} bytes @param {string} what */
  need(bytes, what) {
    if (this.at + bytes > this.view.byteLength) throw new NibbleError('E_TRUNCATED', `the reference file ends within ${what}; copy or make it anew`)
  }

  u16() {
    return this.view.getUint16((this.at += 2) - 2, true)
  }

  u32() {
    return this.view.getUint32((this.at += 4) - 4, true)
  }

  f32() {
    return this.view.getFloat32((this.at += 4) - 4, true)
  }

  /** @param {number} n */
  ids(n) {
    return Array.from({ length: n }, () => (this.idBytes === 2 ? this.u16() : this.u32()))
  }

  /** @param {number} n */
  logprobs(n) {
    return Float64Array.from({ length: n }, () => -this.u16() / STEPS)
  }

  /** @returns {import('./figures.js').Kept & {logprob: number}} */
  prediction() {
    const kept = this.u16(), drawn = this.u16(), logprob = this.f32(), tail = this.f32()
    return { ids: this.ids(kept), logprobs: this.logprobs(kept), tail, drawn_ids: this.ids(drawn), drawn_logprobs: this.logprobs(drawn), logprob }
  }
}

/** @param {string} message */
const malformed = (message) => new NibbleError('E_FORMAT', `the reference file is malformed: ${message}`)

/**
 * Checks a prediction, so that no figure comes of nonsense.
 * @param {ReturnType<Reader['prediction']>} p @param {{n_vocab: number, top_k: number, seen: Int32Array, stamp: number}} of
 */
function checkPrediction({ ids, logprobs, tail, drawn_ids, logprob }, { n_vocab, top_k, seen, stamp }) {
  const where = `prediction ${stamp - 1}`
  if (ids.length < 1 || ids.length > top_k) throw malformed(`${where} keeps ${ids.length} tokens; 1 to ${top_k} are possible`)
  if (!(logprob <= 0 && logprob > -1e6)) throw malformed(`${where} has ${logprob} for a log-probability`)
  if (!(tail >= 0 && tail <= 1)) throw malformed(`${where} has ${tail} for a probability`)
  let sum = tail
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] >= n_vocab) throw malformed(`${where} names token ${ids[i]}, the vocabulary has ${n_vocab}`)
    if (seen[ids[i]] === stamp) throw malformed(`${where} names token ${ids[i]} twice`)
    seen[ids[i]] = stamp
    if (i && logprobs[i] > logprobs[i - 1]) throw malformed(`the probabilities of ${where} are not in falling order`)
    sum += Math.exp(logprobs[i])
  }
  for (let i = 0; i < drawn_ids.length; i++) {
    if (drawn_ids[i] >= n_vocab || seen[drawn_ids[i]] === stamp) throw malformed(`${where} has drawn token ${drawn_ids[i]}, which is not of the tail`)
  }
  if (Math.abs(sum - 1) > 2e-3) throw malformed(`the probabilities of ${where} sum to ${sum.toFixed(4)}`)
}

/**
 * Reads a reference file, trusting nothing in it.
 * @param {Uint8Array} bytes
 * @returns {Promise<Reference>}
 */
export async function openReference(bytes) {
  if (!isReference(bytes)) throw new NibbleError('E_FORMAT', 'this is not a reference file; make one with `nibble perplexity … --save-reference`')
  if (bytes.length < HEADER + HASH) throw new NibbleError('E_TRUNCATED', `the reference file has ${bytes.length} bytes, fewer than its header; copy or make it anew`)
  const header = new DataView(bytes.buffer, bytes.byteOffset, HEADER)
  const [version, n_vocab, n_ctx, n_chunks, top_k, drawn, flags, n_greedy, nameBytes, zero] = Array.from({ length: 10 }, (_, i) => header.getUint32(8 + 4 * i, true))
  if (version !== VERSION) throw new NibbleError('E_UNSUPPORTED', `the reference file is of version ${version}, this program reads ${VERSION}; make it anew`)
  for (const [name, value, least, most] of /** @type {const} */ ([['n_vocab', n_vocab, 1, LIMITS.n_vocab], ['n_ctx', n_ctx, 8, LIMITS.n_ctx], ['chunks', n_chunks, 1, LIMITS.chunks],
    ['the number of kept tokens', top_k, 1, Math.min(n_vocab, 65535)], ['the number of drawn tokens', drawn, 0, 65535], ['flags', flags, 0, FLOAT_ACTIVATIONS],
    ['the number of greedy texts', n_greedy, 0, LIMITS.greedy], ['the length of the name', nameBytes, 0, LIMITS.name], ['the reserved field', zero, 0, 0]])) {
    if (value < least || value > most) throw malformed(`${name} is ${value}; ${least} to ${most} are possible`)
  }
  const reader = new Reader(bytes, n_vocab)
  const per = countOf(n_ctx)
  // The least that can follow, before anything is made of these numbers' size.
  reader.need(nameBytes + n_chunks * (n_ctx * reader.idBytes + per * 12), 'what its header promises')
  const digest = await sha256(bytes.subarray(0, bytes.length - HASH))
  if (!digest.every((byte, i) => byte === bytes[bytes.length - HASH + i])) throw new NibbleError('E_INTEGRITY', 'the reference file is damaged or incomplete: its checksum is another one; copy or make it anew')
  const name = decodeUtf8(bytes.slice(HEADER, HEADER + nameBytes))
  reader.at += nameBytes
  const checked = (/** @type {number} */ n, /** @type {string} */ what) => {
    reader.need(n * reader.idBytes, what)
    const ids = reader.ids(n)
    for (const id of ids) if (id >= n_vocab) throw malformed(`${what} have token ${id}, the vocabulary has ${n_vocab}`)
    return ids
  }
  const chunks = Array.from({ length: n_chunks }, () => checked(n_ctx, 'the tokens'))
  const tokens_sha256 = hex(bytes.slice(80, 112))
  if (hex(await hashTokens(chunks)) !== tokens_sha256) throw malformed('its tokens are not those of its header')
  const positions = new Float64Array(n_chunks * per)
  const seen = new Int32Array(n_vocab)
  for (let i = 0; i < positions.length; i++) {
    positions[i] = reader.at
    reader.need(12, 'its predictions')
    const kept = reader.u16(), taken = reader.u16()
    if (taken > drawn) throw malformed(`prediction ${i} has ${taken} drawn tokens; at most ${drawn} are possible`)
    reader.at -= 4
    reader.need(12 + (kept + taken) * (reader.idBytes + 2), 'its predictions')
    checkPrediction(reader.prediction(), { n_vocab, top_k, seen, stamp: i + 1 })
  }
  const greedy = Array.from({ length: n_greedy }, () => {
    reader.need(8, 'its greedy texts')
    const prompt = reader.u32(), length = reader.u32()
    return { prompt: checked(prompt, 'its greedy texts'), tokens: checked(length, 'its greedy texts') }
  })
  if (reader.at !== reader.view.byteLength) throw malformed(`${reader.view.byteLength - reader.at} bytes are left over`)
  const hash = bytes.slice(48, 80)
  return new Reference(bytes, {
    n_vocab, n_ctx, chunks, top_k, drawn, name, floatActivations: (flags & FLOAT_ACTIVATIONS) !== 0, positions, greedy, tokens_sha256,
    model_sha256: hash.some((byte) => byte) ? hex(hash) : undefined,
  })
}
