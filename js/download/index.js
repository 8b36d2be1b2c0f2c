/**
 * Files from the network that stay: opening one, which loads it from the disk where it is kept, and what else can be done with those that are.
 */
import { NibbleError, isNibbleError } from '../errors.js'
import { Download, LIMITS } from './download.js'
import { findEntries, folderOf, noteUse, putFile, removeEntry, storageError, sweep } from './entry.js'
import { chunksOf, nameOf } from './journal.js'
import { keptPart } from './kept.js'
import { digest } from './sha256.js'

/**
 * @typedef {import('./entry.js').Store} Store
 * @typedef {import('./entry.js').Found} Found
 *
 * @typedef {object} KeptEntry
 * @property {string} key  the address; `local:NAME` of files that were put; the name that load() was given as cache
 * @property {string} name
 * @property {number} bytes  that are kept  @property {number | undefined} total  of the whole file, where known
 * @property {boolean} complete
 * @property {string} [sha256]  hexadecimal  @property {string} [etag]
 * @property {number} created  @property {number} used  milliseconds, as Date.now() counts them
 *
 * @typedef {object} KeptOptions
 * @property {Store | undefined} store  undefined: nothing can be kept here
 * @property {string} key
 * @property {typeof globalThis.fetch} fetch  @property {HeadersInit} [headers]  @property {boolean} conditional
 * @property {AbortSignal} [signal]
 * @property {string} [integrity]  'sha256-<base64>'
 * @property {() => import('./download.js').Hash} [makeHash]
 * @property {boolean} [peek]  only what is complete
 * @property {Partial<import('./download.js').Limits>} [limits]
 *
 * @typedef {import('./kept.js').KeptPart} KeptPart  @typedef {import('./kept.js').Kept} Kept
 */

const LOCAL = 'local:'

/**
 * What a file is kept under. @param {URL} url @param {boolean | string} cache @param {number} part
 */
