/**
 * A loaded model and what can be asked of it.
 */
import { ChatCompletions } from './chat.js'
import { Completions } from './completions.js'
import { Embeddings } from './embeddings.js'
import { NibbleError } from './errors.js'
import { TokenSession } from './generate.js'
import { recommended } from './options.js'
import { Session } from './session.js'
import { abortError } from './source.js'
import { Tokenizer } from './tokenizer.js'
import { Turns } from './turns.js'

/** Forgotten without dispose(), it is collected as any other object, and its memory with it; when, nobody knows. */
export class Model {
  /**
   * @param {import('./runtime.js').Engine} engine
   * @param {number} ptr  nb_model
   * @param {number} tokenizer  nb_tokenizer
   * @param {import('./info.js').ModelInfo} info
   * @param {import('./load.js').LoadOptions} options
   * @param {number} load_s
   */
  constructor(engine, ptr, tokenizer, info, options, load_s) {
    this.engine = engine
    this.ptr = ptr
    this.load_s = load_s
    engine.sampling = recommended(info.metadata)
    this.tokenizer = new Tokenizer(engine, tokenizer, { info })
    if (this.tokenizer.n_vocab !== info.config.n_vocab) {
      throw new NibbleError('E_FORMAT', `the tokenizer has ${this.tokenizer.n_vocab} tokens, the embedding ${info.config.n_vocab} rows`)
    }
    /** The conversation that completions and chat use in turn; what they have in common with the one before is not evaluated again. */
    this.main = new TokenSession(engine, ptr, this.tokenizer, options)
    this.contextLength = this.main.n_ctx
    /** What this model is: see ModelInfo. `sums`: in how many bits the relaxed variant sums products, 16 or 32, whichever is the faster here. */
    this.info = { ...info, n_ctx: this.contextLength, n_ctx_train: info.n_ctx, variant: engine.variant, ...(engine.variant === 'relaxed' && { sums: engine.sums }), get threads() { return engine.threads }, memory: () => ({ wasm_bytes: engine.heap.byteLength }) }
    this.options = options
    /** Of the main session. */
    this.turns = new Turns()
    /** Of the sessions that there are. @type {Set<Turns>} */
    this.sessions = new Set()
    engine.onTrap = (error) => this.close(error)
    this.completions = new Completions(this)
    this.chat = { completions: new ChatCompletions(this) }
    this.embeddings = new Embeddings(this)
  }

  /** Waits for the main session; the caller must call what it returns when it is done. @param {AbortSignal} [signal] */
  async takeTurn(signal) {
    const leave = await this.turns.take(signal)
    if (signal?.aborted) throw abortError(undefined, signal) // in the meantime, which has ended the turn
    return leave
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
    const leave = await this.takeTurn(signal)
    try {
      const { main } = this
      main.truncate(0)
      main.reset(list)
      let position = 0
      await main.evaluate(signal, () => {
        for (let i = 0, n = main.passLength; i < n; i++) visit(position++, i, main)
      })
    } finally {
      leave()
    }
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

  /**
   * A conversation with a memory of its own, which takes as much as that of the model itself for the same number of tokens (E_NOMEM). Sessions
   * and the other calls use the model in turn.
   * @param {import('./session.js').SessionOptions} [options]
   */
  session(options) {
    return new Session(this, options)
  }

  /** Nobody waits any more. @param {NibbleError} error */
  close(error) {
    for (const turns of [this.turns, ...this.sessions]) turns.close(error)
  }

  /** Frees everything. Work under way ends with E_DISPOSED; calling it again does nothing. */
  async dispose() {
    this.close(this.engine.close())
  }
}
