/**
 * Downloads that are kept, under Node.
 */
import { keyOf, makeCache, openKept } from './index.js'
import { nodeStore } from './node-store.js'

export { usage } from './node-store.js'

/** @type {import('../cache.js').Downloads['open']} */
export const open = (url, cache, index, { signal, fetch = globalThis.fetch, headers, integrity, headerOnly }) => openKept(url, {
  store: nodeStore(), key: keyOf(url, cache, index), fetch, headers, conditional: true, signal, integrity: integrity === undefined ? undefined : [integrity].flat()[index], peek: headerOnly,
})

export const kept = makeCache(async () => nodeStore())

/** Nobody deletes the folder but its owner. */
export const persist = async () => true
