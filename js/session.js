/**
 * model.session(): a conversation with a memory of its own. What was said stays evaluated: a turn costs what is new in it, whatever others
 * ask of the model in between.
 */
import { checkChatNames, checkMessages, reply } from './chat.js'
import { run } from './completions.js'
import { NibbleError } from './errors.js'
import { TokenSession } from './generate.js'
import { decodeUtf8, encodeUtf8 } from './memory.js'
import { checkNames } from './options.js'
import { abortError } from './source.js'
import { Turns } from './turns.js'

/**
 * @typedef {import('./chat.js').Message} Message
 *
 * @typedef {object} SessionOptions
 * @property {string} [system]  the first message, of the role 'system'
 * @property {Message[]} [messages]  what was said before, such as an older conversation without its oldest turns
 * @property {number} [contextLength]  tokens that it holds; default: the model's
 * @property {Record<string, unknown>} [chat_template_kwargs]  more variables for the template, such as enable_thinking
 *
 * @typedef {Omit<import('./chat.js').ChatOptions, 'messages' | 'chat_template_kwargs' | 'context_overflow'>} SessionGenerateOptions
 *
 * @typedef {object} Measure
 * @property {number} tokens  that the session would have to evaluate, with what the template puts around them
 * @property {number} total  of the whole conversation then
 * @property {number} left  room for the answer; negative where it does not fit
 *
 * @typedef {string | Message | Message[]} SessionInput  a string is a message of the user
 */

const disposed = () => new NibbleError('E_DISPOSED', 'the session was disposed of; begin another with model.session()')

/** Memory of sessions that were forgotten without dispose(); nobody should rely on it. */
const forgotten = new FinalizationRegistry((/** @type {() => void} */ free) => free())

/** What is apart from the session, so that the registry does not hold it. @param {import('./model.js').Model} model @param {TokenSession} kept @param {Turns} turns */
const freer = ({ engine, sessions }, kept, turns) => () => {
  sessions.delete(turns)
  if (!engine.dead) engine.call('nb_session_free', kept.ptr)
}

/** @param {SessionInput} input @returns {Message[]} */
function toMessages(input) {
  const list = typeof input === 'string' ? [{ role: 'user', content: input }] : Array.isArray(input) ? input : [input]
  return list.length === 0 ? [] : checkMessages(list)
}

/** The note in a saved session, which is not trusted. @param {Uint8Array} note @returns {Message[]} */
function readNote(note) {
  try {
    const { messages } = JSON.parse(decodeUtf8(note))
    return messages.length === 0 ? [] : checkMessages(messages)
  } catch (error) {
    throw new NibbleError('E_FORMAT', 'the saved session holds no messages that can be read', { cause: error })
  }
}

/**
 * Made by model.session(). Calls wait for each other and for the model. When the conversation does not fit, append() and generate() fail with
 * E_CONTEXT and change nothing; an answer that fills the context ends with finish_reason 'length'.
 */
export class Session {
  /**
   * @param {import('./model.js').Model} model
   * @param {SessionOptions} [options]
   * @param {TokenSession} [kept]  for clone()
   */
  constructor(model, options = {}, kept) {
    checkNames(options, (name) => ['system', 'messages', 'contextLength', 'chat_template_kwargs'].includes(name))
    const { system, messages = [], contextLength = model.contextLength, chat_template_kwargs } = options
    if (system !== undefined && typeof system !== 'string') throw new NibbleError('E_ARGUMENT', 'system must be a string')
    if (!Number.isInteger(contextLength) || contextLength < 1 || contextLength > 2 ** 20) throw new NibbleError('E_ARGUMENT', `contextLength must be a whole number from 1 to ${2 ** 20}, not ${contextLength}`)
    if (!model.chat.completions.source) model.chat.completions.noTemplate()
    this.model = model
    this.variables = chat_template_kwargs
    /** What was said so far. @type {readonly Message[]} */
    this.messages = [...(system === undefined ? [] : [{ role: 'system', content: system }]), ...toMessages(messages)]
    this.kept = kept ?? new TokenSession(model.engine, model.ptr, model.tokenizer, { ...model.options, contextLength })
    /** Most tokens it can hold. */
    this.contextLength = this.kept.n_ctx
    /** Calls of this session, one after the other; those that compute wait for the model besides. */
    this.turns = new Turns()
    this.end = new AbortController()
    model.sessions.add(this.turns)
    this.free = freer(model, this.kept, this.turns)
    forgotten.register(this, this.free, this)
  }

