/**
 * tokenizer.model: a SentencePiece vocabulary as a Protocol Buffers message (sentencepiece_model.proto). Only what GGUF files carry is read; the bytes
 * are taken for hostile.
 */
import { NibbleError } from '../errors.js'

const TOKENS_LIMIT = 1 << 22

/** @param {string} what */
const malformed = (what) => new NibbleError('E_FORMAT', `tokenizer.model: ${what}; the file is damaged, or no SentencePiece model`)

/**
 * The fields of a message, one after the other.
 * @param {Uint8Array} bytes
 * @returns {Generator<{field: number, value: number | Uint8Array}>} whole numbers below 2^53, or the bytes of what has any other type
 */
function* fields(bytes) {
  let at = 0
  const varint = () => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      if (at >= bytes.length) throw malformed('a number is cut off')
      if (shift > 63) throw malformed('a number is too long')
      const byte = bytes[at++]
      value += (byte & 127) * 2 ** shift
      if (byte < 128) return value
    }
  }
  const take = (/** @type {number} */ n) => {
    if (n > bytes.length - at) throw malformed(`a field of ${n} bytes is cut off`)
    return bytes.subarray(at, at += n)
  }
  while (at < bytes.length) {
    const key = varint(), field = Math.floor(key / 8), wire = key % 8
    if (field < 1 || field > 2 ** 29) throw malformed('a field has no usable number')
    if (wire === 0) yield { field, value: varint() }
    else if (wire === 1) yield { field, value: take(8) }
    else if (wire === 2) yield { field, value: take(varint()) }
    else if (wire === 5) yield { field, value: take(4) }
    else throw malformed(`a field has the type ${wire}`)
  }
}

/** @param {number | Uint8Array} value @returns {Uint8Array} */
function bytesOf(value) {
  if (typeof value === 'number') throw malformed('a field is a number where it must be bytes')
  return value
}

/** @param {number | Uint8Array} value @returns {number} */
function numberOf(value) {
  if (typeof value !== 'number') throw malformed('a field is no number where it must be one')
  return value
}

/** @param {Uint8Array} bytes */
function pieceOf(bytes) {
  let text = '', score = 0, type = 1
  for (const { field, value } of fields(bytes)) {
    if (field === 1) {
      try {
        text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytesOf(value))
      } catch (error) {
        if (error instanceof TypeError) throw malformed('a token is not UTF-8 text')
        throw error
      }
    } else if (field === 2) {
      const raw = bytesOf(value)
      if (raw.length !== 4) throw malformed('a score has not 4 bytes')
      score = new DataView(raw.buffer, raw.byteOffset, 4).getFloat32(0, true)
      if (Number.isNaN(score)) throw malformed('a score is not a number')
    } else if (field === 3) type = numberOf(value)
  }
  if (type < 1 || type > 6) throw malformed(`a token has the type ${type}`)
  return { text, score, type }
}

/**
 * @param {Uint8Array} bytes @param {string[]} notes
 * @returns {import('./hf-tokenizer.js').Vocabulary}
 */
export function readSentencePiece(bytes, notes) {
  /** @type {string[]} */
  const tokens = [], /** @type {number[]} */ scores = [], /** @type {number[]} */ types = []
  let kind = 1, prefix = true, squeeze = true
  for (const { field, value } of fields(bytes)) {
    if (field === 1) {
      const { text, score, type } = pieceOf(bytesOf(value))
      if (tokens.length === TOKENS_LIMIT) throw malformed(`it has more than ${TOKENS_LIMIT} tokens`)
      if (text === '' || text.length > 2048) throw malformed(`the token ${tokens.length} is ${text === '' ? 'empty' : 'too long'}`)
      tokens.push(text)
      scores.push(score)
      types.push(type)
    } else if (field === 2) {
      for (const { field: inner, value: v } of fields(bytesOf(value))) if (inner === 3) kind = numberOf(v)
    } else if (field === 3) {
      for (const { field: inner, value: v } of fields(bytesOf(value))) {
        if (inner === 2 && bytesOf(v).length > 0) notes.push('the tokenizer normalizes text before it reads it (a table in tokenizer.model); programs that run GGUF files take text as it is')
        if (inner === 3) prefix = numberOf(v) !== 0
        if (inner === 4) squeeze = numberOf(v) !== 0
      }
    }
  }
  if (tokens.length === 0) throw malformed('it has no tokens')
  if (new Set(tokens).size !== tokens.length) throw malformed('two tokens are spelled alike')
  if (kind !== 2) throw new NibbleError('E_UNSUPPORTED', `tokenizer.model: the vocabulary is of the kind ${['', 'Unigram', 'BPE', 'Word', 'Char'][kind] ?? kind}; only byte-pair vocabularies (BPE) are run`)
  if (squeeze) throw new NibbleError('E_UNSUPPORTED', 'tokenizer.model: it removes repeated spaces (remove_extra_whitespaces), which is not run')
  return { model: 'llama', tokens, types, scores, spacePrefix: prefix }
}
