/**
 * A file that is on the disk, handed out in chunks as a download is.
 */
import { chunksOf } from './journal.js'
import { digest } from './sha256.js'

/**
 * @typedef {object} KeptPart  a source of chunks, each the reader's own; see Part in js/source.js for the rest
 * @property {string} name
 * @property {number | undefined} size
 * @property {'network' | 'cache'} from  where the last chunk came from
 * @property {{code: string, message: string} | undefined} warning  why the file is not kept, where it is not
 * @property {Kept | undefined} kept  where all of it is on the disk
 * @property {() => Promise<Uint8Array | undefined>} next
 * @property {() => Promise<void>} accept  the reader found it to be good
 * @property {(why?: unknown) => Promise<void>} close
 *
 * @typedef {{id: string, size: number, chunk: number, hashes: string[]}} Kept
 */

/**
 * Reads what is kept, checking every chunk; what the disk has damaged is mended.
 * @param {Kept} kept
 * @param {{name: string, read: (position: number, length: number) => Promise<Uint8Array>, mend: (i: number) => Promise<Uint8Array>, close: () => Promise<void>}} how
 * @returns {KeptPart}
 */
export function keptPart(kept, { name, read, mend, close }) {
  const { size, chunk, hashes } = kept, n = chunksOf(size, chunk)
  let at = 0
  /** Reading is ahead of checking. @type {Promise<Uint8Array | undefined>[]} */
  const ahead = []
  const get = async (/** @type {number} */ i) => {
    const bytes = await read(i * chunk, Math.min(chunk, size - i * chunk)).catch(() => undefined)
    return bytes && await digest(bytes) === hashes[i] ? bytes : undefined
  }
  return {
    name, size, kept, from: 'cache', warning: undefined,
    async next() {
      while (ahead.length < 3 && at + ahead.length < n) ahead.push(get(at + ahead.length))
      if (at >= n) return undefined
      const bytes = await ahead.shift() ?? await mend(at)
      at++
      return bytes
    },
    accept: async () => {},
    async close() {
      await Promise.all(ahead)
      await close()
    },
  }
}
