/**
 * Where a model's bytes come from. Every source is turned into parts (one, or several for a split model), each read in order into
 * memory that the caller provides, so that a file on disk goes into the library's memory without a copy in between.
 */
import { NibbleError, isNibbleError } from './errors.js'
import { loadDownloads, node } from './platform.js'

/**
 * @typedef {{open: (index: number, options: SourceOptions) => Promise<Part>}} Opener  used inside: a source of parts that somebody else opens
 * @typedef {string | URL | Blob | ReadableStream<Uint8Array> | ArrayBuffer | ArrayBufferView | Response} SingleSource
 * @typedef {SingleSource | SingleSource[]} Source  an array names the parts of a split model in order
 *
 * @typedef {object} Part
 * @property {string} name  for messages
 * @property {number | undefined} size  bytes, where they are known before reading
 * @property {(view: Uint8Array) => Promise<number>} read  fills the view from its start; returns the bytes written, 0 at the end
 * @property {(error?: unknown) => Promise<void>} close  with what went wrong, if anything did
 * @property {() => Promise<void>} [accept]  all was read, and is what was wanted: it may be kept
 * @property {'network' | 'cache'} [from]  where the bytes read last came from
 * @property {{code: string, message: string}} [warning]  why nothing is kept, where that was asked for
 *
 * @typedef {object} SourceOptions
 * @property {AbortSignal} [signal]
 * @property {typeof globalThis.fetch} [fetch]
 * @property {HeadersInit} [headers]  sent with every request
 * @property {boolean | string} [cache]  whether what is fetched is kept  @property {string | string[]} [integrity]
 * @property {boolean} [headerOnly]  no more than the beginning will be read
 */

const SPLIT_NAME = /-(\d{5})-of-(\d{5})(\.gguf)(?=$|\?)/i

/** @param {unknown} cause @param {AbortSignal} [signal] */
export function abortError(cause, signal) {
  return new NibbleError('E_ABORTED', 'the work was cancelled', { cause: signal?.reason ?? cause })
}

/**
 * What a promise resolves to, unless an abort comes first: then nobody waits for it.
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
export function abortable(promise, signal) {
  if (!signal) return promise
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(abortError(undefined, signal))
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort)
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

/**
 * Turns what went wrong while reading into a typed error.
 * @param {unknown} error @param {string} what @param {AbortSignal} [signal]
 */
export function readError(error, what, signal) {
  if (isNibbleError(error)) return error
  if (signal?.aborted || (error instanceof Error && error.name === 'AbortError')) return abortError(error, signal)
  const reason = error instanceof Error ? error.message : String(error)
  return new NibbleError('E_NETWORK', `${what} cannot be read: ${reason}`, { cause: error })
}

/**
 * Opens the part of a source with the given index.
 * @param {Source} source
 * @param {number} index
 * @param {SourceOptions} options
 * @returns {Promise<Part>}
 */
export async function openPart(source, index, options) {
  if (options.signal?.aborted) throw abortError(undefined, options.signal)
  if (isOpener(source)) return source.open(index, options)
  const part = partOf(source, index)
  return isOpener(part) ? part.open(0, options) : openSingle(part, index, options)
}

/** @param {unknown} source @returns {source is Opener} */
const isOpener = (source) => source !== null && typeof source === 'object' && 'open' in source && typeof source.open === 'function'

/** The part of a source with the given index. @param {Source} source @param {number} index @returns {SingleSource} */
export function partOf(source, index) {
  if (Array.isArray(source)) {
    if (index >= source.length) throw new NibbleError('E_ARGUMENT', `the model has more than the ${source.length} parts given; name all of them`)
    return source[index]
  }
  if (index === 0) return source
  const name = typeof source === 'string' ? source : source instanceof URL ? source.href : ''
  const match = SPLIT_NAME.exec(name)
  if (!match) {
    throw new NibbleError('E_ARGUMENT', 'this is one part of a split model: give the path or URL of its first part (…-00001-of-0000N.gguf), or an array of all parts')
  }
  const next = `-${String(index + 1).padStart(5, '0')}-of-${match[2]}${match[3]}`
  return name.slice(0, match.index) + next + name.slice(match.index + match[0].length)
}

