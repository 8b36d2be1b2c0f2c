/**
 * Keeping files where there is no private file system: in the Cache API, a response for each chunk and one for the journal.
 */
import { webLock } from './opfs.js'

const NAME = 'nibble-cache'
/** Of addresses that nobody can have. */
const BASE = 'https://kept.invalid/'

export async function hasCaches() {
  try {
    return typeof caches !== 'undefined' && !!await caches.open(NAME) // refused in some private windows
  } catch {
    return false
  }
}

const box = () => caches.open(NAME)
/** @param {string} name @param {number} [position] */
const address = (name, position) => `${BASE}${name}${position === undefined ? '' : `?${position}`}`

/** @param {string} url @returns {Promise<Uint8Array | undefined>} */
async function get(url) {
  const response = await (await box()).match(url)
  return response && new Uint8Array(await response.arrayBuffer())
}

/** @param {string} url @param {Uint8Array} bytes */
const put = async (url, bytes) => (await box()).put(url, new Response(/** @type {Uint8Array<ArrayBuffer>} */ (bytes), { headers: { 'content-length': String(bytes.length) } }))

/** Reading begins where a piece does that was written. @param {string} name */
const readFrom = (name) => async (/** @type {number} */ position, /** @type {number} */ length) => {
  const bytes = new Uint8Array(length)
  let n = 0
  while (n < length) {
    const piece = await get(address(name, position + n))
    if (!piece?.length) break
    bytes.set(piece.subarray(0, length - n), n)
    n += Math.min(piece.length, length - n)
  }
  return bytes.subarray(0, n)
}

/** A journal is small: it is written whole. @param {string} name @returns {Promise<import('../../js/download/entry.js').Handle>} */
async function openJournal(name) {
  let bytes = await get(address(name)) ?? new Uint8Array(0)
  return {
    read: async (position, length) => bytes.slice(position, position + length),
    async write(more, position) {
      const longer = new Uint8Array(Math.max(bytes.length, position + more.length))
      longer.set(bytes)
      longer.set(more, position)
      bytes = longer
      await put(address(name), bytes)
    },
    flush: async () => {},
    async truncate(size) {
      bytes = bytes.slice(0, size)
    },
    close: async () => {},
  }
}

/** @type {import('../../js/download/entry.js').Store} */
export const chunks = {
  async names() {
    const all = await (await box()).keys()
    return [...new Set(all.map(({ url }) => url.slice(BASE.length).replace(/\?.*$/, '')))]
  },
  async load(name, most) {
    const bytes = await get(address(name))
    return bytes && bytes.length <= most ? bytes : undefined
  },
  async open(name) {
    if (name.endsWith('.journal')) return openJournal(name)
    return { read: readFrom(name), write: (bytes, position) => put(address(name, position), bytes), flush: async () => {}, truncate: async () => {}, close: async () => {} }
  },
  reader: async (name) => ({ read: readFrom(name), close: async () => {} }),
  async file(name, as) {
    const all = (await (await box()).keys(address(name), { ignoreSearch: true })).map(({ url }) => url).sort((a, b) => Number(a.split('?')[1]) - Number(b.split('?')[1]))
    const blobs = []
    for (const url of all) blobs.push(await /** @type {Response} */ (await (await box()).match(url)).blob())
    return new File(blobs, as)
  },
  async remove(name) {
    await (await box()).delete(address(name), { ignoreSearch: true })
  },
  lock: webLock,
}
