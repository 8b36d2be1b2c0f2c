/**
 * A loaded model and what can be asked of it.
 */
import { ChatCompletions } from './chat.js'
import { Completions } from './completions.js'
import { NibbleError } from './errors.js'
import { TokenSession } from './generate.js'
import { Tokenizer } from './tokenizer.js'

/** Frees the memory of models that were forgotten without dispose(); nobody should rely on it. */
const forgotten = new FinalizationRegistry((/** @type {import('./runtime.js').Engine} */ engine) => engine.close())

export class Model {
  /**
   * @param {import('./runtime.js').Engine} engine
   * @param {number} ptr  nb_model
   * @param {import('./info.js').ModelInfo} info
   * @param {import('./load.js').LoadOptions} options
   * @param {number} load_s
   */
  constructor(engine, ptr, info, options, load_s) {
    this.engine = engine
    this.ptr = ptr
    this.load_s = load_s
    this.tokenizer = new Tokenizer(engine, engine.make('nbw_tokenizer_new', ptr), { info })
    if (this.tokenizer.n_vocab !== info.config.n_vocab) {
      throw new NibbleError('E_FORMAT', `the tokenizer has ${this.tokenizer.n_vocab} tokens, the embedding ${info.config.n_vocab} rows`)
    }
    /** The conversation that completions and chat use in turn; what they have in common with the one before is not evaluated again. */
    this.main = new TokenSession(engine, ptr, this.tokenizer, options)
    this.contextLength = this.main.n_ctx
    /** What this model is: see ModelInfo. */
    this.info = { ...info, n_ctx: this.contextLength, n_ctx_train: info.n_ctx, variant: engine.variant, memory: () => ({ wasm_bytes: engine.heap.byteLength }) }
    this.options = options
    this.queue = Promise.resolve()
    this.completions = new Completions(this)
    this.chat = { completions: new ChatCompletions(this) }
    forgotten.register(this, engine, this)
  }

  /**
   * Runs work that uses the main session when everything asked before is done.
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  exclusive(work) {
    const result = this.queue.then(() => {
      if (this.engine.dead) throw this.engine.dead
      return work()
    })
    this.queue = result.then(() => {}, () => {})
    return result
  }

  /** Waits for the main session; the caller must call what it returns when it is done. @returns {Promise<() => void>} */
  acquire() {
    return new Promise((resolve, reject) => {
      this.exclusive(() => new Promise((release) => resolve(() => release(undefined)))).catch(reject)
    })
  }

  /**
   * @param {string} text
   * @param {import('./tokenizer.js').EncodeOptions} [options]
   */
  tokenize(text, options) {
    return this.tokenizer.encode(text, options)
  }

  /**
   * @param {ArrayLike<number>} ids
   * @param {import('./tokenizer.js').DecodeOptions} [options]
   */
  detokenize(ids, options) {
    return this.tokenizer.decode(ids, options)
  }

  /**
   * Calls visit for each given token with the session and the index of its logits in the pass under way.
   * @param {ArrayLike<number>} ids
   * @param {AbortSignal | undefined} signal
   * @param {(position: number, passIndex: number, session: TokenSession) => void} visit
   */
  async visitLogits(ids, signal, visit) {
    const list = Array.from(ids)
    if (list.length === 0) throw new NibbleError('E_ARGUMENT', 'there are no tokens')
    await this.exclusive(async () => {
      const { main } = this
      main.truncate(0)
      main.reset(list)
      let position = 0
      await main.evaluate(signal, () => {
        for (let i = 0, n = main.passLength; i < n; i++) visit(position++, i, main)
      })
    })
  }

  /**
   * Logits [n_vocab] behind the last token.
   * @param {ArrayLike<number>} ids
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<Float32Array>}
   */
  async logits(ids, { signal } = {}) {
    /** @type {Float32Array | undefined} */
    let result
    await this.visitLogits(ids, signal, (position, i, session) => {
      if (position === ids.length - 1) result = this.engine.heap.f32(session.logitsPtr(i), this.tokenizer.n_vocab).slice()
    })
    return /** @type {Float32Array} */ (result)
  }

  /**
   * Log-probability of every token given those before it. The first one has none before it, and null.
   * @param {string | ArrayLike<number>} text  ids, or text, which is tokenized as a prompt
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<{tokens: number[], logprobs: (number | null)[]}>}
   */
  async score(text, { signal } = {}) {
    const tokens = typeof text === 'string' ? this.tokenize(text) : Array.from(text)
    /** @type {(number | null)[]} */
    const logprobs = [null]
    await this.visitLogits(tokens, signal, (position, i, session) => {
      if (position + 1 < tokens.length) logprobs.push(session.logprob(i, tokens[position + 1]))
    })
    return { tokens, logprobs }
  }

  /** Frees everything. Work under way ends with E_DISPOSED; calling it again does nothing. */
  async dispose() {
    forgotten.unregister(this)
    this.engine.close()
    await this.queue
  }
}