/**
 * @param {SingleSource} source
 * @param {number} index
 * @param {SourceOptions} options
 * @returns {Promise<Part>}
 */
async function openSingle(source, index, options) {
  if (typeof source === 'string' || source instanceof URL) {
    const url = await toUrl(source)
    if (/^https?:$/.test(url.protocol)) return await openCached(url, index, options) ?? openUrl(url, options)
    if (url.protocol !== 'file:') return openUrl(url, options)
    if (!node) throw new NibbleError('E_ARGUMENT', `a page cannot open ${url.href}; let the user choose the file and pass the File`)
    return (await node()).openFile(url, options)
  }
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) {
    const bytes = source instanceof ArrayBuffer ? new Uint8Array(source) : new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    return openBytes(bytes)
  }
  if (source instanceof Blob) return openStream(source.stream(), 'name' in source ? String(source.name) : 'the blob', source.size, options)
  if (source instanceof Response) return openResponse(source, source.url || 'the response', options)
  if (source instanceof ReadableStream) return openStream(source, 'the stream', undefined, options)
  throw new NibbleError('E_ARGUMENT', 'a model is loaded from a path, a URL, a File or Blob, a ReadableStream, a Response or an ArrayBuffer')
}

/** @param {string | URL} source */
export async function toUrl(source) {
  if (source instanceof URL) return source
  const address = /^([a-z][a-z0-9+.-]+:\/\/|blob:|data:|file:)/i.test(source)
  if (node && !address) return (await node()).pathToFileURL(source)
  try {
    return new URL(source, globalThis.location?.href)
  } catch (error) {
    throw new NibbleError('E_ARGUMENT', `'${source}' is not a URL`, { cause: error })
  }
}

/** @param {URL} url */
function checkAddress(url) {
  if (url.username || url.password) {
    throw new NibbleError('E_ARGUMENT', `a name and password cannot be part of a URL that is fetched (${url.host}); send them with the option headers`)
  }
}

/**
 * Through the cache, where it is wanted. @param {URL} url @param {number} index @param {SourceOptions} options @returns {Promise<Part | undefined>}
 */
async function openCached(url, index, { cache = false, ...options }) {
  if (cache === false) return undefined
  checkAddress(url)
  let downloads
  try {
    downloads = await loadDownloads()
  } catch (error) {
    throw new NibbleError('E_NETWORK', 'the code that keeps models (download.js) cannot be read; deploy it with the other files, or try again', { cause: error })
  }
  const part = await downloads.open(url, cache, index, options)
  return part && asPart(part)
}

/** Chunks as a part. @param {import('./download/kept.js').KeptPart} chunks @returns {Part} */
export function asPart(chunks) {
  /** @type {Uint8Array} */
  let rest = new Uint8Array(0)
  return {
    name: chunks.name,
    get size() { return chunks.size },
    get from() { return chunks.from },
    get warning() { return chunks.warning },
    async read(view) {
      while (rest.length === 0) {
        const bytes = await chunks.next()
        if (!bytes) return 0
        rest = bytes
      }
      const n = Math.min(rest.length, view.length)
      view.set(rest.subarray(0, n))
      rest = rest.subarray(n)
      return n
    },
    accept: chunks.accept,
    close: chunks.close,
  }
}

/** @param {URL} url @param {SourceOptions} options @returns {Promise<Part>} */
async function openUrl(url, options) {
  const { signal, headers, fetch = globalThis.fetch } = options
  checkAddress(url)
  let asked, response
  try {
    asked = fetch(url, { signal, headers })
    response = await abortable(asked, signal)
  } catch (error) {
    asked?.then((late) => late.body?.cancel()).catch(() => {}) // a fetch of the caller's may not look at the signal
    throw readError(error, url.href, signal)
  }
  return openResponse(response, url.href, options)
}

