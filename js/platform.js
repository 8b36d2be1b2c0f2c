/**
 * What differs between the places this library runs in. In the bundles for browsers web/platform.js stands in for this file.
 */

/** What Node alone has; elsewhere undefined. */
export const node = typeof process !== 'undefined' && process.versions?.node ? () => import('./node.js') : undefined

/** The interpreter of chat templates: more than half of the code, and not needed to complete text. */
export const loadTemplates = () => import('./template.js')

/** Where the .wasm files are: whole names, so that bundlers find them. @param {import('./runtime.js').Variant} variant */
export const wasmFile = (variant) => (variant === 'relaxed' ? new URL('../dist/nibble-relaxed.wasm', import.meta.url) : new URL('../dist/nibble-simd128.wasm', import.meta.url))
