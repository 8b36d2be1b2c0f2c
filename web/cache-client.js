/**
 * The page's side of what is kept: every question starts the worker that fetches, and ends it.
 */
import { NibbleError } from '../js/errors.js'
import { Connection } from './connection.js'

/** @typedef {import('../js/cache.js').KeptEntry} KeptEntry  @typedef {import('./client.js').TrustedScriptURL} TrustedScriptURL */

/** @param {string | URL | TrustedScriptURL} [url] */
export function startFetcher(url = cache.fetchWorkerUrl) {
  // The second form is what bundlers look for: it must stay as it is.
  return new Connection(() => (url ? new Worker(/** @type {string} */ (url), { type: 'module' }) : new Worker(new URL('./fetch-worker.js', import.meta.url), { type: 'module' })), 'fetch-worker.js', 'fetchWorkerUrl')
}

/** @param {string} op @param {unknown[]} args @param {{signal?: AbortSignal, onProgress?: (progress: any) => void}} [more] */
async function ask(op, args, more) {
  const fetcher = startFetcher()
  try {
    return await fetcher.ask(op, args, more)
  } finally {
    fetcher.close(new NibbleError('E_DISPOSED', 'it is done'))
  }
}

/** The files that load() keeps with the option cache: what js/cache.js is, asked of a worker. */
export const cache = {
  /** Where fetch-worker.js is, if not beside client.js. Pages that require Trusted Types set it. @type {string | URL | TrustedScriptURL | undefined} */
  fetchWorkerUrl: undefined,
  /** All files that are kept, complete or not; those used last first. @returns {Promise<KeptEntry[]>} */
  list: () => ask('list', []),
  /**
   * Keeps a file under `local:NAME`, in the place of an older one of that name.
   * @param {File} file @param {{signal?: AbortSignal, onProgress?: (progress: {loaded: number, total: number}) => void}} [options] @returns {Promise<KeptEntry>}
   */
  put: (file, options) => ask('put', [file], options),
  /** A file that is complete, backed by the disk. @param {string} key @returns {Promise<File | undefined>} */
  file: (key) => ask('file', [key]),
  /** Deletes a file, complete or not. @param {string} key @returns {Promise<boolean>} whether there was one */
  delete: (key) => ask('delete', [key]),
  /** A file to hand out as a download. @param {string} key @returns {Promise<File>} */
  export: (key) => ask('export', [key]),
  /** Asks the browser not to delete what is kept when the disk gets full. @returns {Promise<boolean>} whether it promised so */
  persist: async () => await navigator.storage?.persist?.() ?? false,
  /** @returns {Promise<import('../js/cache.js').Usage>} */
  async usage() {
    const { usage = 0, quota = 0 } = await navigator.storage?.estimate?.() ?? {}
    return { usage, quota, persisted: await navigator.storage?.persisted?.() ?? false }
  },
}
