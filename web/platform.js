/**
 * Stands in for js/platform.js in the bundles for browsers, which live in dist/web, one folder below the .wasm files.
 */

export const isNode = false

export const nodeFiles = undefined

/** Whole names, so that bundlers find the files. @param {import('../js/runtime.js').Variant} variant */
export const wasmFile = (variant) => (variant === 'relaxed' ? new URL('../nibble-relaxed.wasm', import.meta.url) : new URL('../nibble-simd128.wasm', import.meta.url))
