/**
 * Nibble in a page: the interface of js/index.js with the engine in a worker, so that the page stays responsive. What differs:
 *
 * - tokenize, detokenize and the methods of tokenizers return promises;
 * - `info.memory()` tells what the worker said last, with its latest answer;
 * - a stream may be ahead of its reader by a few hundred chunks;
 * - `fetch` is no option: call it yourself and pass the Response;
 * - each model has a worker of its own, ended by dispose().
 *
 * URLs and Files are read by the worker. Streams, Responses and ArrayBuffers stay in the page and are handed over in pieces, so that a
 * model is never held twice; an ArrayBuffer remains usable.
 */
import { NibbleError, isNibbleError } from '../js/errors.js'
import { abortError, openPart } from '../js/source.js'
import { PROTOCOL, WINDOW, packError, unpackError } from './protocol.js'

export { NibbleError, isNibbleError }
export { chooseVariant } from '../js/runtime.js'

/**
 * @typedef {import('../js/index.js').Source} Source
 * @typedef {import('../js/index.js').Progress} Progress
 * @typedef {import('../js/index.js').ModelInfo} ModelInfo
 * @typedef {import('../js/index.js').Message} Message
 * @typedef {import('../js/index.js').ChatOptions} ChatOptions
 * @typedef {import('../js/index.js').ChatCompletion} ChatCompletion
 * @typedef {import('../js/index.js').ChatChunk} ChatChunk
 * @typedef {import('../js/index.js').CompletionOptions} CompletionOptions
 * @typedef {import('../js/index.js').Completion} Completion
 *
 * @typedef {object} WorkerOptions
 * @property {string | URL | TrustedScriptURL} [workerUrl]  where worker.js is, if not beside this file; must be of the page's origin. Pages that require Trusted Types pass
 *   a TrustedScriptURL
 * @typedef {{toString(): string, toJSON(): string}} TrustedScriptURL
 * @typedef {Omit<import('../js/load.js').LoadOptions, 'fetch'> & WorkerOptions} LoadOptions
 * @typedef {Omit<import('../js/load.js').EngineOptions, 'fetch'> & WorkerOptions} EngineOptions
 */

/** An address as the page means it. @param {string | URL} url */
function absolute(url) {
  try {
    return new URL(url, globalThis.document?.baseURI ?? globalThis.location.href).href
  } catch (error) {
    throw new NibbleError('E_ARGUMENT', `'${url}' is not a URL`, { cause: error })
  }
}

/** @param {WorkerOptions['workerUrl']} url */
function startWorker(url) {
  if (typeof Worker === 'undefined') throw new NibbleError('E_UNSUPPORTED', "there are no workers here; import 'nibble-llm' instead of 'nibble-llm/web'")
  try {
    // The second form is what bundlers look for: it must stay as it is.
    return url ? new Worker(/** @type {string} */ (url), { type: 'module' }) : new Worker(new URL('./worker.js', import.meta.url), { type: 'module' })
  } catch (error) {
    throw new NibbleError('E_NETWORK', `the worker cannot be started: ${error instanceof Error ? error.message : error}; set workerUrl to where worker.js is on this site`, { cause: error })
  }
}

/**
 * A request under way.
 * @typedef {object} Request
 * @property {(value: any) => void} resolve
 * @property {(error: Error) => void} reject
 * @property {AbortSignal} [signal]
 * @property {(progress: Progress) => void} [onProgress]
 * @property {Inbox} [inbox]  of a stream
 * @property {object} [owner]  what must not be taken for forgotten while this goes on
 * @property {() => void} forget  lets go of the signal
 */

/** Chunks of a stream that were not read yet. */
class Inbox {
  /** @type {unknown[]} */
  chunks = []
  over = false
  /** @type {Error | undefined} */
  error = undefined
  wake = () => {}

  /** @param {unknown[]} chunks */
  put(chunks) {
    this.chunks.push(...chunks)
    this.wake()
  }

  /** @param {Error} [error] */
  end(error) {
    this.over = true
    this.error = error
    this.wake()
  }

