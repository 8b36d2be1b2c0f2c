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

/** Whole names, so that bundlers find the files. @param {import('../js/runtime.js').Variant} variant */
export const wasmFile = (variant) => (variant === 'relaxed' ? new URL('../nibble-relaxed.wasm', import.meta.url) : new URL('../nibble-simd128.wasm', import.meta.url))
