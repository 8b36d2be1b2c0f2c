/**
 * Stands in for js/quantize/platform.js in the bundle for browsers, which lives in dist/web, one folder below the .wasm files.
 */

export const files = undefined

/** Whole names, so that bundlers find the files. @param {import('../js/runtime.js').ModuleName} name */
export const quantizeWasm = (name) => ({
  'simd128': new URL('../nibble-quantize-simd128.wasm', import.meta.url),
  'relaxed': new URL('../nibble-quantize-relaxed.wasm', import.meta.url),
  'simd128-threads': new URL('../nibble-quantize-simd128-threads.wasm', import.meta.url),
  'relaxed-threads': new URL('../nibble-quantize-relaxed-threads.wasm', import.meta.url),
})[name]