  /** Something to read, or the end. @returns {Promise<void>} */
  news() {
    if (this.chunks.length > 0 || this.over) return Promise.resolve()
    return new Promise((resolve) => { this.wake = () => resolve() })
  }
}

/** A worker, and what was asked of it. */
class Connection {
  /** @param {WorkerOptions['workerUrl']} workerUrl */
  constructor(workerUrl) {
    this.worker = startWorker(workerUrl)
    /** @type {Map<number, Request>} */
    this.requests = new Map()
    this.last = 0
    this.greeted = false
    this.wasm_bytes = 0
    /** Why it is closed. @type {NibbleError | undefined} */
    this.closed = undefined
    /** Gives up the wait for the worker's lock. */
    this.unwatch = new AbortController()
    this.worker.onmessage = ({ data }) => this.receive(data)
    this.worker.onmessageerror = () => this.close(new NibbleError('E_INTERNAL', 'a message of the worker could not be read; load the model again, and report the bug'))
    this.worker.onerror = (event) => {
      event.preventDefault()
      this.close(this.greeted
        ? new NibbleError('E_INTERNAL', `the worker failed: ${event.message || 'no reason given'}; load the model again, and report the bug`)
        : new NibbleError('E_NETWORK', `the worker cannot be started${event.message ? `: ${event.message}` : ''}; is worker.js beside client.js on this site, or workerUrl set to where it is?`))
    }
    /** @type {Map<number, {part: Promise<import('../js/source.js').Part>}>} */
    this.parts = new Map()
  }

  /** @param {any} message */
  receive(message) {
    if (this.closed) return
    if ('hello' in message) return this.greet(message)
    if ('part' in message) return void this.read(message.part, message.read)
    const { id, wasm_bytes } = message
    if (wasm_bytes) this.wasm_bytes = wasm_bytes
    const request = this.requests.get(id)
    if (!request) return
    if ('progress' in message) return request.onProgress?.(message.progress)
    if ('chunks' in message) return request.inbox?.put(message.chunks)
    if ('result' in message) {
      request.resolve(message.result)
      return request.inbox ? undefined : this.finish(id)
    }
    const error = 'error' in message ? unpackError(message.error) : undefined
    if (error?.code === 'E_ABORTED' && request.signal?.aborted) error.cause = request.signal.reason
    this.finish(id, error)
  }

  /** A request is over. @param {number} id @param {NibbleError} [error] */
  finish(id, error) {
    const { reject, inbox, forget } = /** @type {Request} */ (this.requests.get(id))
    this.requests.delete(id)
    forget()
    if (error) reject(error)
    inbox?.end(error)
  }

  /** @param {{hello: number, lock: string}} message */
  greet({ hello, lock }) {
    this.greeted = true
    if (hello !== PROTOCOL) return this.close(new NibbleError('E_UNSUPPORTED', 'client.js and worker.js are of different versions; deploy both together'))
    if (!lock || !navigator.locks) return
    const gone = () => this.close(new NibbleError('E_INTERNAL', 'the browser ended the worker, which happens when memory is short; load the model again'))
    navigator.locks.request(lock, { signal: this.unwatch.signal }, gone).catch(() => {})
  }

  /** Reads a source that lives in the page. @param {number} id @param {number} most */
  async read(id, most) {
    try {
      const part = await /** @type {{part: Promise<import('../js/source.js').Part>}} */ (this.parts.get(id)).part
      const view = new Uint8Array(most)
      const n = await part.read(view)
      if (this.closed) return
      if (n === 0) this.worker.postMessage({ part: id })
      else this.worker.postMessage({ part: id, bytes: view.subarray(0, n) }, [view.buffer])
    } catch (error) {
      if (!this.closed) this.worker.postMessage({ part: id, error: packError(error) })
    }
  }

