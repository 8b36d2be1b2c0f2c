/** Larger data outside of the repository: real vocabularies, texts, a trained model. Tests that use it say so where it is missing. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = process.env.NIBBLE_SHARED ?? fileURLToPath(new URL('../../../shared', import.meta.url))

/** @param {string} path  below that folder */
export const shared = (path) => join(folder, path)
