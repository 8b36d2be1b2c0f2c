/**
 * What differs between the places the quantizer runs in. In the bundles for browsers web/quantize-platform.js stands in for this file.
 */
import { node as here } from '../platform.js'

/** What Node alone has: files by their paths. Elsewhere undefined. */
export const node = here && (() => import('./node.js'))

/** Where the modules with the quantizer in them are: whole names, so that bundlers find them. @param {import('../runtime.js').ModuleName} name */
export const wasmFile = (name) => ({
  'simd128': new URL('../../dist/nibble-quantize-simd128.wasm', import.meta.url),
  'relaxed': new URL('../../dist/nibble-quantize-relaxed.wasm', import.meta.url),
  'simd128-threads': new URL('../../dist/nibble-quantize-simd128-threads.wasm', import.meta.url),
  'relaxed-threads': new URL('../../dist/nibble-quantize-relaxed-threads.wasm', import.meta.url),
})[name]