  /**
   * A source as it crosses: the worker opens URLs and Blobs, the page all others.
   * @param {Source} source @param {AbortSignal | undefined} signal @returns {unknown}
   */
  packSource(source, signal) {
    if (Array.isArray(source)) return source.map((one) => this.packSource(one, signal))
    if (typeof source === 'string' || source instanceof URL) return absolute(source)
    if (source instanceof Blob) return source
    const part = openPart(source, 0, { signal })
    part.catch(() => {}) // told when it is read
    const id = this.parts.size
    this.parts.set(id, { part })
    return { part: id }
  }

  closeParts() {
    for (const { part } of this.parts.values()) part.then((p) => p.close()).catch(() => {})
    this.parts.clear()
  }

  /**
   * Asks the worker for something; a stream is handed out by an async generator.
   * @param {string} op
   * @param {unknown[]} args
   * @param {Pick<Request, 'signal' | 'onProgress' | 'inbox' | 'owner'>} [more]
   * @returns {Promise<any>}
   */
  async ask(op, args, more = {}) {
    const { signal, inbox } = more
    if (this.closed) throw this.closed
    if (signal?.aborted) throw abortError(undefined, signal)
    const id = ++this.last
    try {
      this.worker.postMessage({ id, op, args })
    } catch (error) {
      throw new NibbleError('E_ARGUMENT', `an option cannot be sent to the worker: ${/** @type {Error} */ (error).message}`, { cause: error })
    }
    const onAbort = () => this.cancel(id)
    signal?.addEventListener('abort', onAbort, { once: true })
    const forget = () => signal?.removeEventListener('abort', onAbort)
    const result = await new Promise((resolve, reject) => this.requests.set(id, { ...more, resolve, reject, forget }))
    return inbox ? this.stream(id, inbox) : result
  }

  /** @param {number} id */
  cancel(id) {
    if (!this.closed && this.requests.has(id)) this.worker.postMessage({ id, cancel: true })
  }

  /** @param {number} id @param {Inbox} inbox @returns {AsyncGenerator<any, void, void>} */
  async* stream(id, inbox) {
    let asked = 0, read = 0
    try {
      for (;;) {
        if (asked - read <= WINDOW / 2 && !inbox.over && !this.closed) {
          this.worker.postMessage({ id, pull: WINDOW - (asked - read) })
          asked = read + WINDOW
        }
        await inbox.news()
        const chunks = inbox.chunks
        inbox.chunks = []
        for (const chunk of chunks) {
          read++
          yield chunk
        }
        if (chunks.length === 0 && inbox.over) {
          if (inbox.error) throw inbox.error
          return
        }
      }
    } finally {
      if (!inbox.over) {
        this.cancel(id)
        inbox.chunks = []
        while (!inbox.over) { // the model is free again when this returns
          await inbox.news()
          inbox.chunks = []
        }
      }
    }
  }

  /** Ends the worker, and everything asked of it with an error. @param {NibbleError} reason */
  close(reason) {
    if (this.closed) return
    this.closed = reason
    this.worker.terminate()
    this.unwatch.abort()
    this.closeParts()
    for (const id of this.requests.keys()) this.finish(id, reason)
  }
}

const disposed = () => new NibbleError('E_DISPOSED', 'the model was disposed of; load it again')

/**
 * Starts a worker and asks it to open a source. Cancelled, it ends the worker, and with it every connection.
 * @param {'load' | 'estimate' | 'loadTokenizer'} op
 * @param {Source} source
 * @param {LoadOptions} options
 */
async function open(op, source, { signal, onProgress, workerUrl, headers, wasm, ...options }) {
  if ('fetch' in options) throw new NibbleError('E_ARGUMENT', 'fetch cannot be used in the worker; call it yourself and pass the Response as the source')
  if (signal?.aborted) throw abortError(undefined, signal)
  const connection = new Connection(workerUrl)
  const onAbort = () => connection.close(abortError(undefined, signal))
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    const sent = {
      ...options,
      ...(headers && { headers: [...new Headers(headers)] }),
      ...(wasm && { wasm: wasm instanceof WebAssembly.Module ? wasm : absolute(wasm) }),
    }
    const result = await connection.ask(op, [connection.packSource(source, signal), sent, !!onProgress], { onProgress })
    connection.closeParts()
    return { connection, result }
  } catch (error) {
    connection.close(isNibbleError(error) ? error : new NibbleError('E_ARGUMENT', /** @type {Error} */ (error).message, { cause: error }))
    throw connection.closed
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}

