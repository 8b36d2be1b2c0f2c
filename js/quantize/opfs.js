/**
 * Files that a browser keeps for a page, in the private file system of its origin. Results are written there as they come, so that a model of gigabytes
 * is never in memory, and opened from there as File objects. All but the sink may also be used by the page itself.
 */
import { NibbleError, isNibbleError } from '../errors.js'

const FOLDER = 'nibble-models'
const UNFINISHED = '.part'

/** @param {unknown} error @param {string} name */
function storageError(error, name) {
  if (isNibbleError(error)) return error
  const { name: kind = '', message = String(error) } = /** @type {Partial<Error>} */ (error ?? {})
  if (kind === 'QuotaExceededError') return new NibbleError('E_QUOTA', `the browser gives this page no more room on the disk for ${name}; free some, or delete models that are kept here`, { cause: error })
  if (kind === 'NoModificationAllowedError') return new NibbleError('E_ARGUMENT', `${name} is being written in another tab; wait for that, or close it`, { cause: error })
  return new NibbleError('E_UNSUPPORTED', `the browser's storage does not work: ${message}; use a window that is not private, or another browser`, { cause: error })
}

/** @param {string} name @returns {string} */
function checked(name) {
  if (typeof name !== 'string' || !name || name.length > 200 || /[/\\]|^\.{1,2}$/.test(name) || name.endsWith(UNFINISHED)) throw new NibbleError('E_ARGUMENT', `'${name}' is no name for a file that is kept`)
  return name
}

async function root() {
  const place = await globalThis.navigator?.storage?.getDirectory?.()
  if (!place) throw new NibbleError('E_UNSUPPORTED', 'there is no private file system here; use memorySink()')
  return place
}

/** @param {{create?: boolean}} [options] */
const folder = async (options) => (await root()).getDirectoryHandle(FOLDER, options)

/** Whether files can be kept here: some browsers refuse it in private windows. */
export async function keepsFiles() {
  try {
    await root()
    return typeof FileSystemFileHandle !== 'undefined' && 'createSyncAccessHandle' in FileSystemFileHandle.prototype && 'move' in FileSystemFileHandle.prototype
  } catch {
    return false
  }
}

/** Bytes that the browser still gives this page, as far as it tells. @returns {Promise<number>} */
export async function roomLeft() {
  const { quota, usage = 0 } = await navigator.storage.estimate().catch(() => ({ quota: undefined, usage: 0 }))
  return quota === undefined ? Infinity : Math.max(0, quota - usage)
}

/** @param {FileSystemDirectoryHandle} place @returns {Promise<FileSystemFileHandle[]>} */
async function handlesIn(place) {
  const handles = []
  for await (const handle of /** @type {any} */ (place).values()) if (handle.kind === 'file') handles.push(handle)
  return handles
}

/**
 * The files that are kept, the newest first.
 * @returns {Promise<File[]>}
 */
export async function keptFiles() {
  try {
    const handles = await handlesIn(await folder())
    const files = await Promise.all(handles.filter(({ name }) => !name.endsWith(UNFINISHED)).map((handle) => handle.getFile().catch(() => undefined))) // gone meanwhile
    return files.filter((file) => file !== undefined).sort((a, b) => b.lastModified - a.lastModified)
  } catch {
    return [] // where nothing can be kept, nothing is
  }
}

/** @param {string} name */
export async function deleteKept(name) {
  try {
    await (await folder()).removeEntry(checked(name))
  } catch (error) {
    if (/** @type {any} */ (error)?.name !== 'NotFoundError') throw storageError(error, name)
  }
}

/** Deletes what runs left behind that were ended in the middle. What is being written in another tab is locked, and stays. */
export async function sweep() {
  const place = await folder().catch(() => undefined) // nothing was ever kept
  if (!place) return
  for (const { name } of await handlesIn(place)) if (name.endsWith(UNFINISHED)) await place.removeEntry(name).catch(() => {})
}

/**
 * A sink into a file that is kept, for workers: only they may write in place. Until it is complete the file has another name.
 * @param {string} name
 * @returns {Promise<import('./gguf-writer.js').Sink & {read: (position: number, length: number) => Promise<Uint8Array>, file: () => Promise<File>}>}  file: after the commit
 */
export async function opfsSink(name) {
  checked(name)
  /** @template T @param {() => T | Promise<T>} work @returns {Promise<T>} */
  const guarded = async (work) => {
    try {
      return await work()
    } catch (error) {
      throw storageError(error, name)
    }
  }
  if (!await keepsFiles()) throw new NibbleError('E_UNSUPPORTED', 'no files can be kept here; use memorySink()')
  const part = `${name}${UNFINISHED}`
  return guarded(async () => {
    const place = await folder({ create: true }), handle = await place.getFileHandle(part, { create: true })
    const access = await /** @type {any} */ (handle).createSyncAccessHandle()
    access.truncate(0)
    return {
      write: (bytes, position) => guarded(() => {
        if (access.write(bytes, { at: position }) !== bytes.length) throw new DOMException('a piece was not written whole', 'QuotaExceededError')
      }),
      read: (position, length) => guarded(() => {
        const bytes = new Uint8Array(length)
        return bytes.subarray(0, access.read(bytes, { at: position }))
      }),
      commit: (size) => guarded(async () => {
        access.truncate(size)
        access.flush()
        access.close()
        await place.removeEntry(name).catch(() => {}) // an older one; not there as a rule
        await /** @type {any} */ (handle).move(name)
      }),
      abort: () => guarded(async () => {
        access.close()
        await place.removeEntry(part)
      }),
      file: () => guarded(async () => (await place.getFileHandle(name)).getFile()),
    }
  })
}
