/**
 * Checking what callers pass: the names of the OpenAI interface and llama.cpp's additions to it.
 */
import { NibbleError } from './errors.js'

/**
 * @typedef {object} GenerateOptions
 * @property {number} [max_tokens]  default: until the text or the context ends
 * @property {number} [max_completion_tokens]  the newer name of max_tokens
 * @property {number} [temperature]  0: always the most probable token
 * @property {number} [top_k]
 * @property {number} [top_p]
 * @property {number} [min_p]
 * @property {number} [typical_p]
 * @property {number} [repeat_penalty]
 * @property {number} [repeat_last_n]  tokens that the three penalties look back; -1: all
 * @property {number} [frequency_penalty]
 * @property {number} [presence_penalty]
 * @property {Record<string, number> | [number, number][]} [logit_bias]  token id -> number added to its logit
 * @property {string | string[]} [stop]
 * @property {number | bigint} [seed]  the same seed gives the same text; random where missing
 * @property {boolean} [stream]
 * @property {{include_usage?: boolean} | null} [stream_options]  include_usage: the figures also come in a chunk of their own, without choices, behind the last
 * @property {boolean} [ignore_eos]  go on where the model ends its text
 * @property {boolean} [special]  write control tokens into the text
 * @property {'stop' | 'slide'} [context_overflow]  when the context is full during generation: 'stop' ends with finish_reason 'length'
 *   (default); 'slide' forgets the oldest half and goes on
 * @property {AbortSignal} [signal]
 */

const NUMBERS = ['temperature', 'top_k', 'top_p', 'min_p', 'typical_p', 'repeat_penalty', 'frequency_penalty', 'presence_penalty', 'repeat_last_n']
const COMMON = new Set([...NUMBERS, 'max_tokens', 'max_completion_tokens', 'logit_bias', 'stop', 'seed', 'stream', 'ignore_eos', 'special', 'context_overflow', 'signal',
  'logprobs', 'top_logprobs', 'n', 'stream_options'])
/** Names that other servers understand and that change nothing here. */
const IGNORED = new Set(['model', 'user', 'store', 'metadata', 'service_tier'])

/**
 * Refuses unknown names, so that a misspelt option is never silently without effect.
 * @param {Record<string, any>} options @param {(name: string) => boolean} known
 */
export function checkNames(options, known) {
  if (options === null || typeof options !== 'object') throw new NibbleError('E_ARGUMENT', 'the options must be an object')
  for (const name of Object.keys(options)) {
    if (options[name] !== undefined && !known(name)) throw new NibbleError('E_ARGUMENT', `there is no option '${name}'`)
  }
}

/** The names in the options of a generation. @param {GenerateOptions & Record<string, any>} options @param {string[]} more  of this call beside the common ones */
export function checkGenerateNames(options, more) {
  checkNames(options, (name) => COMMON.has(name) || IGNORED.has(name) || more.includes(name))
  if (![undefined, null, 1].includes(/** @type {any} */ (options.n))) throw new NibbleError('E_UNSUPPORTED', 'n must be 1: ask again for another choice')
  const streaming = options.stream_options ?? {}
  checkNames(streaming, (name) => name === 'include_usage' || name === 'include_obfuscation') // the latter changes nothing here
  if (typeof (streaming.include_usage ?? false) !== 'boolean') throw new NibbleError('E_ARGUMENT', `stream_options.include_usage must be true or false, not ${streaming.include_usage}`)
}

/** @param {unknown} value @param {string} name @param {number} lo @param {number} hi */
function number(value, name, lo, hi) {
  if (typeof value !== 'number' || !(value >= lo && value <= hi)) throw new NibbleError('E_ARGUMENT', `${name} must be a number from ${lo} to ${hi}, not ${value}`)
  return value
}

/** @param {unknown} value @param {string} name @param {number} lo @param {number} hi */
export function integer(value, name, lo, hi) {
  if (!Number.isInteger(value)) throw new NibbleError('E_ARGUMENT', `${name} must be a whole number, not ${value}`)
  return number(value, name, lo, hi)
}

/** @param {GenerateOptions['stop']} stop */
function stopStrings(stop) {
  const list = stop === undefined || stop === null ? [] : Array.isArray(stop) ? stop : [stop]
  for (const s of list) if (typeof s !== 'string' || s === '') throw new NibbleError('E_ARGUMENT', 'stop must be a string that is not empty, or an array of such')
  return list
}