/** Text to token ids and back, in the worker: the methods of js/tokenizer.js as promises. */
export class Tokenizer {
  /**
   * @param {Connection} connection
   * @param {Pick<import('../js/tokenizer.js').Tokenizer, 'info' | 'n_vocab' | 'bos' | 'eos' | 'eot' | 'addBos' | 'addEos'>} fields
   * @param {Model} [owner]
   */
  constructor(connection, fields, owner) {
    this.connection = connection
    /** @type {object} */
    this.owner = owner ?? this
    this.info = fields.info
    this.n_vocab = fields.n_vocab
    /** Ids; -1 where the model has none. */
    this.bos = fields.bos
    this.eos = fields.eos
    this.eot = fields.eot
    this.addBos = fields.addBos
    this.addEos = fields.addEos
  }

  /** @param {string} text @param {import('../js/tokenizer.js').EncodeOptions} [options] @returns {Promise<number[]>} */
  encode(text, options) {
    return this.connection.ask('encode', [text, options], { owner: this.owner })
  }

  /** @param {ArrayLike<number>} ids @param {import('../js/tokenizer.js').DecodeOptions} [options] @returns {Promise<string>} */
  decode(ids, options) {
    return this.connection.ask('decode', [ids, options], { owner: this.owner })
  }

  /** The vocabulary's own spelling of a token. @param {number} id @returns {Promise<string>} */
  piece(id) {
    return this.connection.ask('piece', [id], { owner: this.owner })
  }

  /** @param {number} id @returns {Promise<ReturnType<import('../js/tokenizer.js').Tokenizer['kind']>>} */
  kind(id) {
    return this.connection.ask('kind', [id], { owner: this.owner })
  }

  /** Whether the token ends a text or a turn. @param {number} id @returns {Promise<boolean>} */
  isEog(id) {
    return this.connection.ask('isEog', [id], { owner: this.owner })
  }

  /** The spellings of all control tokens. @returns {Promise<string[]>} */
  specials() {
    return this.connection.ask('specials', [], { owner: this.owner })
  }

  /** Ends the worker, where the tokenizer was loaded alone. */
  dispose() {
    if (this.owner === this) this.connection.close(disposed())
  }
}

class Completions {
  /** @param {Model} model */
  constructor(model) {
    this.model = model
  }

  /**
   * Lets the model go on from a prompt. With `stream: true` the promise gives an async iterable of chunks; leaving its loop cancels.
   * @overload
   * @param {CompletionOptions & {stream: true}} options
   * @returns {Promise<AsyncGenerator<Completion, void, void>>}
   */
  /**
   * @overload
   * @param {CompletionOptions} options
   * @returns {Promise<Completion>}
   */
  /** @param {CompletionOptions} options @returns {Promise<any>} */
  async create(options) {
    return create(this.model, 'completions', options)
  }
}

class ChatCompletions {
  /** @param {Model} model */
  constructor(model) {
    this.model = model
  }

  /**
   * Answers a conversation. With `stream: true` the promise gives an async iterable of chunks; leaving its loop cancels.
   * @overload
   * @param {ChatOptions & {stream: true}} options
   * @returns {Promise<AsyncGenerator<ChatChunk, void, void>>}
   */
  /**
   * @overload
   * @param {ChatOptions} options
   * @returns {Promise<ChatCompletion>}
   */
  /** @param {ChatOptions} options @returns {Promise<any>} */
  async create(options) {
    return create(this.model, 'chat', options)
  }

  /**
   * Token ids of a conversation, ready for the model to answer.
   * @param {Message[]} messages
   * @param {Record<string, unknown>} [variables]
   * @returns {Promise<number[]>}
   */
  encode(messages, variables) {
    return this.model.connection.ask('encodeChat', [messages, variables], { owner: this.model })
  }
}

