/**
 * From a model to a smaller one: plan, estimate, encode piece by piece, write. Nothing but a piece is in memory at a time; a run that was killed goes on
 * where it stood, to the same file.
 */
import { NibbleError } from '../errors.js'
import { node } from '../platform.js'
import { abortError } from '../source.js'
import { CalibratedRun } from './calibrated.js'
import { openCheckpoint } from './checkpoint.js'
import { ENCODE, RowEncoder } from './encode.js'
import { quantizeEngine } from './engine.js'
import { estimateWork } from './estimate.js'
import { GgufWriter } from './gguf-writer.js'
import { checkImatrix, readImatrix } from './imatrix.js'
import { Progress, fingerprint, sha256 } from './journal.js'
import { pair, withPairs } from './pairs.js'
import { planTypes, weightsOf } from './plan.js'
import { Run } from './run.js'
import { gptqOptions } from './sites.js'
import { smoothed } from './smooth.js'

/**
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./imatrix.js').Imatrix} Imatrix
 * @typedef {import('./plan.js').Plan} Plan
 * @typedef {import('./gguf-writer.js').Sink & Partial<import('./node.js').FileParts>} Sink
 *
 * @typedef {object} QuantizeOnly
 * @property {keyof typeof METHODS} [method]  how blocks are found: rtn by rounding, search by a search for the least error (the default), hqq for errors of
 *   which a few may be large; gptq and awq by what matrices are multiplied with on a calibration text
 * @property {import('./calibrated.js').CalibrationText} [calibration]  for gptq and awq; for search importance is measured on it
 * @property {number} [smooth]  0 to 1: outliers among the inputs of matrices are moved into the weights first (smooth.js); needs a calibration text
 * @property {import('./sites.js').GptqOptions} [gptq]
 * @property {Imatrix | import('../source.js').SingleSource} [imatrix]  importance of the columns of matrices, or the file that has it
 * @property {boolean} [dryRun]  plan and estimate only; the destination is not touched
 * @property {(progress: QuantizeProgress) => void} [onProgress]
 * @property {(estimate: {seconds: number, memory_bytes: number, input_bytes: number, file_bytes: number, bpw: number, threads: number}) => void} [onEstimate]
 *   before the work
 * @property {(text: string) => void} [onNote]  what is otherwise than asked for, as soon as it is known
 * @property {AbortSignal} [signal]
 * @property {typeof globalThis.fetch} [fetch]  @property {HeadersInit} [headers]
 * @typedef {QuantizeOnly & Omit<import('./plan.js').PlanOptions, 'hasImatrix'> & import('./engine.js').QuantizeEngineOptions} QuantizeOptions
 *
 * @typedef {object} QuantizeProgress
 * @property {string} tensor  in work  @property {number} index  how many tensors are done  @property {number} count  of tensors
 * @property {number} done  of the work, 0 to 1  @property {number} secondsLeft
 *
 * @typedef {object} TensorResult
 * @property {string} name  @property {number[]} shape  @property {string} from  @property {string} to
 * @property {boolean} copied
 * @property {number} bytes  @property {number} bits  per weight
 * @property {number} error  sum of squared differences over sum of squares
 * @property {number} weighted_error  the same, each column times its importance
 * @property {number} seconds
 * @property {number} [searched_error]  weighted error of the search alone, where GPTQ was to be better; with gptq and awq weights are the second moments H
 * @property {number} [damping]  @property {number} [dead_columns]  of which every input was 0
 * @property {number} [rows_search]  @property {number} [rows_static]  @property {number} [rows_groups]  rows by the order that was best
 * @property {number} [awq_exponent]  @property {number} [awq_gain]  part of the error that AWQ's scales take away
 *
 * @typedef {object} QuantizeResult
 * @property {string} input  @property {string} type  @property {string} method
 * @property {number} parameters  @property {number} bpw  @property {number} input_bytes  of tensors
 * @property {number} output_bytes  of tensors  @property {number} file_bytes
 * @property {{seconds: number, memory_bytes: number}} estimate
 * @property {number} seconds  that encoding took, in this run and those before it
 * @property {number} resumed  part of the work that an earlier run had done, 0 to 1
 * @property {number} threads  @property {string} variant  @property {number} memory_bytes  of the engine, at most
 * @property {boolean} dry_run
 * @property {string[]} notes
 * @property {TensorResult[]} tensors
 * @property {{name: string, samples: number, n_ctx: number}} [calibration]
 * @property {import('./calibrated.js').LayerResult[]} [layers]  of calibrated runs
 */

const METHODS = { rtn: ENCODE.rtn, search: ENCODE.search, hqq: ENCODE.hqq, gptq: ENCODE.search, awq: ENCODE.search }
/** Methods that look at weights alone. */
const BY_WEIGHTS = ['rtn', 'hqq']
const QUANTIZATION_VERSION = 2 // GGML_QNT_VERSION

