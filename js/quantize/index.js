/**
 * `nibble-llm/quantize`: models made smaller. Runs in Node and in workers of pages.
 */
export { quantize } from './quantize.js'
export { prune } from './prune.js'
export { openCheckpoint } from './checkpoint.js'
export { GgufWriter } from './gguf-writer.js'
export { memorySink } from './sinks.js'
export { pair, valueOf } from './pairs.js'
export { readImatrix, writeImatrix, legacyImatrix } from './imatrix.js'
export { NibbleError, isNibbleError } from '../errors.js'

/**
 * @typedef {import('./quantize.js').QuantizeOptions} QuantizeOptions
 * @typedef {import('./quantize.js').QuantizeProgress} QuantizeProgress
 * @typedef {import('./quantize.js').QuantizeResult} QuantizeResult
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./gguf-writer.js').Sink} Sink
 * @typedef {import('./imatrix.js').Imatrix} Imatrix
 */
