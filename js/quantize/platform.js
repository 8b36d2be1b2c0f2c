/**
 * What differs between the places the quantizer runs in. In the bundle for browsers web/quantize-platform.js stands in for this file.
 */
import { node } from '../platform.js'

/** Files and folders by their paths; undefined where there are none. */
export const files = node ? () => import('./node.js') : undefined

/** Where the .wasm files are: whole names, so that bundlers find them. @param {import('../runtime.js').ModuleName} name */
export const quantizeWasm = (name) => ({
  'simd128': new URL('../../dist/nibble-quantize-simd128.wasm', import.meta.url),
  'relaxed': new URL('../../dist/nibble-quantize-relaxed.wasm', import.meta.url),
  'simd128-threads': new URL('../../dist/nibble-quantize-simd128-threads.wasm', import.meta.url),
  'relaxed-threads': new URL('../../dist/nibble-quantize-relaxed-threads.wasm', import.meta.url),
})[name]