/** @param {QuantizeOptions} options */
function checkOptions({ method = 'search', type, calibration, imatrix, gptq, smooth }) {
  const wrong = (/** @type {string} */ what) => new NibbleError('E_ARGUMENT', what)
  if (typeof type !== 'string') throw wrong("type is missing; name one, such as 'Q4_K_M'")
  if (!Object.hasOwn(METHODS, method)) throw wrong(`there is no method '${method}'; the methods are ${Object.keys(METHODS).join(', ')}`)
  const learns = method === 'gptq' || method === 'awq'
  if (learns && calibration === undefined) throw wrong(`the method ${method} needs a calibration text (--calibration)`)
  if (smooth !== undefined && !(smooth >= 0 && smooth <= 1)) throw wrong(`smooth must be from 0 to 1, not ${smooth}`)
  if (smooth !== undefined && calibration === undefined) throw wrong('smoothing needs a calibration text (--calibration)')
  if (BY_WEIGHTS.includes(method) && calibration !== undefined && smooth === undefined) throw wrong(`the method ${method} looks at weights alone: leave the calibration text out, or take search, awq or gptq`)
  if (calibration !== undefined && typeof calibration.text !== 'string') throw wrong('calibration.text must be a string')
  if (calibration !== undefined && imatrix !== undefined) throw wrong('importance comes from an importance matrix or from a calibration text; give one of them')
  if (gptq !== undefined) {
    if (method !== 'gptq') throw wrong('options for gptq are given, but the method is another one')
    gptqOptions(gptq)
  }
  return METHODS[method]
}

/** @param {unknown} source @returns {source is Checkpoint} */
const isCheckpoint = (source) => typeof source === 'object' && source !== null && 'pairs' in source && 'tensors' in source
/** @param {unknown} source @returns {source is Imatrix} */
const isImatrix = (source) => typeof source === 'object' && source !== null && 'entries' in source

/** Metadata of the output. @param {Checkpoint} checkpoint @param {Plan} plan @param {Imatrix | undefined} imatrix */
function outputPairs(checkpoint, plan, imatrix) {
  const changes = [pair.u32('general.quantization_version', QUANTIZATION_VERSION), pair.u32('general.file_type', plan.fileType)]
  if (imatrix) {
    changes.push(pair.string('quantize.imatrix.file', imatrix.file ?? ''))
    if (imatrix.datasets.length) changes.push(pair.string('quantize.imatrix.dataset', imatrix.datasets[0]))
    changes.push(pair.u32('quantize.imatrix.entries_count', imatrix.entries.size))
    if (imatrix.chunks > 0) changes.push(pair.u32('quantize.imatrix.chunks_count', imatrix.chunks))
  }
  return withPairs(checkpoint.pairs, changes)
}

/** @param {Float32Array} numbers */
const hashOf = (numbers) => sha256(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength))

/** What decides about the bytes of the output, beside the input. @param {QuantizeOptions} options @param {Plan} plan @param {Imatrix | undefined} imatrix */
async function decisive({ method = 'search', calibration, gptq, smooth }, plan, imatrix) {
  const importance = []
  for (const [name, { sums, counts }] of imatrix?.entries ?? []) importance.push([name, await hashOf(sums), [...counts]])
  return {
    method, fileType: plan.fileType, types: plan.tensors.map(({ tensor, to }) => [tensor.name, to]), importance, smooth, file: imatrix?.file, datasets: imatrix?.datasets, chunks: imatrix?.chunks,
    ...(calibration && { ...calibration, text: await sha256(new TextEncoder().encode(calibration.text)) }), ...(method === 'gptq' && gptqOptions(gptq)),
  }
}

/** @type {Sink} */
const NOWHERE = { write: async () => {}, commit: async () => {}, abort: async () => {} }

/** @param {Sink | string} destination @returns {Promise<Sink>} */
async function openSink(destination) {
  if (typeof destination !== 'string') return destination
  if (!node) throw new NibbleError('E_ARGUMENT', 'a page writes no files; pass a sink, such as memorySink()')
  return (await import('./node.js')).fileSink(destination)
}

/** @param {Checkpoint} checkpoint @param {unknown} destination */
async function checkDestination(checkpoint, destination) {
  if (typeof destination === 'string' && node && await (await import('./node.js')).samePlace(checkpoint.name, destination)) {
    throw new NibbleError('E_ARGUMENT', `${destination} is the file that is read; name another one for the result`)
  }
}

/**
 * Quantizes a model.
 * @param {import('../source.js').Source | Checkpoint} source  a GGUF file as openCheckpoint takes it, or a checkpoint, which stays open
 * @param {Sink | string | undefined} destination  a path (Node), or a sink; undefined with dryRun
 * @param {QuantizeOptions} options
 * @returns {Promise<QuantizeResult>}
 */