/** @param {Response} response @param {string} name @param {SourceOptions} options @returns {Promise<Part>} */
async function openResponse(response, name, options) {
  if (!response.ok) {
    await response.body?.cancel()
    throw new NibbleError('E_NETWORK', `${name} cannot be fetched: HTTP ${response.status} ${response.statusText}`.trim())
  }
  if (response.bodyUsed) throw new NibbleError('E_ARGUMENT', `${name} was read before; fetch it again, or pass what was read`)
  if (!response.body) throw new NibbleError('E_NETWORK', `${name} came without a body`)
  // With a content encoding the header counts the encoded bytes.
  const length = response.headers.get('content-encoding') ? null : response.headers.get('content-length')
  return openStream(response.body, name, length === null ? undefined : Number(length), options)
}

/**
 * @param {ReadableStream<Uint8Array>} stream
 * @param {string} name
 * @param {number | undefined} size  announced; a stream that ends elsewhere was cut
 * @param {SourceOptions} options
 * @returns {Part}
 */
function openStream(stream, name, size, { signal }) {
  if (stream.locked) throw new NibbleError('E_ARGUMENT', `${name} is being read by somebody else; pass a stream without a reader`)
  const reader = readerInto(stream) ?? stream.getReader()
  /** @type {Uint8Array} */
  let rest = new Uint8Array(0) // of the chunk that came last
  let total = 0
  const onAbort = () => void reader.cancel(signal?.reason).catch(() => {})
  signal?.addEventListener('abort', onAbort, { once: true })
  return {
    name,
    size,
    async read(view) {
      while (rest.length === 0) {
        let result
        try {
          result = await reader.read()
        } catch (error) {
          throw readError(error, name, signal)
        }
        if (signal?.aborted) throw abortError(undefined, signal)
        if (result.done) {
          if (size !== undefined && total !== size) {
            throw new NibbleError('E_NETWORK', `${name} ended after ${total} of ${size} bytes; it was cut on the way, try again`)
          }
          return 0
        }
        if (!(result.value instanceof Uint8Array)) throw new NibbleError('E_ARGUMENT', `${name} must give Uint8Array chunks`)
        rest = result.value
        total += rest.length
      }
      const n = Math.min(rest.length, view.length)
      view.set(rest.subarray(0, n))
      rest = rest.subarray(n)
      return n
    },
    async close() {
      signal?.removeEventListener('abort', onAbort)
      rest = new Uint8Array(0)
      await reader.cancel().catch(() => {})
    },
  }
}

/**
 * A reader of a stream of bytes that fills one buffer again and again: chunks of their own are left to the garbage collector, which takes no notice of
 * their size, so that a page holds hundreds of megabytes of them. Undefined for other streams, and where engines have no such readers.
 * @param {ReadableStream<Uint8Array>} stream
 */
export function readerInto(stream) {
  try {
    const reader = stream.getReader({ mode: 'byob' })
    let buffer = new ArrayBuffer(1 << 20)
    return {
      /** @param {unknown} [reason] */
      cancel: (reason) => reader.cancel(reason),
      async read() {
        const result = await reader.read(new Uint8Array(buffer))
        if (result.value) buffer = result.value.buffer
        return result
      },
    }
  } catch {
    return undefined
  }
}

/** @param {Uint8Array} bytes @returns {Part} */
function openBytes(bytes) {
  let at = 0
  return {
    name: 'the buffer',
    size: bytes.length,
    async read(view) {
      const n = Math.min(view.length, bytes.length - at, 8 << 20)
      if (n <= 0) return 0 // a buffer that was transferred meanwhile has none left
      view.set(bytes.subarray(at, at + n))
      at += n
      return n
    },
    close: async () => {},
  }
}
