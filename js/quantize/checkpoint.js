/**
 * What is quantized: a model as its file has it, read by ranges and never whole.
 */
import { openGguf } from './gguf-checkpoint.js'

/**
 * @typedef {import('./pairs.js').Pair} Pair
 *
 * @typedef {object} Tensor
 * @property {string} name
 * @property {string} type  as nb_type_get names it
 * @property {number[]} shape  the length of a row first
 * @property {number} bytes
 *
 * @typedef {object} Checkpoint
 * @property {string} name  for messages
 * @property {Pair[]} pairs  in the order of the file
 * @property {Tensor[]} tensors  in the order of the file
 * @property {(tensor: Tensor, offset: number, length: number) => Promise<Uint8Array>} read  bytes of a tensor as GGUF lays them out
 * @property {() => Promise<void>} close
 */

/**
 * Opens a model: a GGUF file given as a path (Node), URL, File, Blob or ArrayBuffer, or an array of these for the parts of a split model (naming the
 * first part's path or URL is enough).
 * @param {import('../source.js').Source} source
 * @param {import('./gguf-checkpoint.js').OpenOptions} [options]
 * @returns {Promise<Checkpoint>}
 */
export const openCheckpoint = (source, options = {}) => openGguf(source, options)
