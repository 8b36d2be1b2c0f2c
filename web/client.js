/**
 * Nibble in a page: the interface of js/index.js with the engine in a worker, so that the page stays responsive. What differs:
 *
 * - tokenize, detokenize and the methods of tokenizers return promises;
 * - of sessions see session.js;
 * - `info.memory()` tells what the worker said last, with its latest answer;
 * - a stream may be ahead of its reader by a few hundred chunks;
 * - `fetch` is no option: call it yourself and pass the Response;
 * - each model has a worker of its own, ended by dispose(). That one has no need of the network: while a model is loaded, and for what is done with files that
 *   are kept, there is a second one that fetches, and is told nothing else.
 *
 * URLs and Files are read by the workers. Streams, Responses and ArrayBuffers stay in the page and are handed over in pieces, so that a
 * model is never held twice; an ArrayBuffer remains usable.
 */
import { NibbleError, isNibbleError } from '../js/errors.js'
import { abortError } from '../js/source.js'
import { cache, startFetcher } from './cache-client.js'
import { Connection, Inbox, absolute } from './connection.js'
import { Session } from './session.js'

export { NibbleError, isNibbleError }
export { chooseVariant } from '../js/runtime.js'
export { Session }
export { cache }

/**
 * @typedef {import('../js/index.js').Source} Source
 * @typedef {import('../js/index.js').Progress} Progress
 * @typedef {import('../js/index.js').ModelInfo} ModelInfo
 * @typedef {import('../js/index.js').EmbeddingOptions} EmbeddingOptions
 * @typedef {import('../js/index.js').EmbeddingResult} EmbeddingResult
 * @typedef {import('../js/index.js').Message} Message
 * @typedef {import('../js/index.js').ChatOptions} ChatOptions
 * @typedef {import('../js/index.js').ChatCompletion} ChatCompletion
 * @typedef {import('../js/index.js').ChatChunk} ChatChunk
 * @typedef {import('../js/index.js').CompletionOptions} CompletionOptions
 * @typedef {import('../js/index.js').Completion} Completion
 * @typedef {import('../js/index.js').SessionOptions} SessionOptions
 * @typedef {import('../js/index.js').SessionGenerateOptions} SessionGenerateOptions
 * @typedef {import('../js/index.js').SessionInput} SessionInput
 * @typedef {import('../js/index.js').KeptEntry} KeptEntry
 *
 * @typedef {object} WorkerOptions
 * @property {string | URL | TrustedScriptURL} [workerUrl]  where worker.js is, if not beside this file; must be of the page's origin. Pages that require Trusted Types pass
 *   a TrustedScriptURL
 * @property {string | URL | TrustedScriptURL} [fetchWorkerUrl]  the same of fetch-worker.js; cache.fetchWorkerUrl is the default
 * @typedef {{toString(): string, toJSON(): string}} TrustedScriptURL
 * @typedef {Omit<import('../js/load.js').LoadOptions, 'fetch'> & WorkerOptions} LoadOptions
 * @typedef {Omit<import('../js/load.js').EngineOptions, 'fetch'> & WorkerOptions} EngineOptions
 */

const disposed = () => new NibbleError('E_DISPOSED', 'the model was disposed of; load it again')

/** @param {HeadersInit} headers */
function pairs(headers) {
  try {
    return [...new Headers(headers)]
  } catch (error) {
    throw new NibbleError('E_ARGUMENT', `headers: ${/** @type {Error} */ (error).message}`, { cause: error })
  }
}

/**
 * Starts a worker and asks it to open a source. Cancelled, it ends the worker, and with it every connection.
 * @param {'load' | 'estimate' | 'loadTokenizer'} op
 * @param {Source} source
 * @param {LoadOptions} options
 */
async function open(op, source, { signal, onProgress, workerUrl, fetchWorkerUrl, headers, wasm, ...options }) {
  if ('fetch' in options) throw new NibbleError('E_ARGUMENT', 'fetch cannot be used in the worker; call it yourself and pass the Response as the source')
  if (signal?.aborted) throw abortError(undefined, signal)
  // The second form is what bundlers look for: it must stay as it is.
  const connection = new Connection(() => (workerUrl ? new Worker(/** @type {string} */ (workerUrl), { type: 'module' }) : new Worker(new URL('./worker.js', import.meta.url), { type: 'module' })))
  /** @type {Connection | undefined} */
  let fetcher
  const onAbort = () => connection.close(abortError(undefined, signal))
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    const sent = {
      ...options,
      ...(headers && { headers: pairs(headers) }),
      ...(wasm && { wasm: wasm instanceof WebAssembly.Module ? wasm : absolute(wasm) }),
    }
    const { port1, port2 } = new MessageChannel()
    fetcher = startFetcher(fetchWorkerUrl)
    fetcher.onEnd = (reason) => connection.close(reason)
    await fetcher.ask('connect', [port2], { transfer: [port2], signal })
    const result = await connection.ask(op, [connection.packSource(source, signal), sent, !!onProgress, port1], { onProgress, transfer: [port1] })
    connection.closeParts()
    return { connection, result }
  } catch (error) {
    connection.close(isNibbleError(error) ? error : disposed())
    throw error
  } finally {
    signal?.removeEventListener('abort', onAbort)
    if (fetcher) {
      fetcher.onEnd = () => {}
      fetcher.close(disposed())
    }
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

  /**
   * A text for the model to go on from: without the EOS that some models put behind finished texts.
   * @param {string} text @param {import('../js/tokenizer.js').EncodeOptions} [options] @returns {Promise<number[]>}
   */
  encodePrompt(text, options) {
    return this.connection.ask('encodePrompt', [text, options], { owner: this.owner })
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

  /** The bytes a token stands for, which may be a part of a character. @param {number} id @returns {Promise<Uint8Array>} */
  bytes(id) {
    return this.connection.ask('bytes', [id], { owner: this.owner })
  }

  /** The spellings that encode() recognises as one token. @returns {Promise<import('../js/guard.js').Specials>} */
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

class Embeddings {
  /** @param {Model} model */
  constructor(model) {
    this.model = model
  }

  /** A vector for each text. @param {EmbeddingOptions} options @returns {Promise<EmbeddingResult>} */
  async create(options) {
    return create(this.model, 'embeddings', options)
  }
}

/** @param {Model} model @param {string} op @param {(CompletionOptions | ChatOptions | EmbeddingOptions) & {stream?: boolean}} options */
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
    this.embeddings = new Embeddings(this)
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

  /**
   * A conversation with a memory of its own, which takes as much as that of the model itself for the same number of tokens. Sessions and the other
   * calls use the model in turn.
   * @param {SessionOptions} [options]
   */
  session(options) {
    return new Session(this, options)
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
