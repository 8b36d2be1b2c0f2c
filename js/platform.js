/**
 * What differs between the places this library runs in. In the bundles for browsers web/platform.js stands in for this file.
 */

export const isNode = typeof process !== 'undefined' && !!process.versions?.node

/** Node's files; called where isNode holds. */
export const nodeFiles = () => import('node:fs/promises')

/** Paths and URLs of files, as Node sees them. */
export const nodeUrls = () => import('node:url')

/** The interpreter of chat templates: more than half of the code, and not needed to complete text. */
export const loadTemplates = () => import('./template.js')

/** Where the .wasm files are: whole names, so that bundlers find them. @param {import('./runtime.js').Variant} variant */
export const wasmFile = (variant) => (variant === 'relaxed' ? new URL('../dist/nibble-relaxed.wasm', import.meta.url) : new URL('../dist/nibble-simd128.wasm', import.meta.url))
