/**
 * A file that is kept: its bytes and its journal, two files of a store. A new version of it gets files of its own, and the old ones go when it is complete.
 */
import { NibbleError, isNibbleError } from '../errors.js'
import { Sha256, digest } from './sha256.js'
import { TOGETHER } from './kept.js'
import { firstLine, line, parseJournal } from './journal.js'

/**
 * A store: a folder of files, none in another.
 * @typedef {object} Store
 * @property {() => Promise<string[]>} names
 * @property {(name: string, most: number) => Promise<Uint8Array | undefined>} load  a small file, whole; undefined where it is missing or larger
 * @property {(name: string) => Promise<Handle>} open  for writing, made where it is missing; one at a time
 * @property {(name: string) => Promise<Reader>} reader
 * @property {(name: string, as: string) => Promise<File>} file  for others to read
 * @property {(name: string) => Promise<void>} remove  or nothing, where it is missing
 * @property {(name: string, mode: 'shared' | 'exclusive', signal?: AbortSignal) => Promise<() => void>} lock  resolves to what lets go of it
 *
 * @typedef {object} Reader
 * @property {(position: number, length: number) => Promise<Uint8Array>} read  shorter where the file ends
 * @property {() => Promise<void>} close
 *
 * @typedef {object} Writer
 * @property {(bytes: Uint8Array, position: number) => Promise<void>} write
 * @property {() => Promise<void>} flush
 * @property {(size: number) => Promise<void>} truncate
 * @typedef {Reader & Writer} Handle
 *
 * @typedef {import('./journal.js').Journal} Journal
 * @typedef {import('./journal.js').Header} Header
 * @typedef {{id: string, journal: Journal}} Found  id: what the names of both files begin with
 */

const MOST_JOURNAL = 16 << 20
/** Milliseconds between two notes that a file was used. */
const USED_EVERY = 60_000
/** Bytes that the end of the machine may cost, beside those on their way. Each flush waits for the disk. */
const FLUSH_EVERY = 4 << 20

/** @param {unknown} error @param {string} name */
export function storageError(error, name) {
  if (isNibbleError(error)) return error
  const { name: kind = '', code = '', message = String(error) } = /** @type {any} */ (error ?? {})
  const full = kind === 'QuotaExceededError' || ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(code)
  if (full) return new NibbleError('E_QUOTA', `there is no room to keep ${name}; free some, or delete models that are kept`, { cause: error })
  return new NibbleError('E_UNSUPPORTED', `${name} cannot be kept: ${message}`, { cause: error })
}

/** What the names of a key's files begin with. @param {string} key */
export const folderOf = async (key) => (await digest(new TextEncoder().encode(key))).slice(0, 32)

/**
 * All files that are kept, of those with this beginning; the newest first.
 * @param {Store} store @param {string} [prefix] @returns {Promise<Found[]>}
 */
export async function findEntries(store, prefix = '') {
  /** @type {Found[]} */
  const found = []
  for (const name of await store.names()) {
    const id = /^([0-9a-f]{32}-[0-9a-z]{1,40})\.journal$/.exec(name)?.[1]
    if (id === undefined || !id.startsWith(prefix)) continue
    const bytes = await store.load(name, MOST_JOURNAL).catch(() => undefined) // deleted meanwhile
    const journal = bytes && parseJournal(bytes)
    if (journal && id.startsWith(await folderOf(journal.key))) found.push({ id, journal })
  }
  return found.sort((a, b) => b.journal.created - a.journal.created)
}

/** @param {Store} store @param {string} id */
export async function removeEntry(store, id) {
  await store.remove(`${id}.journal`) // first: bytes without a journal are nothing
  await store.remove(`${id}.data`)
}

/** Removes what belongs to no journal: of writes that ended in the middle. Call it with the lock. @param {Store} store @param {string} prefix @param {string[]} ids  that stay */
export async function sweep(store, prefix, ids) {
  for (const name of await store.names()) {
    const id = /^([0-9a-f]{32}-[0-9a-z]{1,40})\.(journal|data)$/.exec(name)?.[1]
    if (id?.startsWith(prefix) && !ids.includes(id)) await store.remove(name).catch(() => {})
  }
}

/** Notes that a file was loaded; a journal that is being written tells so itself. @param {Store} store @param {Found} found */
export async function noteUse(store, { id, journal }) {
  const now = Date.now()
  if (now - journal.used < USED_EVERY) return
  const handle = await store.open(`${id}.journal`).catch(() => undefined)
  try {
    await handle?.write(line({ used: now }), journal.valid)
    await handle?.flush()
  } catch {} // it is a note only
  await handle?.close().catch(() => {})
}

/** A file being written. */
export class Entry {
  /** @param {Store} store @param {string} id @param {Journal} journal @param {Handle} data @param {Handle} log */
  constructor(store, id, journal, data, log) {
    this.store = store
    this.id = id
    this.journal = journal
    this.data = data
    this.log = log
    /** Of the log: appends wait for each other. @type {Promise<unknown>} */
    this.last = Promise.resolve()
    /** Bytes written since the last flush. */
    this.unflushed = 0
  }

