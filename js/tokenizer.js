/**
 * Text to token ids and back, on the library's tokenizer.
 */
import { NibbleError } from './errors.js'
import { decodeUtf8, encodeUtf8 } from './memory.js'

// nb_encode_flags and nb_decode_flags (src/text/tokenizer.h)
const ENCODE_SPECIAL = 1
const ENCODE_PARSE = 2
const ENCODE_CONTINUE = 4
const DECODE_SPECIAL = 1
const DECODE_KEEP_SPACE = 2
const DECODE_RAW = 4

const KINDS = /** @type {const} */ (['undefined', 'normal', 'unknown', 'control', 'user_defined', 'unused', 'byte'])

/**
 * @typedef {object} EncodeOptions
 * @property {boolean} [addSpecial]  add BOS and EOS where the model asks for them (default true)
 * @property {boolean} [parseSpecial]  control tokens spelled out in the text become those tokens (default false)
 * @property {boolean} [continuation]  the text goes on from other text: no space is put in front (default false)
 *
 * @typedef {object} DecodeOptions
 * @property {boolean} [special]  write control tokens as they are spelled (default false: they give nothing)
 * @property {boolean} [continuation]  keep the space in front of the first word (default false)
 */

export class Tokenizer {
  /**
   * @param {import('./runtime.js').Engine} engine
   * @param {number} ptr  nb_tokenizer
   * @param {{info: import('./info.js').ModelInfo}} of
   */
  constructor(engine, ptr, { info }) {
    this.engine = engine
    this.ptr = ptr
    this.info = info
    this.n_vocab = engine.call('nb_tokenizer_n_vocab', ptr)
    /** Ids; -1 where the model has none. */
    this.bos = engine.call('nb_tokenizer_bos', ptr)
    this.eos = engine.call('nb_tokenizer_eos', ptr)
    this.eot = engine.call('nb_tokenizer_eot', ptr)
    this.addBos = engine.call('nb_tokenizer_add_bos', ptr) !== 0
    this.addEos = engine.call('nb_tokenizer_add_eos', ptr) !== 0
  }

  /**
   * @param {string} text
   * @param {EncodeOptions} [options]
   * @returns {number[]}
   */
  encode(text, { addSpecial = true, parseSpecial = false, continuation = false } = {}) {
    if (typeof text !== 'string') throw new NibbleError('E_ARGUMENT', `the text to tokenize is ${text === null ? 'null' : `of type ${typeof text}`}, not a string`)
    const { engine } = this
    const flags = (addSpecial ? ENCODE_SPECIAL : 0) | (parseSpecial ? ENCODE_PARSE : 0) | (continuation ? ENCODE_CONTINUE : 0)
    return engine.withBytes(encodeUtf8(text), (ptr, n) => {
      for (let capacity = (n >> 1) + 16; ; ) {
        const ids = engine.alloc(capacity * 4)
        try {
          engine.check('nb_tokenizer_encode', this.ptr, ptr, n, flags, ids, capacity, engine.out)
          const needed = engine.heap.u32(engine.out, 1)[0]
          if (needed <= capacity) return Array.from(engine.heap.i32(ids, needed))
          capacity = needed
        } finally {
          engine.free(ids)
        }
      }
    })
  }

  /**
   * A text for the model to go on from: as encode() gives it, but without the EOS that some models put behind finished texts.
   * @param {string} text
   * @param {EncodeOptions} [options]
   */
  encodePrompt(text, options) {
    const ids = this.encode(text, options)
    if (this.addEos && (options?.addSpecial ?? true)) ids.pop()
    return ids
  }

  /**
   * @param {ArrayLike<number>} ids
   * @param {DecodeOptions} [options]
   * @returns {string}
   */
  decode(ids, { special = false, continuation = false } = {}) {
    return decodeUtf8(this.write(ids, (special ? DECODE_SPECIAL : 0) | (continuation ? DECODE_KEEP_SPACE : 0)))
  }

  /** The bytes a token stands for, which may be a part of a character. @param {number} id */
  bytes(id) {
    return this.write([id], DECODE_SPECIAL | DECODE_KEEP_SPACE | DECODE_RAW)
  }

  /** @param {ArrayLike<number>} ids @param {number} flags  nb_decode_flags @returns {Uint8Array} */
  write(ids, flags) {
    const { engine } = this
    return this.withIds(ids, (ptr, n) => {
      for (let capacity = 8 * n + 64; ; ) {
        const text = engine.alloc(capacity)
        try {
          const needed = engine.ptr('nbw_detokenize', this.ptr, ptr, n, flags, text, capacity)
          if (needed === 0xffffffff) throw new NibbleError('E_NOMEM', 'not enough memory to write the text')
          if (needed <= capacity) return engine.heap.bytes(text, needed).slice()
          capacity = needed
        } finally {
          engine.free(text)
        }
      }
    })
  }

  /** The vocabulary's own spelling of a token. @param {number} id */
  piece(id) {
    const ptr = this.engine.ptr('nbw_token_piece', this.ptr, id, this.engine.out)
    return this.engine.heap.string(ptr, this.engine.heap.u32(this.engine.out, 1)[0])
  }

  /** @param {number} id */
  kind(id) {
    return KINDS[this.engine.call('nb_tokenizer_kind', this.ptr, id)]
  }

  /** Whether the token ends a text or a turn. @param {number} id */
  isEog(id) {
    return this.engine.call('nb_tokenizer_is_eog', this.ptr, id) !== 0
  }

  /**
   * The spellings that encode() recognises as one token: the control tokens (and <unk>), which it looks for with parseSpecial alone, and the
   * user-defined ones, which it finds in any text. What a person wrote must never turn into the former; the latter are ordinary text, such as
   * the <think> of some models or runs of spaces.
   * @returns {import('./guard.js').Specials}
   */
  specials() {
    if (!this._specials) {
      /** @type {import('./guard.js').Specials} */
      const specials = { control: [], user_defined: [] }
      for (let id = 0; id < this.n_vocab; id++) {
        const kind = this.kind(id)
        if (kind === 'control' || kind === 'unknown') specials.control.push(this.piece(id))
        else if (kind === 'user_defined') specials.user_defined.push(this.piece(id))
      }
      this._specials = specials
    }
    return this._specials
  }

  /** @param {ArrayLike<number>} ids */
  checkIds(ids) {
    for (let i = 0; i < ids.length; i++) {
      if (!Number.isInteger(ids[i]) || ids[i] < 0 || ids[i] >= this.n_vocab) {
        throw new NibbleError('E_ARGUMENT', `token ${ids[i]} at index ${i} is outside the vocabulary of ${this.n_vocab}`)
      }
    }
  }

  /**
   * @template T
   * @param {ArrayLike<number>} ids
   * @param {(ptr: number, n: number) => T} use
   * @returns {T}
   */
  withIds(ids, use) {
    this.checkIds(ids)
    const list = Int32Array.from(ids)
    return this.engine.withBytes(new Uint8Array(list.buffer), (ptr) => use(ptr, list.length))
  }

  /** Frees the engine and everything in it, where the tokenizer was loaded alone. */
  dispose() {
    this.engine.close()
  }
}
