/**
 * The page's side of the messages in protocol.js: starting a worker, asking it, reading the sources it cannot open, and telling of its end.
 */
import { NibbleError } from '../js/errors.js'
import { abortError, openPart } from '../js/source.js'
import { PROTOCOL, WINDOW, packError, unpackError } from './protocol.js'

/** An address as the page means it. @param {string | URL} url */
export function absolute(url) {
  try {
    return new URL(url, globalThis.document?.baseURI ?? globalThis.location.href).href
  } catch (error) {
    throw new NibbleError('E_ARGUMENT', `'${url}' is not a URL`, { cause: error })
  }
}

/** @param {() => Worker} create @param {string} script @param {string} option */
function startWorker(create, script, option) {
  if (typeof Worker === 'undefined') throw new NibbleError('E_UNSUPPORTED', "there are no workers here; import 'nibble-llm' instead of 'nibble-llm/web'")
  try {
    return create()
  } catch (error) {
    throw new NibbleError('E_NETWORK', `the worker cannot be started: ${error instanceof Error ? error.message : error}; set ${option} to where ${script} is on this site`, { cause: error })
  }
}

/**
 * A request under way.
 * @typedef {object} Request
 * @property {(value: any) => void} resolve
 * @property {(error: Error) => void} reject
 * @property {AbortSignal} [signal]
 * @property {(progress: import('../js/load.js').Progress) => void} [onProgress]
 * @property {Inbox} [inbox]  of a stream
 * @property {object} [owner]  what must not be taken for forgotten while this goes on
 * @property {() => void} forget  lets go of the signal
 */

/** Chunks of a stream that were not read yet. */
export class Inbox {
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
export class Connection {
  /** @param {() => Worker} create @param {string} [script]  what its file is called  @param {string} [option]  what tells where that is */
  constructor(create, script = 'worker.js', option = 'workerUrl') {
    this.worker = startWorker(create, script, option)
    /** Told when it ends by itself. @type {(reason: NibbleError) => void} */
    this.onEnd = () => {}
    this.script = script
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
        : new NibbleError('E_NETWORK', `the worker cannot be started${event.message ? `: ${event.message}` : ''}; is ${script} beside client.js on this site, or ${option} set to where it is?`))
    }
    /** @type {Map<number, {part: Promise<import('../js/source.js').Part>}>} */
    this.parts = new Map()
  }

  /** @param {any} message */
  receive(message) {
    if (this.closed) return
    if ('hello' in message) return this.greet(message)
    if ('part' in message) return void this.read(message.part, message.read)
    if ('dead' in message) return this.close(unpackError(message.dead)) // also gives its memory back
    const { id, wasm_bytes } = message
    if (wasm_bytes) this.wasm_bytes = wasm_bytes
    const request = this.requests.get(id)
    if (!request) return
    if ('progress' in message) {
      try {
        return request.onProgress?.(message.progress)
      } catch (error) { // the caller's own: ends the load, as it does without a worker
        return this.finish(id, /** @type {Error} */ (error))
      }
    }
    if ('chunks' in message) return request.inbox?.put(message.chunks)
    if ('result' in message) {
      request.resolve(message.result)
      return request.inbox ? undefined : this.finish(id)
    }
    const error = 'error' in message ? unpackError(message.error) : undefined
    if (error?.code === 'E_ABORTED' && request.signal?.aborted) error.cause = request.signal.reason
    this.finish(id, error)
  }

  /** A request is over. @param {number} id @param {Error} [error] */
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
    if (hello !== PROTOCOL) return this.close(new NibbleError('E_UNSUPPORTED', `client.js and ${this.script} are of different versions; deploy both together`))
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
   * @param {import('../js/source.js').Source} source @param {AbortSignal | undefined} signal @returns {unknown}
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
   * @param {Pick<Request, 'signal' | 'onProgress' | 'inbox' | 'owner'> & {transfer?: Transferable[]}} [more]
   * @returns {Promise<any>}
   */
  async ask(op, args, more = {}) {
    const { signal, inbox } = more
    if (this.closed) throw this.closed
    if (signal?.aborted) throw abortError(undefined, signal)
    const id = ++this.last
    try {
      this.worker.postMessage({ id, op, args }, more.transfer ?? [])
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
    this.onEnd(reason)
  }
}
