/**
 * What is quantized: a model as its file has it, read by ranges and never whole.
 */
import { folderOf } from './folder.js'
import { openGguf } from './gguf-checkpoint.js'
import { openHuggingFace } from './huggingface.js'

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
 * @property {string[]} [notes]  of a folder: what people should know of it that a GGUF file cannot say
 * @property {() => Promise<void>} close
 *
 * @typedef {import('../source.js').Source | import('./folder.js').NamedFile[]} CheckpointSource
 */

/** @param {unknown} source @returns {source is Checkpoint} */
export const isCheckpoint = (source) => typeof source === 'object' && source !== null && 'pairs' in source && 'tensors' in source

/**
 * Opens a model: a GGUF file given as a path (Node), URL, File, Blob or ArrayBuffer, or an array of these for the parts of a split model (naming the
 * first part's path or URL is enough); or a Hugging Face folder, given as a path (Node) or as the list of its files.
 * @param {CheckpointSource} source
 * @param {import('./gguf-checkpoint.js').OpenOptions} [options]
 * @returns {Promise<Checkpoint>}
 */
export async function openCheckpoint(source, options = {}) {
  const folder = await folderOf(source, options)
  return folder ? openHuggingFace(folder) : openGguf(/** @type {import('../source.js').Source} */ (source), options)
}
