/**
 * The engine with the quantizer in it: other modules than those that chat, read where they are wanted.
 */
import { NibbleError } from '../errors.js'
import { cores, node } from '../platform.js'
import { Engine, chooseVariant } from '../runtime.js'
import { quantizeWasm } from './platform.js'

/** More have not been tried. */
const MOST_THREADS = 16

/** @type {Map<string, Promise<WebAssembly.Module>>} */
const modules = new Map()

/** @param {URL} url */
function compile(url) {
  let compiled = modules.get(url.href)
  if (!compiled) {
    compiled = read(url).then((bytes) => WebAssembly.compile(bytes)).catch((error) => {
      modules.delete(url.href) // so that a later one may try again
      throw new NibbleError('E_NETWORK', `the quantizer ${url.href} cannot be read; in a clone, run \`npm run build\` first`, { cause: error })
    })
    modules.set(url.href, compiled)
  }
  return compiled
}

/** @param {URL} url @returns {Promise<Uint8Array<ArrayBuffer> | ArrayBuffer>} */
async function read(url) {
  if (node && url.protocol === 'file:') return (await node()).readFile(url)
  const response = await fetch(url)
  if (!response.ok) throw new Error(`HTTP ${response.status}`)
  return response.arrayBuffer()
}

/** Whether threads can be had here: in Node, and in workers of pages that are isolated. */
const threadsHere = () => typeof SharedArrayBuffer !== 'undefined' && globalThis.crossOriginIsolated !== false && typeof document !== 'object'

/**
 * @typedef {object} QuantizeEngineOptions
 * @property {'auto' | number} [threads]  'auto' (the default): one for each core, where threads can be had
 * @property {import('../runtime.js').Variant | 'auto'} [variant]
 * @property {URL | string} [wasm]  the folder of the .wasm files
 *
 * @param {QuantizeEngineOptions} [options]
 */
export async function quantizeEngine({ threads = 'auto', variant: wanted, wasm } = {}) {
  if (threads !== 'auto' && !(Number.isInteger(threads) && threads > 0 && threads <= 64)) throw new NibbleError('E_ARGUMENT', `threads must be 'auto' or a whole number up to 64, not ${threads}`)
  const variant = chooseVariant(wanted)
  const n = threads === 'auto' ? (threadsHere() ? Math.min(MOST_THREADS, await cores()) : 1) : threads
  const create = async (/** @type {number} */ n) => {
    const name = /** @type {import('../runtime.js').ModuleName} */ (n > 1 ? `${variant}-threads` : variant)
    const module = await compile(wasm ? new URL(`nibble-quantize-${name}.wasm`, String(wasm).replace(/\/?$/, '/')) : quantizeWasm(name))
    return Engine.create({ variant, wasm: module, threads: n })
  }
  try {
    return await create(n)
  } catch (error) {
    // Not asked for, and not allowed by a page's policy: the result tells how many there were.
    if (n > 1 && threads === 'auto' && /** @type {any} */ (error).code === 'E_UNSUPPORTED') return create(1)
    throw error
  }
}