export function keyOf(url, cache, part) {
  if (typeof cache !== 'string') return url.href.replace(/#.*$/, '')
  return part === 0 ? cache : `${cache} (${part + 1})`
}

/** @param {string} integrity */
function hexOf(integrity) {
  return Array.from(atob(integrity.slice('sha256-'.length)), (c) => c.charCodeAt(0).toString(16).padStart(2, '0')).join('')
}

/**
 * Fetches one chunk of a file that is kept again, and puts it back to its place.
 * @param {Store} store @param {Found} found @param {number} i @param {Omit<import('./download.js').DownloadOptions, 'url' | 'name' | 'wanted' | 'warn' | 'limits'> & {limits?: KeptOptions['limits']}} options
 */
export async function mend(store, { id, journal }, i, options) {
  const damaged = (/** @type {string} */ why, /** @type {unknown} */ cause) =>
    new NibbleError('E_INTEGRITY', `${journal.name} was damaged on the disk, and ${why}; delete it and load it again`, { cause })
  if (journal.url === null) throw damaged('there is no address to mend it from', undefined)
  const download = new Download({ ...options, url: new URL(journal.url), name: journal.name, wanted: undefined, limits: { ...LIMITS, ...options.limits }, warn: () => {} })
  let bytes
  try {
    bytes = await download.only(journal, i)
  } catch (error) {
    if (isNibbleError(error) && error.code === 'E_ABORTED') throw error
    throw damaged(`cannot be mended: ${/** @type {Error} */ (error).message}`, error)
  } finally {
    await download.close()
  }
  if (await digest(bytes) !== journal.hashes[i]) throw damaged('the server has another file by now', undefined)
  const handle = await store.open(`${id}.data`).catch(() => undefined) // read by others meanwhile: mended the next time
  try {
    await handle?.write(bytes, i * journal.chunk)
    await handle?.flush()
  } catch {}
  await handle?.close().catch(() => {})
  return bytes
}

/** @param {Found} found @returns {Kept} */
export const keptOf = ({ id, journal }) => ({ id, size: /** @type {number} */ (journal.size), chunk: journal.chunk, hashes: /** @type {string[]} */ (journal.hashes) })

/**
 * Opens a file: from the disk where it is kept, else from the network, keeping it.
 * @param {URL} url @param {KeptOptions} options
 * @returns {Promise<KeptPart | undefined>}  undefined: it is not kept, and no more was asked for
 */
export async function openKept(url, { store, key, integrity, peek, limits: given, ...options }) {
  const name = nameOf(url), limits = { ...LIMITS, ...given }, wanted = integrity === undefined ? undefined : hexOf(integrity)
  /** @type {KeptPart['warning']} */
  let warning
  const warn = (/** @type {NibbleError} */ error) => { warning ??= { code: error.code, message: error.message } }
  const prefix = await folderOf(key)
  let release = () => {}
  /** @type {Found | undefined} */
  let partial
  try {
    const isGood = (/** @type {Found} */ { journal }) => journal.complete && (wanted === undefined || journal.sha256 === wanted)
    for (const mode of /** @type {const} */ (['shared', 'exclusive'])) {
      if (!store) break
      release = await store.lock(prefix, mode, options.signal)
      const found = await findEntries(store, prefix), good = found.find(isGood)
      if (good) {
        await noteUse(store, good)
        const place = store, reader = await place.reader(`${good.id}.data`), letGo = release
        return keptPart(keptOf(good), {
          name, read: reader.read, mend: (i) => mend(place, good, i, { ...options, limits: given }),
          close: () => reader.close().finally(letGo),
        })
      }
      if (mode === 'shared') {
        release()
        release = () => {}
        if (peek) return undefined
      } else {
        partial = found.find(({ journal }) => !journal.complete)
        await sweep(store, prefix, found.filter(({ journal }) => journal.complete).concat(partial ?? []).map(({ id }) => id))
      }
    }
  } catch (error) {
    release()
    release = () => {}
    if (isNibbleError(error) && error.code === 'E_ABORTED') throw error
    warn(storageError(error, name))
    store = undefined
  }
  if (peek) return undefined
  if (!store) warn(new NibbleError('E_UNSUPPORTED', 'no files can be kept here: in a private window, or a page without https'))
  const download = new Download({ ...options, url, name: url.href, wanted, limits, warn })
  try {
    await download.begin(store, key, partial)
  } catch (error) {
    await download.close(error)
    release()
    throw error
  }
  return {
    name: url.href,
    kept: undefined,
    get size() { return download.size },
    get from() { return download.from },
    get warning() { return warning },
    next: () => download.next(),
    async accept() {
      await download.accept()
      const { entry } = download
      if (store && entry?.journal.complete) for (const { id } of await findEntries(store, prefix)) if (id !== entry.id) await removeEntry(store, id)
    },
    async close(why) {
      await download.close(why)
      release()
    },
  }
}

/** @param {Found} found @returns {KeptEntry} */
function describe({ journal }) {
  const { key, name, size, chunk, hashes, complete, sha256, etag, created, used } = journal
  const last = size === null ? -1 : chunksOf(size, chunk) - 1
  const bytes = hashes.reduce((n, hash, i) => n + (hash === undefined ? 0 : i === last ? /** @type {number} */ (size) - i * chunk : chunk), 0)
  return { key, name, bytes, total: size ?? undefined, complete, ...(sha256 && { sha256 }), ...(etag && { etag }), created, used }
}

/** One of each key: the complete one, where there is one. @param {Found[]} found */
function best(found) {
  /** @type {Map<string, Found>} */
  const keys = new Map()
  for (const one of found) if (!keys.has(one.journal.key) || (one.journal.complete && !keys.get(one.journal.key)?.journal.complete)) keys.set(one.journal.key, one)
  return [...keys.values()]
}

/** @param {Store} store @param {string} key */
const findKey = async (store, key) => best(await findEntries(store, await folderOf(String(key)))).find(({ journal }) => journal.key === key)

/** Waits that long for somebody who has a file open, before it is deleted. */
const PATIENCE = 3000

/**
 * What can be done with the files that are kept.
 * @param {() => Promise<Store | undefined>} open
 */
export function makeCache(open) {
  const needed = async () => {
    const store = await open()
    if (!store) throw new NibbleError('E_UNSUPPORTED', 'no files can be kept here; use a window that is not private, a page with https, or another browser')
    return store
  }
  const cache = {
    /** All files that are kept, those used last first. @returns {Promise<KeptEntry[]>} */
    async list() {
      const store = await open()
      return store ? best(await findEntries(store)).map(describe).sort((a, b) => b.used - a.used) : []
    },

    /**
     * Keeps a file under `local:NAME`, in the place of an older one.
     * @param {File} file @param {{signal?: AbortSignal, onProgress?: (progress: {loaded: number, total: number}) => void}} [options] @returns {Promise<KeptEntry>}
     */
    async put(file, options = {}) {
      if (!(file instanceof Blob) || !('name' in file) || !file.name) throw new NibbleError('E_ARGUMENT', 'put takes a File, which has a name')
      const name = String(file.name).slice(0, 1000)
      return describe(await putFile(await needed(), LOCAL + name, file, name, LIMITS.chunk, options))
    },

    /** A file that is complete, on the disk. @param {string} key @returns {Promise<File | undefined>} */
    async file(key) {
      const store = await open(), found = store && await findKey(store, key)
      if (!store || !found?.journal.complete) return undefined
      await noteUse(store, found)
      return store.file(`${found.id}.data`, found.journal.name)
    },

    /** Deletes a file, and what there is of one that is incomplete. @param {string} key @returns {Promise<boolean>} whether there was one */
    async delete(key) {
      const store = await open()
      if (!store) return false
      const prefix = await folderOf(String(key))
      const release = await store.lock(prefix, 'exclusive', AbortSignal.timeout(PATIENCE)).catch((error) => {
        throw new NibbleError('E_ARGUMENT', `${key} is being loaded, here or in another tab or process; delete it when that is done`, { cause: error })
      })
      try {
        const found = await findEntries(store, prefix)
        await sweep(store, prefix, [])
        return found.length > 0
      } finally {
        release()
      }
    },

    /** A file to hand out, named as what it is. @param {string} key @returns {Promise<File>} */
    async export(key) {
      const file = await cache.file(key)
      if (!file) throw new NibbleError('E_ARGUMENT', `${key} is not kept, or not complete; cache.list() tells what is`)
      return file
    },
  }
  return cache
}

export { LOCAL }