/** Where a generation ends. @param {GenerateOptions} options */
export function limits(options) {
  const maxTokens = options.max_completion_tokens ?? options.max_tokens ?? undefined
  if (maxTokens !== undefined) integer(maxTokens, 'max_tokens', 0, 2 ** 31 - 1)
  const overflow = options.context_overflow ?? 'stop'
  if (overflow !== 'stop' && overflow !== 'slide') throw new NibbleError('E_ARGUMENT', `context_overflow must be 'stop' or 'slide', not '${overflow}'`)
  return { maxTokens, stops: stopStrings(options.stop), slides: overflow === 'slide' }
}

/** @param {GenerateOptions['logit_bias']} bias @param {number} n_vocab @returns {[number, number][]} */
function logitBias(bias, n_vocab) {
  if (bias === undefined || bias === null) return []
  const pairs = Array.isArray(bias) ? bias : Object.entries(bias).map(([id, value]) => /** @type {[number, number]} */ ([/^\d+$/.test(id) ? Number(id) : id, value]))
  for (const pair of pairs) {
    const [id, value] = Array.isArray(pair) ? pair : [pair, undefined]
    if (typeof id !== 'number' || typeof value !== 'number' || Number.isNaN(value)) throw new NibbleError('E_ARGUMENT', `logit_bias maps token ids to numbers, not ${id} to ${value}`)
    integer(id, 'a token of logit_bias', 0, n_vocab - 1)
  }
  return pairs
}

/** 64 bits of seed. @param {GenerateOptions['seed']} seed @returns {bigint} */
export function resolveSeed(seed) {
  if (seed === undefined || seed === null) {
    const [high, low] = crypto.getRandomValues(new Uint32Array(2))
    return BigInt(high & 0x1fffff) << 32n | BigInt(low) // 53 bits: can be given back as a number
  }
  if (typeof seed !== 'bigint' && !Number.isSafeInteger(seed)) throw new NibbleError('E_ARGUMENT', `seed must be a whole number or a bigint, not ${seed}`)
  return BigInt.asUintN(64, BigInt(seed))
}

/** How llama.cpp's converter writes a publisher's recommendations into a file: option -> key behind `general.sampling.` */
const RECOMMENDED = { temperature: 'temp', top_k: 'top_k', top_p: 'top_p', min_p: 'min_p', repeat_penalty: 'penalty_repeat', repeat_last_n: 'penalty_last_n' }

/**
 * The sampling that a model's file recommends, of `general.sampling.*`: what options are where the caller sets none.
 * @param {Record<string, unknown>} metadata @returns {Partial<GenerateOptions>}
 */
export const recommended = (metadata) => Object.fromEntries(Object.entries(RECOMMENDED).flatMap(([name, key]) => {
  const value = metadata[`general.sampling.${key}`]
  return typeof value === 'number' && value >= 0 && value <= 1e6 ? [[name, value]] : []
}))

/**
 * Creates the library's sampler from options.
 * @param {import('./runtime.js').Engine} engine
 * @param {number} n_vocab
 * @param {GenerateOptions} options
 * @param {bigint} seed
 */
export function makeSampler(engine, n_vocab, options, seed) {
  engine.call('nbw_sampling_defaults', engine.out)
  const values = Array.from(engine.heap.f64(engine.out, NUMBERS.length))
  NUMBERS.forEach((name, i) => {
    const value = /** @type {any} */ (options)[name] ?? /** @type {any} */ (engine.sampling)[name]
    if (value === undefined || value === null) return
    values[i] = name === 'top_k' || name === 'repeat_last_n' ? integer(value, name, -1, 1e9) : number(value, name, -1e9, 1e9)
  })
  if (values[1] < 0) values[1] = 0 // top_k -1 means all, as 0 does
  const bias = logitBias(options.logit_bias, n_vocab)
  const pairs = new DataView(new ArrayBuffer(bias.length * 8))
  bias.forEach(([id, value], i) => {
    pairs.setInt32(i * 8, id, true)
    pairs.setFloat32(i * 8 + 4, value, true)
  })
  return engine.withBytes(new Uint8Array(pairs.buffer), (ptr) =>
    engine.make('nbw_sampler_new', n_vocab, ...values, Number(seed & 0xffffffffn), Number(seed >> 32n), ptr, bias.length))
}