  /** @param {Store} store @param {Header} header */
  static async create(store, header) {
    const id = `${await folderOf(header.key)}-${header.created.toString(36)}${Math.random().toString(36).slice(2, 10)}`
    return Entry.#open(store, id, { ...header, hashes: [], complete: false, sha256: undefined, used: header.created, valid: 0 }, firstLine(header))
  }

  /** Goes on with one that is incomplete. @param {Store} store @param {Found} found */
  static resume(store, { id, journal }) {
    return Entry.#open(store, id, journal)
  }

  /** @param {Store} store @param {string} id @param {Journal} journal @param {Uint8Array} [first] */
  static async #open(store, id, journal, first) {
    const data = await store.open(`${id}.data`)
    let log
    try {
      log = await store.open(`${id}.journal`)
      const entry = new Entry(store, id, journal, data, log)
      await log.truncate(journal.valid) // what a cut write left
      if (first) await entry.append(first)
      return entry
    } catch (error) {
      await log?.close().catch(() => {})
      await data.close().catch(() => {})
      throw error
    }
  }

  /** @param {Uint8Array} bytes */
  append(bytes) {
    const done = this.last.then(async () => {
      const at = this.journal.valid
      await this.log.write(bytes, at)
      this.journal.valid = at + bytes.length
    })
    this.last = done.catch(() => {})
    return done
  }

  /** @param {number} i @param {number} length */
  read(i, length) {
    return this.data.read(i * this.journal.chunk, length)
  }

  /**
   * Writes a chunk, and tells the journal. What a process has written outlives it; for the end of the whole machine, every few chunks are brought to the disk.
   * Should a line of the journal get there without its chunk, then the chunk does not have the hash, and is fetched again.
   * @param {number} i @param {Uint8Array} bytes @param {string} sha256
   */
  async put(i, bytes, sha256) {
    const { hashes, chunk } = this.journal
    if (hashes[i] !== undefined) await this.drop(i)
    await this.data.write(bytes, i * chunk)
    await this.append(line({ chunk: i, sha256 }))
    while (hashes.length <= i) hashes.push(undefined)
    hashes[i] = sha256
    this.unflushed += bytes.length
    if (this.unflushed >= FLUSH_EVERY) await this.flush()
  }

  async flush() {
    this.unflushed = 0
    await this.data.flush()
    await this.log.flush()
  }

  /** @param {number} i */
  async drop(i) {
    this.journal.hashes[i] = undefined
    await this.append(line({ drop: i }))
  }

  /** @param {number} size @param {string} sha256 */
  async complete(size, sha256) {
    await this.data.truncate(size)
    await this.data.flush()
    await this.append(line({ complete: size, sha256 }))
    await this.log.flush()
    Object.assign(this.journal, { size, sha256, complete: true })
  }

  async close() {
    await this.last
    await this.log.close().catch(() => {})
    await this.data.close().catch(() => {})
  }
}

/**
 * Copies a file into the store, under a key.
 * @param {Store} store @param {string} key @param {Blob} blob @param {string} name @param {number} chunk
 * @param {{signal?: AbortSignal, onProgress?: (progress: {loaded: number, total: number}) => void}} options
 */
export async function putFile(store, key, blob, name, chunk, { signal, onProgress }) {
  const prefix = await folderOf(key), release = await store.lock(prefix, 'exclusive', signal)
  /** @type {Entry | undefined} */
  let entry
  try {
    entry = await Entry.create(store, { key, url: null, name, size: blob.size, chunk, etag: null, modified: null, created: Date.now() })
    const whole = new Sha256(), piece = TOGETHER * chunk
    const read = (/** @type {number} */ at) => blob.slice(at, at + piece).arrayBuffer()
    let ahead = read(0)
    for (let at = 0; at < blob.size; at += piece) {
      const bytes = new Uint8Array(await ahead)
      ahead = read(at + piece) // nothing, behind the end
      ahead.catch(() => {}) // it is waited for above, or not at all
      for (let from = 0; from < bytes.length; from += chunk) {
        if (signal?.aborted) throw new NibbleError('E_ABORTED', 'the work was cancelled', { cause: signal.reason })
        const one = bytes.subarray(from, from + chunk), hash = digest(one)
        whole.update(one) // while the system's own code is at work
        await entry.put((at + from) / chunk, one, await hash)
        onProgress?.({ loaded: at + from + one.length, total: blob.size })
      }
    }
    await entry.complete(blob.size, whole.digest())
    const { id, journal } = entry
    await entry.close()
    for (const older of await findEntries(store, prefix)) if (older.id !== id) await removeEntry(store, older.id)
    return { id, journal }
  } catch (error) {
    await entry?.close()
    if (entry) await removeEntry(store, entry.id).catch(() => {})
    throw storageError(error, name)
  } finally {
    release()
  }
}
