/**
 * Stands in for js/platform.js in the bundles for browsers, which live in dist/web, one folder below the .wasm files.
 */

export const node = undefined

/**
 * A file of its own, found by bundlers as they find the others. They must not follow the import: what becomes a worker cannot be split by
 * some of them. (web/bundle.mjs puts in the comments that tell them.)
 * @returns {Promise<typeof import('../js/template.js')>}
 */
export const loadTemplates = () => import(new URL('./template.js', import.meta.url).href)

/** As loadTemplates. @returns {Promise<typeof import('../js/team.js')>} */
export const loadTeam = () => import(new URL('./team.js', import.meta.url).href)

/** As loadTemplates. @returns {Promise<import('../js/cache.js').Downloads>} */
export const loadDownloads = () => import(new URL('./download.js', import.meta.url).href)

export const cores = async () => navigator.hardwareConcurrency ?? 1

/** Pages that require Trusted Types allow their workers a policy of this name, or their models run on one thread. */
const POLICY = 'nibble-thread'

/** Its script, which is the only one that the policy knows. @type {any} */
let script

/** @param {import('../js/thread.js').ThreadData} data */
export async function startThread(data) {
  const { href } = new URL('./thread.js', import.meta.url)
  script ??= /** @type {any} */ (globalThis).trustedTypes?.createPolicy(POLICY, { createScriptURL: () => href }).createScriptURL('') ?? href
  const worker = new Worker(script, { type: 'module' })
  worker.postMessage(data)
  return {
    ready: new Promise((resolve, reject) => {
      worker.onmessage = resolve
      worker.onerror = ({ message }) => reject(new Error(message || 'the worker cannot be loaded'))
    }),
    end: () => worker.terminate(),
  }
}

/** Whole names, so that bundlers find the files. @param {import('../js/runtime.js').ModuleName} name */
export const wasmFile = (name) => ({
  'simd128': new URL('../nibble-simd128.wasm', import.meta.url),
  'relaxed': new URL('../nibble-relaxed.wasm', import.meta.url),
  'simd128-threads': new URL('../nibble-simd128-threads.wasm', import.meta.url),
  'relaxed-threads': new URL('../nibble-relaxed-threads.wasm', import.meta.url),
})[name]
