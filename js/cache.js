/**
 * The files that load() keeps with the option cache. The code that does is read when it is needed.
 */
import { loadDownloads } from './platform.js'

/**
 * @typedef {import('./download/index.js').KeptEntry} KeptEntry
 * @typedef {ReturnType<typeof import('./download/index.js').makeCache>} KeptFiles
 * @typedef {{usage: number, quota: number, persisted: boolean}} Usage  in bytes, of all that the page or the folder of the cache holds
 *
 * @typedef {object} Downloads  what js/download/node.js and web/cache/index.js have
 * @property {(url: URL, cache: boolean | string, index: number, options: import('./source.js').SourceOptions) => Promise<import('./download/kept.js').KeptPart | undefined>} open
 * @property {KeptFiles} kept
 * @property {() => Promise<boolean>} persist  @property {() => Promise<Usage>} usage
 */

const kept = async () => (await loadDownloads()).kept

export const cache = {
  /** All files that are kept, complete or not; those used last first. @returns {Promise<KeptEntry[]>} */
  list: async () => (await kept()).list(),
  /**
   * Keeps a file under `local:NAME`, in the place of an older one of that name.
   * @param {File} file @param {{signal?: AbortSignal, onProgress?: (progress: {loaded: number, total: number}) => void}} [options] @returns {Promise<KeptEntry>}
   */
  put: async (file, options) => (await kept()).put(file, options),
  /** A file that is complete, backed by the disk. @param {string} key @returns {Promise<File | undefined>} */
  file: async (key) => (await kept()).file(key),
  /** Deletes a file, complete or not. @param {string} key @returns {Promise<boolean>} whether there was one */
  delete: async (key) => (await kept()).delete(key),
  /** A file to hand out as a download. @param {string} key @returns {Promise<File>} */
  export: async (key) => (await kept()).export(key),
  /** Asks the browser not to delete what is kept when the disk gets full. @returns {Promise<boolean>} whether it promised so */
  persist: async () => (await loadDownloads()).persist(),
  /** @returns {Promise<Usage>} */
  usage: async () => (await loadDownloads()).usage(),
}