/** @param {Model} model @param {string} op @param {CompletionOptions | ChatOptions} options */
function create(model, op, options) {
  const { signal, ...sent } = options ?? {}
  return model.connection.ask(op, [options && sent], { signal, inbox: sent.stream ? new Inbox() : undefined, owner: model })
}

/** Ends the workers of models that were forgotten without dispose(); nobody should rely on it. */
const forgotten = new FinalizationRegistry((/** @type {Connection} */ connection) => connection.close(disposed()))

/** A loaded model and what can be asked of it. */
export class Model {
  /** @param {Connection} connection @param {any} loaded */
  constructor(connection, { info, contextLength, load_s, tokenizer }) {
    this.connection = connection
    /** What this model is: see ModelInfo. @type {import('../js/model.js').Model['info']} */
    this.info = { ...info, memory: () => ({ wasm_bytes: connection.wasm_bytes }) }
    /** @type {number} */
    this.contextLength = contextLength
    /** @type {number} */
    this.load_s = load_s
    this.tokenizer = new Tokenizer(connection, tokenizer, this)
    this.completions = new Completions(this)
    this.chat = { completions: new ChatCompletions(this) }
    forgotten.register(this, connection, this)
  }

  /** @param {string} text @param {import('../js/tokenizer.js').EncodeOptions} [options] @returns {Promise<number[]>} */
  tokenize(text, options) {
    return this.tokenizer.encode(text, options)
  }

  /** @param {ArrayLike<number>} ids @param {import('../js/tokenizer.js').DecodeOptions} [options] @returns {Promise<string>} */
  detokenize(ids, options) {
    return this.tokenizer.decode(ids, options)
  }

  /**
   * Logits [n_vocab] behind the last token.
   * @param {ArrayLike<number>} ids @param {{signal?: AbortSignal}} [options] @returns {Promise<Float32Array>}
   */
  logits(ids, { signal } = {}) {
    return this.connection.ask('logits', [ids], { signal, owner: this })
  }

  /**
   * Log-probability of every token given those before it. The first one has none before it, and null.
   * @param {string | ArrayLike<number>} text  ids, or text, which is tokenized as a prompt
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<{tokens: number[], logprobs: (number | null)[]}>}
   */
  score(text, { signal } = {}) {
    return this.connection.ask('score', [text], { signal, owner: this })
  }

  /** Ends the worker and frees everything. Work under way ends with E_DISPOSED; calling it again does nothing. */
  async dispose() {
    forgotten.unregister(this)
    this.connection.close(disposed())
  }
}

/**
 * Loads a model into a worker of its own: a GGUF file given as a URL, File or Blob, ReadableStream, Response, ArrayBuffer, or an array of
 * these for the parts of a split model (naming the first part's URL is enough).
 * @param {Source} source
 * @param {LoadOptions} [options]
 * @returns {Promise<Model>}
 */
export async function load(source, options = {}) {
  const { connection, result } = await open('load', source, options)
  return new Model(connection, result)
}

/**
 * Reads the headers only: what the model is, and what running it here would need.
 * @param {Source} source
 * @param {EngineOptions & {contextLength?: number, batchSize?: number}} [options]
 * @returns {ReturnType<typeof import('../js/index.js').estimate>}
 */
export async function estimate(source, options = {}) {
  const { connection, result } = await open('estimate', source, options)
  connection.close(disposed())
  return result
}

/**
 * Loads the tokenizer alone; a file that holds nothing but a vocabulary will do.
 * @param {Source} source
 * @param {EngineOptions} [options]
 * @returns {Promise<Tokenizer>}
 */
export async function loadTokenizer(source, options = {}) {
  const { connection, result } = await open('loadTokenizer', source, options)
  const tokenizer = new Tokenizer(connection, result)
  forgotten.register(tokenizer, connection, tokenizer)
  return tokenizer
}
