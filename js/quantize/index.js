/**
 * `nibble-llm/quantize`: models made smaller. Runs in Node and in workers of pages; web/quantize-client.js is for pages themselves.
 */
export { quantize } from './quantize.js'
export { analyze } from './analyze.js'
export { convert } from './convert.js'
export { prune } from './prune.js'
export { openCheckpoint } from './checkpoint.js'
export { GgufWriter } from './gguf-writer.js'
export { memorySink } from './sinks.js'
export { deleteKept, keepsFiles, keptFiles, opfsSink, sweep } from './opfs.js'
export { pair, valueOf } from './pairs.js'
export { readImatrix, writeImatrix, legacyImatrix } from './imatrix.js'
export { createReference, openReference, referenceOf, validate } from './validate.js'
export { checkGates, defaultGates, parseGates } from './gates.js'
export { checkReport, reportCsv, reportHtml, reportOf } from './report.js'
export { NibbleError, isNibbleError } from '../errors.js'

/**
 * @typedef {import('./quantize.js').QuantizeOptions} QuantizeOptions
 * @typedef {import('./quantize.js').QuantizeProgress} QuantizeProgress
 * @typedef {import('./quantize.js').QuantizeResult} QuantizeResult
 * @typedef {import('./analyze.js').Analysis} Analysis
 * @typedef {import('./analyze.js').AnalyzeOptions} AnalyzeOptions
 * @typedef {import('./target.js').Target} Target
 * @typedef {import('./convert.js').ConvertOptions} ConvertOptions
 * @typedef {import('./convert.js').ConvertReport} ConvertReport
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./gguf-writer.js').Sink} Sink
 * @typedef {import('./imatrix.js').Imatrix} Imatrix
 * @typedef {import('../evaluate.js').Evaluation} Evaluation
 * @typedef {import('../evaluate/reference.js').Reference} Reference
 * @typedef {import('./gates.js').Gates} Gates
 * @typedef {import('./gates.js').GateReport} GateReport
 * @typedef {import('./report.js').QuantizeReport} QuantizeReport
 */
