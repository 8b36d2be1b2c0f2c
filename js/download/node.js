/**
 * Downloads that are kept, under Node.
 */
import { createHash } from 'node:crypto'
import { keyOf, makeCache, openKept } from './index.js'
import { nodeStore } from './node-store.js'

export { usage } from './node-store.js'

/** Several times as fast as the library's own. @returns {import('./download.js').Hash} */
function makeHash() {
  const hash = createHash('sha256')
  return { update: (bytes) => hash.update(bytes), digest: () => hash.digest('hex') }
}

/** @type {import('../cache.js').Downloads['open']} */
export const open = (url, cache, index, { signal, fetch = globalThis.fetch, headers, integrity, headerOnly }) => openKept(url, {
  store: nodeStore(), key: keyOf(url, cache, index), fetch, headers, conditional: true, signal, integrity: integrity === undefined ? undefined : [integrity].flat()[index], peek: headerOnly, makeHash,
})

export const kept = makeCache(async () => nodeStore())

/** Nobody deletes the folder but its owner. */
export const persist = async () => true
