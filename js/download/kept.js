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

/** Chunks that are read in one piece; at most three times as many are in memory. */
export const TOGETHER = 8

/**
 * Reads what is kept, checking every chunk; what the disk has damaged is mended.
 * @param {Kept} kept
 * @param {{name: string, read: (position: number, length: number) => Promise<Uint8Array>, mend: (i: number) => Promise<Uint8Array>, close: () => Promise<void>}} how
 * @returns {KeptPart}
 */
export function keptPart(kept, { name, read, mend, close }) {
  const { size, chunk, hashes } = kept, n = chunksOf(size, chunk)
  let at = 0
  /** Reading is ahead of checking: chunks, from `at` on. @type {Promise<Uint8Array | undefined>[]} */
  const ahead = []
  /** Reads some at once, which costs less than each by itself. @param {number} first */
  const readMore = (first) => {
    const last = Math.min(first + TOGETHER, n)
    const all = read(first * chunk, Math.min(last * chunk, size) - first * chunk).catch(() => undefined)
    for (let i = first; i < last; i++) {
      ahead.push(all.then(async (bytes) => {
        const one = bytes?.subarray((i - first) * chunk, (i + 1 - first) * chunk)
        return one && await digest(one) === hashes[i] ? one : undefined
      }))
    }
  }
  return {
    name, size, kept, from: 'cache', warning: undefined,
    async next() {
      if (at >= n) return undefined
      while (ahead.length <= TOGETHER && at + ahead.length < n) readMore(at + ahead.length)
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
