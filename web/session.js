/**
 * A page's side of model.session(): js/session.js in the worker, asked over protocol.js. What differs there:
 *
 * - what is wrong with the options of session(), and E_NOMEM, is told by the first call;
 * - `messages` and `length` tell what the worker said last, with its latest answer; `tokens` is a promise;
 * - of a stream whose loop was left, the session may have more than was read: `messages` has it as it stands there.
 */
import { NibbleError } from '../js/errors.js'
import { Inbox } from './connection.js'

/**
 * @typedef {import('../js/session.js').SessionOptions} SessionOptions
 * @typedef {import('../js/session.js').SessionGenerateOptions} SessionGenerateOptions
 * @typedef {import('../js/session.js').SessionInput} SessionInput
 */

const disposed = () => new NibbleError('E_DISPOSED', 'the session was disposed of; begin another with model.session()')

/** Frees sessions that were forgotten without dispose(); nobody should rely on it. */
const forgotten = new FinalizationRegistry((/** @type {() => void} */ free) => free())

/** @param {import('./connection.js').Connection} connection @param {number} id */
const freer = (connection, id) => () => void connection.ask('session', [id, 'dispose']).catch(() => {})

let last = 0

/** Made by model.session(). See js/session.js for what it does, and above for what differs. */
export class Session {
  /**
   * @param {import('./client.js').Model} model
   * @param {SessionOptions} [options]
   * @param {Session} [original]  for clone()
   */
  constructor(model, options = {}, original) {
    this.model = model
    this.id = ++last
    this.gone = false
    /** What was said so far. @type {readonly import('../js/chat.js').Message[]} */
    this.messages = original?.messages ?? []
    /** How many tokens it holds. */
    this.length = original?.length ?? 0
    /** Most tokens it can hold. @type {number} */
    this.contextLength = original?.contextLength ?? options.contextLength ?? model.contextLength
    /** @type {Promise<unknown>} */
    this.made = original ? original.ask('clone', [this.id]) : this.post('open', [options])
    this.made.catch(() => {}) // told by the first call
    this.free = freer(model.connection, this.id)
    forgotten.register(this, this.free, this)
  }

  /** The ids it holds. @returns {Promise<number[]>} */
  get tokens() {
    return this.ask('tokens')
  }

  /**
   * @param {string} method @param {unknown[]} args
   * @param {Pick<import('./connection.js').Request, 'signal' | 'inbox'>} [more]
   */
  async post(method, args, more) {
    const answer = await this.model.connection.ask('session', [this.id, method, ...args], { ...more, owner: this })
    if (more?.inbox) return answer
    // Of a clone these are the original's, and the same.
    this.messages = answer.messages
    this.length = answer.length
    return answer.value
  }

  /** @param {string} method @param {unknown[]} [args] @param {Pick<import('./connection.js').Request, 'signal' | 'inbox'>} [more] */
  async ask(method, args = [], more) {
    await this.made
    if (this.gone) throw disposed()
    return this.post(method, args, more)
  }

  /**
   * Adds to the conversation, and evaluates it ahead of time: generate() then begins at once. Cancelled, it adds nothing.
   * @param {SessionInput} input @param {{signal?: AbortSignal}} [options] @returns {Promise<void>}
   */
  append(input, { signal } = {}) {
    return this.ask('append', [input], { signal })
  }

  /**
   * Lets the model answer; the answer becomes a part of the conversation, and so does one that is cancelled, as far as it went. In the shape of
   * chat.completions: with `stream: true` the promise gives an async iterable of chunks; leaving its loop cancels.
   * @overload
   * @param {SessionGenerateOptions & {stream: true}} options
   * @returns {Promise<AsyncGenerator<import('../js/chat.js').ChatChunk, void, void>>}
   */
  /**
   * @overload
   * @param {SessionGenerateOptions} [options]
   * @returns {Promise<import('../js/chat.js').ChatCompletion>}
   */
  /** @param {SessionGenerateOptions} [options] @returns {Promise<any>} */
  async generate({ signal, ...options } = {}) {
    if (options.stream) return this.stream(await this.ask('generate', [options], { signal, inbox: new Inbox() }))
    try {
      return await this.ask('generate', [options], { signal })
    } catch (error) {
      await this.refresh()
      throw error
    }
  }

  /** @param {AsyncGenerator<any, void, void>} chunks @returns {AsyncGenerator<any, void, void>} */
  async* stream(chunks) {
    try {
      yield* chunks
    } finally {
      await this.refresh()
    }
  }

  /** Asks for what is told with every answer. Where that fails, the call before it has said why. */
  async refresh() {
    await this.ask('state').catch(() => {})
  }

  /** An independent copy, with keys and values: both go on from here by themselves. @returns {Promise<Session>} */
  async clone() {
    const clone = new Session(this.model, undefined, this)
    await clone.made
    clone.messages = this.messages
    clone.length = this.length
    return clone
  }

  /** All of it as bytes, for restore(). @returns {Promise<Uint8Array<ArrayBuffer>>} */
  save() {
    return this.ask('save')
  }

  /**
   * Makes this session what another was when it was saved, with the same model file, on whatever machine. Bytes that are not right change nothing.
   * @param {Uint8Array | ArrayBuffer} bytes @returns {Promise<void>}
   */
  restore(bytes) {
    // What crosses is copied with all of its buffer.
    return this.ask('restore', [bytes instanceof Uint8Array && bytes.byteLength < bytes.buffer.byteLength ? bytes.slice() : bytes])
  }

  /** What it would take to add something, and which room that leaves. @param {SessionInput} [input] @returns {Promise<import('../js/session.js').Measure>} */
  measure(input) {
    return this.ask('measure', [input])
  }

  /** Keeps the first n messages and forgets the others. @param {number} n @returns {Promise<void>} */
  truncate(n) {
    return this.ask('truncate', [n])
  }

  /** Frees its memory. Work under way ends with E_DISPOSED; calling it again does nothing. */
  async dispose() {
    if (this.gone) return
    this.gone = true
    this.messages = []
    this.length = 0
    forgotten.unregister(this)
    this.free()
  }
}