  /** The ids it holds: what of its messages was evaluated, or is about to be. */
  get tokens() {
    return this.end.signal.aborted ? [] : Array.from(this.kept.tokens)
  }

  /** How many tokens it holds. */
  get length() {
    return this.end.signal.aborted ? 0 : this.kept.length
  }

  /**
   * Waits for the calls before. The signal that comes with it is also that of dispose(): who has the turn looks at it after every wait.
   * @template T
   * @param {AbortSignal | undefined} signal
   * @param {(signal: AbortSignal) => T | Promise<T>} work
   * @returns {Promise<T>}
   */
  async turn(signal, work) {
    const both = this.signal(signal)
    try {
      const leave = await this.turns.take(both)
      try {
        if (both.aborted) throw abortError(undefined, both)
        return await work(both)
      } finally {
        leave()
      }
    } catch (error) {
      throw this.why(error)
    }
  }

  /** @param {AbortSignal} [signal] */
  signal(signal) {
    return signal ? AbortSignal.any([signal, this.end.signal]) : this.end.signal
  }

  /** What a call fails with. @param {unknown} error */
  why(error) {
    return this.end.signal.aborted && !this.model.engine.dead ? disposed() : error
  }

  /**
   * Token ids of a conversation, checked to fit.
   * @param {readonly Message[]} messages @param {boolean} answer  whether the model is to answer now
   */
  async encode(messages, answer) {
    const ids = await this.model.chat.completions.encode([...messages], this.variables, answer)
    if (ids.length > this.contextLength) {
      throw new NibbleError('E_CONTEXT', `the conversation has ${ids.length} tokens, the session holds ${this.contextLength}; begin another with the messages that matter, or with a longer contextLength`)
    }
    return ids
  }

  /**
   * Adds to the conversation, and evaluates it ahead of time: generate() then begins at once. Cancelled, it adds nothing.
   * @param {SessionInput} input
   * @param {{signal?: AbortSignal}} [options]
   */
  async append(input, { signal } = {}) {
    const added = toMessages(input)
    if (added.length === 0) return
    await this.turn(signal, async (signal) => {
      const messages = [...this.messages, ...added]
      const ids = await this.encode(messages, false)
      const leave = await this.model.takeTurn(signal)
      try {
        this.kept.reset(ids)
        await this.kept.evaluate(signal)
        this.messages = messages
      } finally {
        leave()
      }
    })
  }

  /**
   * Lets the model answer; the answer becomes a part of the conversation, and so does one that is cancelled, as far as it went. In the shape of
   * chat.completions: with `stream: true` the promise gives an async iterable of chunks; leaving its loop cancels.
   * @overload
   * @param {SessionGenerateOptions & {stream: true}} options
   * @returns {Promise<AsyncGenerator<import('./chat.js').ChatChunk, void, void>>}
   */
  /**
   * @overload
   * @param {SessionGenerateOptions} [options]
   * @returns {Promise<import('./chat.js').ChatCompletion>}
   */
  /** @param {SessionGenerateOptions} [options] @returns {Promise<any>} */
  async generate(options = {}) {
    const { logprobs } = checkChatNames(options, [])
    if (/** @type {any} */ (options).context_overflow === 'slide') {
      throw new NibbleError('E_UNSUPPORTED', 'a session does not slide, or it would no longer hold what its messages say; begin another with the messages that matter')
    }
    // What is wrong is told at once; a stream begins with its reader.
    const ids = await this.turn(options.signal, () => this.encode(this.messages, true))
    run(this.model, ids, options, logprobs, this.kept)
    return reply(this.model, this.answer(options, logprobs), options)
  }

