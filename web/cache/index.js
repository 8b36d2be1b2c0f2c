/**
 * Downloads that are kept, in browsers: in workers as files, where there are some; else in the Cache API; else not at all.
 */
import { keyOf, makeCache, openKept } from '../../js/download/index.js'
import { chunks, hasCaches } from './cache-api.js'
import { files, hasFiles } from './opfs.js'

/** @type {Promise<import('../../js/download/entry.js').Store | undefined> | undefined} */
let store

/** Where files are kept here. */
export const openStore = () => store ??= (async () => {
  if (typeof document === 'undefined' && await hasFiles()) return files
  return await hasCaches() ? chunks : undefined
})()

/** @type {import('../../js/cache.js').Downloads['open']} */
export const open = async (url, cache, index, { signal, fetch = globalThis.fetch.bind(globalThis), headers, integrity, headerOnly, ...more }) => openKept(url, {
  store: await openStore(), key: keyOf(url, cache, index), fetch, headers, conditional: url.origin === location.origin, signal,
  integrity: integrity === undefined ? undefined : [integrity].flat()[index], peek: headerOnly, limits: /** @type {any} */ (more).limits,
})

export const kept = makeCache(openStore)

export const persist = async () => await navigator.storage?.persist?.() ?? false

/** @returns {Promise<import('../../js/cache.js').Usage>} */
export async function usage() {
  const { usage = 0, quota = 0 } = await navigator.storage?.estimate?.() ?? {}
  return { usage, quota, persisted: await navigator.storage?.persisted?.() ?? false }
}
