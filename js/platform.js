/**
 * What differs between the places this library runs in. In the bundles for browsers web/platform.js stands in for this file.
 */

/** What Node alone has; elsewhere undefined. */
export const node = typeof process !== 'undefined' && process.versions?.node ? () => import('./node.js') : undefined

/** The interpreter of chat templates: more than half of the code, and not needed to complete text. */
export const loadTemplates = () => import('./template.js')

/** Downloads that are kept, not needed where nothing is. @returns {Promise<import('./cache.js').Downloads>} */
export async function loadDownloads() {
  if (!node) throw new Error('use the bundle for browsers, dist/web')
  return import('./download/node.js')
}

/** Starting threads, not needed where there is one. */
export const loadTeam = () => import('./team.js')

/**
 * @typedef {object} Thread
 * @property {Promise<unknown>} ready  resolves when it is about to serve
 * @property {() => void} end
 */

/** How many threads run at the same time without sharing a core, as far as the machine tells. */
export const cores = async () => (node ? (await node()).cores() : globalThis.navigator?.hardwareConcurrency ?? 1)

/** @param {import('./thread.js').ThreadData} data @returns {Promise<Thread>} */
export async function startThread(data) {
  if (!node) throw new Error('use the bundle for browsers, dist/web')
  return (await node()).startThread(new URL('./node-thread.js', import.meta.url), data)
}

/** Where the .wasm files are: whole names, so that bundlers find them. @param {import('./runtime.js').ModuleName} name */
export const wasmFile = (name) => ({
  'simd128': new URL('../dist/nibble-simd128.wasm', import.meta.url),
  'relaxed': new URL('../dist/nibble-relaxed.wasm', import.meta.url),
  'simd128-threads': new URL('../dist/nibble-simd128-threads.wasm', import.meta.url),
  'relaxed-threads': new URL('../dist/nibble-relaxed-threads.wasm', import.meta.url),
})[name]