  /**
   * @param {SessionGenerateOptions} options @param {number | undefined} logprobs
   * @returns {AsyncGenerator<import('./completions.js').Delta, import('./completions.js').RunResult, void>}
   */
  async* answer(options, logprobs) {
    const signal = this.signal(options.signal)
    let content = '', ended = false
    try {
      const leave = await this.turns.take(signal)
      try {
        if (signal.aborted) throw abortError(undefined, signal)
        const deltas = run(this.model, await this.encode(this.messages, true), { ...options, signal }, logprobs, this.kept)
        try {
          for (;;) {
            const { done, value } = await deltas.next()
            if (done) return value
            content += value.text
            ended ||= value.finish_reason !== null
            yield value
          }
        } finally {
          await deltas.return(/** @type {any} */ (undefined))
        }
      } finally {
        if (content || ended) this.messages = [...this.messages, { role: 'assistant', content }]
        leave()
      }
    } catch (error) {
      throw this.why(error)
    }
  }

  /**
   * An independent copy, with keys and values: both go on from here by themselves. E_NOMEM where there is no memory for another.
   * @returns {Promise<Session>}
   */
  clone() {
    return this.turn(undefined, () => {
      const { model, variables, messages, contextLength } = this
      const clone = new Session(model, { contextLength, chat_template_kwargs: variables }, this.kept.clone())
      clone.messages = messages
      return clone
    })
  }

  /**
   * All of it as bytes: messages, tokens, keys and values, in the format of src/generate/state.h. About as large as the keys and values of its
   * tokens, and not encrypted: as private as what was said.
   * @returns {Promise<Uint8Array<ArrayBuffer>>}
   */
  save() {
    return this.turn(undefined, () => this.kept.save(encodeUtf8(JSON.stringify({ messages: this.messages }))))
  }

  /**
   * Makes this session what another was when it was saved, with the same model file, on whatever machine. It goes on with the same tokens. Damaged
   * bytes (E_FORMAT, E_TRUNCATED, E_INTEGRITY), those of another model (E_UNSUPPORTED) and those that do not fit (E_CONTEXT) change nothing.
   * @param {Uint8Array | ArrayBuffer} bytes
   */
  async restore(bytes) {
    const view = bytes instanceof ArrayBuffer ? new Uint8Array(bytes) : bytes
    if (!(view instanceof Uint8Array)) throw new NibbleError('E_ARGUMENT', 'a session is restored from a Uint8Array or an ArrayBuffer, as save() gave it')
    await this.turn(undefined, () => { this.messages = this.kept.restore(view, readNote) })
  }

  /**
   * What it would take to add something, and which room that leaves.
   * @param {SessionInput} [input]
   * @returns {Promise<Measure>}
   */
  async measure(input = []) {
    if (this.end.signal.aborted) throw disposed()
    const messages = [...this.messages, ...toMessages(input)]
    const ids = messages.length === 0 ? [] : await this.model.chat.completions.encode(messages, this.variables)
    const have = this.tokens
    let same = 0
    while (same < have.length && have[same] === ids[same]) same++
    return { tokens: ids.length - same, total: ids.length, left: this.contextLength - ids.length }
  }

  /**
   * Keeps the first n messages and forgets the others, to say something else there or have it answered anew. What stays is not evaluated again.
   * @param {number} n
   */
  async truncate(n) {
    if (!Number.isInteger(n) || n < 0) throw new NibbleError('E_ARGUMENT', `the number of messages to keep is a whole one, not ${n}`)
    await this.turn(undefined, () => { this.messages = this.messages.slice(0, n) })
  }

  /** Frees its memory. Work under way ends with E_DISPOSED; calling it again does nothing. */
  async dispose() {
    if (this.end.signal.aborted) return
    this.end.abort()
    this.turns.close(disposed())
    forgotten.unregister(this)
    this.free()
  }
}
