/**
 * Sources that are read by ranges: files, blobs, buffers and URLs of servers that answer with ranges.
 */
import { NibbleError } from '../errors.js'
import { abortError, abortable, partOf, readError, toUrl } from '../source.js'
import { files } from './platform.js'

/**
 * @typedef {object} Ranges
 * @property {string} name  for messages
 * @property {number} size
 * @property {(offset: number, length: number) => Promise<Uint8Array>} read  all of it, or an error
 * @property {() => Promise<void>} close
 */

/**
 * Opens the part of a source with the given index.
 * @param {import('../source.js').Source} source @param {number} index @param {import('../source.js').SourceOptions} options
 * @returns {Promise<Ranges>}
 */
export async function openRanges(source, index, options) {
  const { signal } = options
  if (signal?.aborted) throw abortError(undefined, signal)
  const part = partOf(source, index)
  const ranges = await openOne(part, options)
  return {
    ...ranges,
    async read(offset, length) {
      if (signal?.aborted) throw abortError(undefined, signal)
      if (length > ranges.size - offset) throw new NibbleError('E_TRUNCATED', `${ranges.name} ends after ${ranges.size} bytes, before byte ${offset + length}; it was not copied or downloaded completely`)
      let bytes
      try {
        bytes = await ranges.read(offset, length)
      } catch (error) {
        throw readError(error, ranges.name, signal)
      }
      if (bytes.length !== length) throw new NibbleError('E_CHANGED', `${ranges.name} gave ${bytes.length} bytes where ${length} were asked for; it changed while it was read`)
      return bytes
    },
  }
}

/** @param {import('../source.js').SingleSource} source @param {import('../source.js').SourceOptions} options @returns {Promise<Ranges>} */
async function openOne(source, options) {
  if (typeof source === 'string' || source instanceof URL) {
    const url = await toUrl(source)
    if (url.protocol !== 'file:') return openUrl(url, options)
    if (!files) throw new NibbleError('E_ARGUMENT', `a page cannot open ${url.href}; let the user choose the file and pass the File`)
    return (await files()).fileRanges(url)
  }
  if (source instanceof Blob) {
    return {
      name: 'name' in source ? String(source.name) : 'the blob', size: source.size, close: async () => {},
      read: async (offset, length) => new Uint8Array(await source.slice(offset, offset + length).arrayBuffer()),
    }
  }
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) {
    const bytes = source instanceof ArrayBuffer ? new Uint8Array(source) : new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    return { name: 'the buffer', size: bytes.length, close: async () => {}, read: async (offset, length) => bytes.subarray(offset, offset + length) }
  }
  throw new NibbleError('E_ARGUMENT', 'what is quantized is read by ranges: give a path, a URL, a File or Blob, or an ArrayBuffer')
}

/** Waits between attempts at a range, in milliseconds: servers drop connections in the middle of long work. */
const WAITS = [500, 2000, 8000]

/** @param {URL} url @param {import('../source.js').SourceOptions} options @returns {Promise<Ranges>} */
async function openUrl(url, { signal, headers, fetch = globalThis.fetch }) {
  if (url.username || url.password) {
    throw new NibbleError('E_ARGUMENT', `a name and password cannot be part of a URL that is fetched (${url.host}); send them with the option headers`)
  }
  /** @type {string | null | undefined} */
  let tag
  /** @param {number} from @param {number} length */
  const ask = async (from, length) => {
    const sent = new Headers(headers)
    sent.set('range', `bytes=${from}-${from + length - 1}`)
    const response = await abortable(fetch(url, { signal, headers: sent }), signal)
    if (response.status === 200) {
      await response.body?.cancel()
      throw new NibbleError('E_NETWORK', `the server of ${url.href} gives no ranges; download the file, and name it`)
    }
    if (response.status !== 206) {
      await response.body?.cancel()
      const error = new NibbleError('E_NETWORK', `${url.href} cannot be fetched: HTTP ${response.status} ${response.statusText}`.trim())
      throw Object.assign(error, { again: response.status >= 500 || response.status === 429 })
    }
    const place = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(response.headers.get('content-range') ?? '')
    if (!place || Number(place[1]) !== from) throw new NibbleError('E_NETWORK', `the server of ${url.href} answers with other ranges than those asked for; download the file, and name it`)
    const now = response.headers.get('etag') ?? response.headers.get('last-modified')
    if (tag === undefined) tag = now
    else if (tag !== now) throw new NibbleError('E_CHANGED', `the file at ${url.href} was replaced while it was read; begin again`)
    return { size: Number(place[3]), bytes: new Uint8Array(await abortable(response.arrayBuffer(), signal)) }
  }
  /** @param {number} from @param {number} length */
  const patiently = async (from, length) => {
    for (let attempt = 0; ; attempt++) {
      try {
        return await ask(from, length)
      } catch (error) {
        const again = error instanceof NibbleError ? 'again' in error && error.again : !signal?.aborted
        if (!again || attempt === WAITS.length) throw readError(error, url.href, signal)
        await abortable(new Promise((resolve) => setTimeout(resolve, WAITS[attempt])), signal)
      }
    }
  }
  const { size } = await patiently(0, 1)
  return { name: url.href, size, read: async (offset, length) => (length ? (await patiently(offset, length)).bytes : new Uint8Array(0)), close: async () => {} }
}
