/**
 * What `nibble quantize` does besides quantizing: holding the result against the original, and writing reports.
 */
import { readFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { parseGates } from '../quantize/gates.js'
import { reportCsv, reportHtml, reportOf } from '../quantize/report.js'
import { checkGates, referenceOf, validate } from '../quantize/validate.js'
import { loadModel, print, progressBar, readText, say, size } from './common.js'
import { hashOf, referenceAt, writeWhole } from './files.js'
import { UsageError } from './options.js'
import { printFigures } from './perplexity.js'

/** Chunks of 512 tokens that are evaluated: some ten thousand predictions. */
const CHUNKS = 64
const N_CTX = 512
/** Options that name files. */
const FILES = ['validation', 'against', 'imatrix', 'calibration', 'sensitivity']

/** @type {Record<string, import('./options.js').OptionSpec>} */
export const VALIDATION_OPTIONS = {
  validation: { type: 'string', value: 'F', help: 'a text to compare the result with the original on; not the one that calibrates' },
  'validation-chunks': { type: 'integer', value: 'N', default: CHUNKS, help: `chunks of ${N_CTX} tokens of it (default ${CHUNKS})` },
  'parse-special': { type: 'boolean', help: 'control tokens spelled out in the texts become those tokens' },
  against: { type: 'string', value: 'REF', help: 'a reference file instead of the original (`nibble perplexity … --save-reference`); brings its text' },
  gate: { type: 'string', value: 'G', help: 'limits that must be kept, such as default or kld=0.05,top1=90%,ppl=3%,loops=0; the exit status is 1 where one is not' },
  report: { type: 'string', value: 'F', multiple: true, help: 'write a report: F.html, F.json or F.csv; may be given several times' },
}

/** @typedef {import('./options.js').Values} Values @typedef {import('../evaluate/reference.js').Reference} Reference */

/** What can be told before any work. @param {Values} values */
export function checkValidation(values) {
  for (const path of values.report ?? []) if (!/\.(html|json|csv)$/i.test(path)) throw new UsageError(`--report takes a file that ends in .html, .json or .csv, not '${path}'`)
  const measured = values.validation !== undefined || values.against !== undefined
  if (values.gate !== undefined && !measured) throw new UsageError('--gate needs --validation F, a text to compare on, or --against a reference file')
  if (values['validation-chunks'] < 1) throw new UsageError('--validation-chunks must be at least 1')
  if (values.gate !== undefined) parseGates(values.gate, { bpw: 4, parameters: 0 })
}

/**
 * What the original has to say, before it is quantized: what is wrong with the text shows before hours of work, not after.
 * @param {Values} values @param {string} input @param {AbortSignal} signal
 * @returns {Promise<{reference: Reference | undefined, seconds: number}>}
 */
export async function prepareValidation(values, input, signal) {
  const start = performance.now()
  const seconds = () => (performance.now() - start) / 1000
  if (values.against !== undefined) {
    const reference = await referenceAt(values.against)
    if (!reference) throw new UsageError(`${values.against} is not a reference file; make one with \`nibble perplexity … --save-reference\``)
    return { reference, seconds: seconds() }
  }
  if (values.validation === undefined) return { reference: undefined, seconds: 0 }
  if ((await stat(input).catch(() => undefined))?.isDirectory()) {
    throw new UsageError('--validation runs the original, which must be a GGUF file for that: `nibble convert` makes one of the folder')
  }
  const text = await readText(values.validation)
  const model = await loadModel(input, { threads: values.threads, variant: values.variant, ctx: N_CTX }, signal)
  const bar = progressBar('evaluating the original')
  try {
    const options = { n_ctx: N_CTX, chunks: values['validation-chunks'], parseSpecial: values['parse-special'], signal, modelHash: await hashOf(input, signal) }
    return { reference: await referenceOf(model, text, { ...options, onProgress: (done, total) => bar.update(done, total) }), seconds: seconds() }
  } finally {
    bar.end()
    await model.dispose()
  }
}

/**
 * Compares the result with the original, holds it against the gates and writes the reports.
 * @param {object} run
 * @param {Values} run.values  @param {string} run.input  @param {string} run.output
 * @param {import('../quantize/quantize.js').QuantizeResult} run.result
 * @param {number} run.seconds  that quantizing took, in this run
 * @param {{reference: Reference | undefined, seconds: number}} run.prepared
 * @param {AbortSignal} signal
 */
export async function finish({ values, input, output, result, seconds, prepared }, signal) {
  /** @type {Record<string, number>} */
  const steps = { quantizing: Math.max(seconds, result.seconds) } // of several runs, where it was resumed: what they encoded
  let validation
  if (prepared.reference) {
    const start = performance.now()
    const model = await loadModel(output, { threads: values.threads, variant: values.variant, ctx: prepared.reference.n_ctx }, signal)
    const bar = progressBar('validating')
    try {
      validation = await validate(model, prepared.reference, undefined, { chunks: values['validation-chunks'], signal, onProgress: (done, total) => bar.update(done, total) })
    } finally {
      bar.end()
      await model.dispose()
    }
    steps.original = prepared.seconds
    steps.validation = (performance.now() - start) / 1000
    if (!values.json) printFigures({ ...validation, worst: undefined })
  }
  const gates = validation && values.gate !== undefined ? checkGates(validation, parseGates(values.gate, result)) : undefined
  if (!values.json) for (const { text } of gates?.gates ?? []) print(`${text}\n`)
  if (gates && !gates.passed) say('a gate is not kept')
  if (values.report?.length) {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
    const { json, report: _, ...given } = values
    const inputHash = validation?.reference?.model_sha256 && values.against === undefined ? validation.reference.model_sha256 : await hashOf(input, signal)
    const inputBytes = (await stat(input).catch(() => undefined))?.size ?? result.input_bytes
    const report = reportOf({
      result, program: `Nibble ${version}`, validation, gates, steps,
      // Names without folders: a report is for others, too.
      input: { name: basename(input), bytes: inputHash ? inputBytes : result.input_bytes, ...(inputHash && { sha256: inputHash }) },
      output: { name: basename(output), bytes: result.file_bytes, sha256: await hashOf(output, signal) },
      options: Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined).map(([name, value]) => [name, FILES.includes(name) ? basename(value) : value])),
    })
    for (const path of values.report) {
      const data = /\.html$/i.test(path) ? await reportHtml([report]) : /\.csv$/i.test(path) ? reportCsv([report]) : `${JSON.stringify(report, null, 1)}\n`
      await writeWhole(path, data)
      say(`wrote ${path}, ${size(Buffer.byteLength(data))}`)
    }
  }
  return { ...(validation && { validation }), ...(gates && { gate: gates }) }
}
