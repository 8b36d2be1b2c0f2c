/**
 * The journal of a file that is kept: lines of JSON, only ever appended to, and read as if somebody else had written them. The first line says what the file
 * is; the others which chunks of it are on the disk, each written after the chunk itself, whose hash tells whether that one, too, has reached it:
 *
 *   {nibble: 'kept', version, key, url, name, size, chunk, etag, modified, created}    size null: not known before its end; chunk: bytes of one
 *   {chunk, sha256}                                                                     the chunk of that number
 *   {drop}                                                                              it was found damaged
 *   {complete, sha256}                                                                  the whole file, its size and hash, approved by its reader
 *   {used}                                                                              when it was loaded last
 *
 * A write that was cut leaves a line that is none: it and what follows are ignored.
 */

const VERSION = 1
const MOST_BYTES = 16 << 20
const MOST_CHUNKS = 1 << 20

/**
 * @typedef {object} Header
 * @property {string} key  what it is asked for by: the address as a rule
 * @property {string | null} url  @property {string} name
 * @property {number | null} size  @property {number} chunk
 * @property {string | null} etag  @property {string | null} modified
 * @property {number} created
 *
 * @typedef {object} State
 * @property {(string | undefined)[]} hashes  SHA-256 of each chunk, hexadecimal
 * @property {boolean} complete  @property {string | undefined} sha256  @property {number} used
 * @property {number} valid  bytes of the journal that could be read
 * @typedef {Header & State} Journal
 */

const encoder = new TextEncoder()

/** @param {object} record */
export const line = (record) => encoder.encode(`${JSON.stringify(record)}\n`)

/** @param {Header} header */
export const firstLine = ({ key, url, name, size, chunk, etag, modified, created }) =>
  line({ nibble: 'kept', version: VERSION, key, url, name, size, chunk, etag, modified, created })

/** @param {unknown} value @param {number} most */
const isText = (value, most) => typeof value === 'string' && value.length > 0 && value.length <= most
/** @param {unknown} value @param {number} most @returns {value is number} */
const isCount = (value, most) => Number.isInteger(value) && /** @type {number} */ (value) >= 0 && /** @type {number} */ (value) <= most
const isHash = (/** @type {unknown} */ value) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)

/** Chunks of a file. @param {number} size @param {number} chunk */
export const chunksOf = (size, chunk) => Math.ceil(size / chunk)

/** What a file is called, by its address. @param {URL} url */
export function nameOf(url) {
  const last = url.pathname.split('/').filter(Boolean).pop() ?? url.host
  try {
    return decodeURIComponent(last).slice(0, 200) || url.host
  } catch {
    return last.slice(0, 200)
  }
}

/** @param {any} first @returns {Header | undefined} */
function checkHeader(first) {
  const { nibble, version, key, url, name, size, chunk, etag, modified, created } = first
  const good = nibble === 'kept' && version === VERSION && isText(key, 8192) && isText(name, 1024) && (url === null || isText(url, 8192))
    && isCount(chunk, 64 << 20) && chunk >= 1024 && (size === null || isCount(size, Number.MAX_SAFE_INTEGER) && chunksOf(size, chunk) <= MOST_CHUNKS)
    && (etag === null || isText(etag, 1024)) && (modified === null || isText(modified, 256)) && isCount(created, Number.MAX_SAFE_INTEGER)
  return good ? { key, url, name, size, chunk, etag, modified, created } : undefined
}

/** @param {Uint8Array} bytes @returns {any} an object, or undefined */
function record(bytes) {
  try {
    const value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    return value !== null && typeof value === 'object' ? value : undefined
  } catch {
    return undefined
  }
}

/**
 * Takes a record into the state. @param {Journal} to @param {any} it @returns {boolean} whether it is one
 */
function apply(to, it) {
  const most = to.size === null ? MOST_CHUNKS : chunksOf(to.size, to.chunk)
  if ('complete' in it) {
    if (!isCount(it.complete, Number.MAX_SAFE_INTEGER) || !isHash(it.sha256) || (to.size !== null && to.size !== it.complete)) return false
    const n = chunksOf(it.complete, to.chunk)
    if (n > MOST_CHUNKS || to.hashes.length !== n || to.hashes.includes(undefined)) return false
    to.size = it.complete
    to.sha256 = it.sha256
    to.complete = true
    return true
  }
  if ('used' in it) {
    if (!isCount(it.used, Number.MAX_SAFE_INTEGER)) return false
    to.used = it.used
    return true
  }
  if ('drop' in it) {
    if (!isCount(it.drop, most - 1) || to.complete) return false
    if (it.drop < to.hashes.length) to.hashes[it.drop] = undefined
    return true
  }
  if (!isCount(it.chunk, most - 1) || !isHash(it.sha256) || to.complete) return false
  while (to.hashes.length <= it.chunk) to.hashes.push(undefined)
  to.hashes[it.chunk] = it.sha256
  return true
}

/** @param {Uint8Array} bytes @returns {Journal | undefined} */
export function parseJournal(bytes) {
  /** @type {Journal | undefined} */
  let journal
  if (bytes.length > MOST_BYTES) return undefined
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(10, at)
    if (end < 0) break
    const it = record(bytes.subarray(at, end))
    if (it === undefined) break
    if (journal === undefined) {
      const header = checkHeader(it)
      if (!header) return undefined
      journal = { ...header, hashes: [], complete: false, sha256: undefined, used: header.created, valid: 0 }
    } else if (!apply(journal, it)) break
    at = journal.valid = end + 1
  }
  return journal
}
