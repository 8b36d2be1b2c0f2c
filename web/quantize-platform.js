/**
 * Stands in for js/quantize/platform.js in the bundles for browsers, which live in dist/web, one folder below the .wasm files.
 */

/** @type {undefined | (() => Promise<typeof import('../js/quantize/node.js')>)} */
export const node = undefined

/** Whole names, so that bundlers find the files. @param {import('../js/runtime.js').ModuleName} name */
export const wasmFile = (name) => ({
  'simd128': new URL('../nibble-quantize-simd128.wasm', import.meta.url),
  'relaxed': new URL('../nibble-quantize-relaxed.wasm', import.meta.url),
  'simd128-threads': new URL('../nibble-quantize-simd128-threads.wasm', import.meta.url),
  'relaxed-threads': new URL('../nibble-quantize-relaxed-threads.wasm', import.meta.url),
})[name]