export async function quantize(source, destination, options) {
  const method = checkOptions(options), { signal, onNote } = options
  const engine = await quantizeEngine(options)
  const encoder = new RowEncoder(engine)
  /** @type {Checkpoint | undefined} */
  let opened
  /** @type {Sink | undefined} */
  let sink
  try {
    let checkpoint = isCheckpoint(source) ? source : opened = await openCheckpoint(source, { ...options, engine })
    const imatrix = options.imatrix === undefined || isImatrix(options.imatrix) ? options.imatrix : await readImatrix(options.imatrix, { ...options, engine })
    const plan = planTypes(checkpoint, { ...options, hasImatrix: imatrix !== undefined })
    /** @type {string[]} */
    const notes = []
    const note = (/** @type {string} */ text) => {
      notes.push(text)
      onNote?.(text)
    }
    for (const text of [...checkpoint.notes ?? [], ...plan.notes]) note(text)
    if (imatrix) {
      checkImatrix(imatrix, plan.tensors.filter((t) => !t.copied).map((t) => t.tensor)).forEach(note)
      if (options.method === 'rtn' || options.method === 'hqq') note(`the method ${options.method} does not look at the importance matrix`)
    }
    const estimate = await estimateWork(checkpoint, plan, encoder, method)
    if (signal?.aborted) throw abortError(undefined, signal)
    const result = {
      input: checkpoint.name, type: plan.type, method: options.method ?? 'search', parameters: estimate.parameters, bpw: estimate.bpw, input_bytes: estimate.inputBytes,
      output_bytes: estimate.outputBytes, estimate: { seconds: estimate.seconds, memory_bytes: estimate.memoryBytes }, threads: engine.threads, variant: engine.variant, notes,
    }
    const content = {
      pairs: outputPairs(checkpoint, plan, imatrix), tensors: plan.tensors.map(({ tensor: { name, shape }, to }) => ({ name, shape, type: to })),
    }
    const { size } = new GgufWriter(NOWHERE, content)
    options.onEstimate?.({ ...result.estimate, input_bytes: result.input_bytes, file_bytes: size, bpw: result.bpw, threads: result.threads })
    if (options.dryRun) {
      const tensors = plan.tensors.map(({ tensor, to, copied, bytes }) => ({
        name: tensor.name, shape: tensor.shape, from: tensor.type, to, copied, bytes, bits: bytes * 8 / weightsOf(tensor), error: 0, weighted_error: 0,
        seconds: estimate.secondsOf.get(tensor.name) ?? 0,
      }))
      return { ...result, file_bytes: size, seconds: 0, resumed: 0, memory_bytes: engine.heap.byteLength, dry_run: true, tensors }
    }
    if (destination === undefined) throw new NibbleError('E_ARGUMENT', 'where the result goes is missing; name a path, or pass a sink')
    await checkDestination(checkpoint, destination)
    if (options.smooth !== undefined && options.calibration) checkpoint = await smoothed(engine, checkpoint, { alpha: options.smooth, calibration: options.calibration, signal, onNote: note })
    const print = await fingerprint(checkpoint, await decisive(options, plan, imatrix))
    sink = await openSink(destination)
    const progress = new Progress(sink.journal, print), writer = new GgufWriter(sink, content)
    await progress.open()
    if (progress.other) note('what an earlier run had begun there was of other input or other options: it begins anew')
    const run = new Run({ checkpoint, plan, encoder, method, importance: new Map(imatrix?.entries), estimate, options: { ...options, method: result.method, onNote: note }, sink, writer, progress })
    const calibrated = options.calibration && !BY_WEIGHTS.includes(result.method) ? await CalibratedRun.create(run, engine, options.calibration) : undefined
    try {
      if (calibrated) await calibrated.work()
      else for (const item of plan.tensors) await run.tensor(item)
    } finally {
      calibrated?.free()
    }
    const tensors = plan.tensors.map(({ tensor }) => /** @type {TensorResult} */ (run.results.get(tensor.name)))
    const memory = engine.heap.byteLength
    await writer.finish()
    sink = undefined
    return {
      ...result, file_bytes: writer.size, seconds: tensors.reduce((n, t) => n + t.seconds, 0), resumed: estimate.seconds > 0 ? run.found / estimate.seconds : 0,
      memory_bytes: memory, dry_run: false, tensors,
      ...(calibrated && options.calibration && {
        calibration: { name: options.calibration.name ?? '', samples: calibrated.calibration.samples, n_ctx: calibrated.calibration.ctx }, layers: calibrated.layers,
      }),
    }
  } catch (error) {
    if (sink) await (sink.suspend ?? sink.abort)().catch(() => {}) // what failed first is what counts
    throw error
  } finally {
    await opened?.close()
    engine.close()
  }
}
