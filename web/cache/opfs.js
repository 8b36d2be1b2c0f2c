/**
 * Keeping files in the browser's private file system of this origin. For workers: only they may write in place.
 */

const FOLDER = 'nibble-cache'

/** Where a handle is still held by a worker that was just ended: milliseconds to wait for it. */
const PATIENCE = 3000

/** Whether files can be kept so here: private windows may refuse. */
export async function hasFiles() {
  try {
    return typeof FileSystemFileHandle !== 'undefined' && 'createSyncAccessHandle' in FileSystemFileHandle.prototype && !!await navigator.storage.getDirectory()
  } catch {
    return false
  }
}

/** @param {boolean} create */
const folder = async (create) => (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create })

/** @param {any} error */
const isMissing = (error) => error?.name === 'NotFoundError'

/** @param {FileSystemFileHandle} handle @returns {Promise<any>} */
async function access(handle) {
  for (const start = performance.now(); ;) {
    try {
      return await /** @type {any} */ (handle).createSyncAccessHandle()
    } catch (error) {
      if (/** @type {any} */ (error).name !== 'NoModificationAllowedError' || performance.now() - start > PATIENCE) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

/** @param {string} name @param {'shared' | 'exclusive'} mode @param {AbortSignal} [signal] @returns {Promise<() => void>} */
export function webLock(name, mode, signal) {
  if (!navigator.locks) return Promise.resolve(() => {})
  return new Promise((resolve, reject) => {
    navigator.locks.request(`nibble-cache-${name}`, { mode, ...(signal && { signal }) }, () => new Promise((/** @type {(value?: unknown) => void} */ release) => resolve(release))).catch(reject)
  })
}

/** @type {import('../../js/download/entry.js').Store} */
export const files = {
  async names() {
    try {
      const names = []
      for await (const name of /** @type {any} */ (await folder(false)).keys()) names.push(name)
      return names
    } catch (error) {
      if (isMissing(error)) return []
      throw error
    }
  },
  async load(name, most) {
    const file = await (await (await folder(false)).getFileHandle(name)).getFile()
    return file.size <= most ? new Uint8Array(await file.arrayBuffer()) : undefined
  },
  async open(name) {
    const handle = await access(await (await folder(true)).getFileHandle(name, { create: true }))
    return {
      async read(position, length) {
        const bytes = new Uint8Array(length)
        return bytes.subarray(0, handle.read(bytes, { at: position }))
      },
      async write(bytes, position) {
        if (handle.write(bytes, { at: position }) !== bytes.length) throw new DOMException('a piece was not written whole', 'QuotaExceededError')
      },
      flush: async () => handle.flush(),
      truncate: async (size) => handle.truncate(size),
      close: async () => handle.close(),
    }
  },
  async reader(name) {
    const file = await files.file(name, name)
    return { read: async (position, length) => new Uint8Array(await file.slice(position, position + length).arrayBuffer()), close: async () => {} }
  },
  async file(name, as) {
    const file = await (await (await folder(false)).getFileHandle(name)).getFile()
    return as === name ? file : new File([file], as)
  },
  async remove(name) {
    for (const start = performance.now(); ;) {
      try {
        return await (await folder(false)).removeEntry(name)
      } catch (error) {
        if (isMissing(error)) return
        if (/** @type {any} */ (error).name !== 'NoModificationAllowedError' || performance.now() - start > PATIENCE) throw error
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  },
  lock: webLock,
}
