/**
 * model.embeddings: texts in, vectors out. The shape of OpenAI's embeddings.
 */
import { NibbleError } from './errors.js'
import { checkNames, integer } from './options.js'

/**
 * @typedef {object} EmbeddingOptions
 * @property {string | string[] | number[] | number[][]} input  a text or the ids of its tokens, or an array of such
 * @property {'float' | 'base64'} [encoding_format]  base64: of the numbers as little-endian 32-bit floats
 * @property {number} [dimensions]  only so many of the first numbers, for models that were trained for that; their length is 1 again
 * @property {AbortSignal} [signal]
 *
 * @typedef {object} EmbeddingResult
 * @property {'list'} object
 * @property {{object: 'embedding', index: number, embedding: number[] | string}[]} data  embedding: of length 1; a string with encoding_format 'base64'
 * @property {string} model
 * @property {{prompt_tokens: number, total_tokens: number}} usage
 */

/** What OpenAI takes at most in one call. */
const MOST_INPUTS = 2048
const NAMES = ['input', 'encoding_format', 'dimensions', 'signal', 'model', 'user']

/** How the states of a text's tokens become one, by the number that a file gives in `*.pooling_type`. */
const POOLING = /** @type {const} */ ({ 0: 'mean', 1: 'mean', 2: 'first', 3: 'last' }) // 0: the file names none

/** @param {import('./info.js').ModelInfo} info */
function poolingOf({ architecture, metadata }) {
  const type = metadata[`${architecture}.pooling_type`] ?? 0
  const pooling = /** @type {Record<string, 'mean' | 'first' | 'last' | undefined>} */ (POOLING)[String(type)]
  if (!pooling) throw new NibbleError('E_UNSUPPORTED', `the model pools in a way (pooling_type ${type}) that gives no embeddings in this version; use a model with mean, CLS or last-token pooling`)
  return pooling
}

/**
 * Length 1, for all that are not zero.
 * @param {Float64Array} vector
 */
function normalised(vector) {
  const length = Math.hypot(...vector)
  return Float32Array.from(vector, (x) => (length > 0 ? x / length : 0))
}

/** Little-endian on every machine. @param {Float32Array} vector */
function toBase64(vector) {
  const view = new DataView(new ArrayBuffer(vector.length * 4))
  vector.forEach((x, i) => view.setFloat32(i * 4, x, true))
  let text = ''
  for (const byte of new Uint8Array(view.buffer)) text += String.fromCharCode(byte)
  return btoa(text)
}

export class Embeddings {
  /** @param {import('./model.js').Model} model */
  constructor(model) {
    this.model = model
  }

  /** The token ids of each input, checked. @param {unknown} input @returns {number[][]} */
  encode(input) {
    const { tokenizer, main } = this.model
    const isIds = (/** @type {unknown} */ one) => Array.isArray(one) && typeof one[0] === 'number'
    const list = Array.isArray(input) && !isIds(input) ? input : [input]
    if (list.length === 0 || list.length > MOST_INPUTS) throw new NibbleError('E_ARGUMENT', `input must have from 1 to ${MOST_INPUTS} texts, not ${list.length}`)
    return list.map((one) => {
      if (typeof one !== 'string' && !isIds(one)) throw new NibbleError('E_ARGUMENT', 'input must be a string, an array of token ids, or an array of such')
      const ids = typeof one === 'string' ? tokenizer.encode(one) : one
      if (one === '' || ids.length === 0) throw new NibbleError('E_ARGUMENT', 'input must not hold an empty text')
      main.checkPrompt(ids)
      return ids
    })
  }

  /**
   * A vector for each text: the states of its tokens behind the final norm, pooled as the model's file says (their mean, if it says nothing), of
   * length 1. Uses the main session: the next completion evaluates its prompt anew.
   * @param {EmbeddingOptions} options
   * @returns {Promise<EmbeddingResult>}
   */
  async create(options) {
    checkNames(options, (name) => NAMES.includes(name))
    const { model } = this
    const { d_model } = model.info.config
    const format = options.encoding_format ?? 'float', dimensions = options.dimensions ?? d_model
    if (format !== 'float' && format !== 'base64') throw new NibbleError('E_ARGUMENT', `encoding_format must be 'float' or 'base64', not '${format}'`)
    integer(dimensions, 'dimensions', 1, d_model)
    const pooling = poolingOf(model.info)
    const inputs = this.encode(options.input)
    /** @type {EmbeddingResult['data']} */
    const data = []
    for (const [index, ids] of inputs.entries()) {
      const sum = new Float64Array(d_model)
      await model.visitLogits(ids, options.signal, (position, i, session) => {
        if (pooling === 'first' && position > 0 || pooling === 'last' && position < ids.length - 1) return
        session.hidden(i, d_model).forEach((x, j) => { sum[j] += x })
      })
      const vector = normalised(sum.subarray(0, dimensions)) // of a mean, the number of tokens goes with the length
      data.push({ object: 'embedding', index, embedding: format === 'base64' ? toBase64(vector) : Array.from(vector) })
    }
    const tokens = inputs.reduce((n, ids) => n + ids.length, 0)
    return { object: 'list', data, model: model.info.name, usage: { prompt_tokens: tokens, total_tokens: tokens } }
  }
}
