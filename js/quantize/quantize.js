/**
 * From a model to a smaller one: plan, estimate, encode piece by piece, write. Nothing but a piece is in memory at a time; a run that was killed goes on
 * where it stood, to the same file.
 */
import { NibbleError } from '../errors.js'
import { abortError } from '../source.js'
import { analyzeWith, checkAnalysis } from './analyze.js'
import { CalibratedRun, ERROR_SAMPLES, openCalibration } from './calibrated.js'
import { isCheckpoint, openCheckpoint } from './checkpoint.js'
import { ENCODE, RowEncoder } from './encode.js'
import { quantizeEngine } from './engine.js'
import { estimateCalibration, estimateWork } from './estimate.js'
import { GgufWriter } from './gguf-writer.js'
import { checkImatrix, readImatrix } from './imatrix.js'
import { Progress, fingerprint, sha256 } from './journal.js'
import { pair, withPairs } from './pairs.js'
import { planTypes, weightsOf } from './plan.js'
import { files } from './platform.js'
import { Run } from './run.js'
import { checkDestination, openSink } from './sinks.js'
import { SiteEncoder, gptqOptions } from './sites.js'
import { smoothed } from './smooth.js'
import { checkTarget, chooseMix } from './target.js'

/**
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./imatrix.js').Imatrix} Imatrix
 * @typedef {import('./plan.js').Plan} Plan
 * @typedef {import('./gguf-writer.js').Sink & Partial<import('./sinks.js').FileParts>} Sink
 *
 * @typedef {object} QuantizeOnly
 * @property {keyof typeof METHODS} [method]  how blocks are found: rtn by rounding, search by a search for the least error (the default), hqq for errors of
 *   which a few may be large; gptq and awq by what matrices are multiplied with on a calibration text
 * @property {import('./calibrated.js').CalibrationText} [calibration]  for gptq and awq; for search importance is measured on it
 * @property {number} [smooth]  0 to 1: outliers among the inputs of matrices are moved into the weights first (smooth.js); needs a calibration text
 * @property {import('./sites.js').GptqOptions} [gptq]
 * @property {import('./target.js').Target} [target]  instead of a type: the types by which the model loses the least under this budget
 * @property {string[]} [candidates]  types to choose from for the target
 * @property {import('./analyze.js').Analysis} [sensitivity]  what analyze() found; without it the model is analysed first, with sensitivities where there is a
 *   calibration text
 * @property {number} [sensitivitySamples]  of the calibration text, for that (default 8)
 * @property {import('./analyze.js').AnalyzeOptions['sensitivityPasses']} [sensitivityPasses]
 * @property {(progress: import('./analyze.js').AnalyzeProgress) => void} [onAnalysis]
 * @property {Imatrix | import('../source.js').SingleSource} [imatrix]  importance of the columns of matrices, or the file that has it
 * @property {boolean} [dryRun]  plan and estimate only; the destination is not touched
 * @property {(progress: QuantizeProgress) => void} [onProgress]
 * @property {(estimate: {seconds: number, memory_bytes: number, input_bytes: number, file_bytes: number, bpw: number, threads: number}) => void} [onEstimate]
 *   before the work
 * @property {(text: string) => void} [onNote]  what is otherwise than asked for, as soon as it is known
 * @property {AbortSignal} [signal]
 * @property {import('../runtime.js').Engine} [engine]  one of quantizeEngine(), which stays open
 * @property {typeof globalThis.fetch} [fetch]  @property {HeadersInit} [headers]
 * @typedef {QuantizeOnly & Partial<Pick<import('./plan.js').PlanOptions, 'type'>> & Omit<import('./plan.js').PlanOptions, 'type' | 'types' | 'hasImatrix'> & import('./engine.js').QuantizeEngineOptions} QuantizeOptions
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
 * @property {number} [sensitivity]  divergence (nats a token) over the weighted relative error, where the mix was chosen by it
 * @property {number} [awq_exponent]  @property {number} [awq_gain]  part of the error that AWQ's scales take away
 *
 * @typedef {object} QuantizeResult
 * @property {string} input  @property {string} type  @property {string} method
 * @property {number} parameters  @property {number} bpw  @property {number} input_bytes  of tensors
 * @property {number} output_bytes  of tensors  @property {number} file_bytes
 * @property {{seconds: number, memory_bytes: number}} estimate
 * @property {number} seconds  that encoding took, in this run and those before it
 * @property {number} wall_seconds  that this run took, behind the estimate
 * @property {number} resumed  part of the work that an earlier run had done, 0 to 1
 * @property {number} threads  @property {string} variant  @property {number} memory_bytes  of the engine, at most
 * @property {boolean} dry_run
 * @property {string[]} notes
 * @property {TensorResult[]} tensors
 * @property {{name: string, samples: number, n_ctx: number}} [calibration]
 * @property {import('./calibrated.js').LayerResult[]} [layers]  of calibrated runs
 * @property {import('./target.js').MixResult} [mix]  where there was a target
 */

/** Large weights count for more in a search: measured on the embedded model, that brings the text closer to the original than the least squared error. */
const METHODS = { rtn: ENCODE.rtn, search: ENCODE.searchLarge, hqq: ENCODE.hqq, gptq: ENCODE.searchLarge, awq: ENCODE.searchLarge }
const QUANTIZATION_VERSION = 2 // GGML_QNT_VERSION

/** @param {QuantizeOptions} options */
function checkOptions({ method = 'search', type, calibration, imatrix, gptq, smooth, target, candidates, sensitivity, pure }) {
  const wrong = (/** @type {string} */ what) => new NibbleError('E_ARGUMENT', what)
  if (target) {
    checkTarget(target)
    if (type !== undefined || pure) throw wrong('a target chooses the types: leave type and pure out, or give a type instead of the target')
  } else {
    if (typeof type !== 'string') throw wrong("type is missing; name one, such as 'Q4_K_M', or a target")
    for (const [name, value] of Object.entries({ candidates, sensitivity })) if (value !== undefined) throw wrong(`${name} is for a target, and there is none`)
  }
  if (!Object.hasOwn(METHODS, method)) throw wrong(`there is no method '${method}'; the methods are ${Object.keys(METHODS).join(', ')}`)
  const learns = method === 'gptq' || method === 'awq'
  if (learns && calibration === undefined) throw wrong(`the method ${method} needs a calibration text (--calibration)`)
  if (smooth !== undefined && !(smooth >= 0 && smooth <= 1)) throw wrong(`smooth must be from 0 to 1, not ${smooth}`)
  if (smooth !== undefined && calibration === undefined) throw wrong('smoothing needs a calibration text (--calibration)')
  if (calibration !== undefined && !target && smooth === undefined && !looksAtInputs(method)) throw wrong(`the method ${method} looks at weights alone: leave the calibration text out, or take search, awq or gptq`)
  if (calibration !== undefined && typeof calibration.text !== 'string') throw wrong('calibration.text must be a string')
  if (calibration !== undefined && imatrix !== undefined) throw wrong('importance comes from an importance matrix or from a calibration text; give one of them')
  if (gptq !== undefined) {
    if (method !== 'gptq') throw wrong('options for gptq are given, but the method is another one')
    gptqOptions(gptq)
  }
}

/** @param {string} method */
const looksAtInputs = (method) => method !== 'rtn' && method !== 'hqq'

/**
 * The types that a target leads to; without one what options say.
 * @param {import('../runtime.js').Engine} engine @param {Checkpoint} checkpoint @param {QuantizeOptions} options @param {Imatrix | undefined} imatrix
 * @param {import('./sinks.js').Journal | undefined} journal  of the analysis @param {(text: string) => void} note
 * @returns {Promise<Plan & {mix?: import('./target.js').MixResult, analysis?: import('./analyze.js').Analysis}>}
 */
async function planOf(engine, checkpoint, options, imatrix, journal, note) {
  const { target, sensitivity, type = '' } = options, hasImatrix = imatrix !== undefined
  if (!target) return planTypes(checkpoint, { ...options, type, hasImatrix })
  const analysis = sensitivity ? await checkAnalysis(sensitivity, checkpoint) : await analyzeWith(engine, checkpoint, { ...options, imatrix, journal, onNote: note, onProgress: options.onAnalysis })
  const { types, notes, result } = chooseMix(checkpoint, analysis, { ...options, target, pairs: outputPairs(checkpoint, 0, imatrix) })
  if (result.sensitivity === 'none') note('types are chosen by the errors of tensors alone: with a calibration text (--calibration) the model tells which it minds')
  const plan = planTypes(checkpoint, { ...options, type, types, hasImatrix })
  return { ...plan, notes, mix: result, analysis }
}

/** @param {unknown} source @returns {source is Imatrix} */
const isImatrix = (source) => typeof source === 'object' && source !== null && 'entries' in source

/** Metadata of the output. @param {Checkpoint} checkpoint @param {number} fileType @param {Imatrix | undefined} imatrix */
function outputPairs(checkpoint, fileType, imatrix) {
  const changes = [pair.u32('general.quantization_version', QUANTIZATION_VERSION), pair.u32('general.file_type', fileType)]
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
    ...(calibration && (looksAtInputs(method) || smooth !== undefined) && { ...calibration, text: await sha256(new TextEncoder().encode(calibration.text)) }), ...(method === 'gptq' && gptqOptions(gptq)),
  }
}

/** @type {Sink} */
const NOWHERE = { write: async () => {}, commit: async () => {}, abort: async () => {} }

/**
 * What is known before the work: types, estimate, what the file will hold.
 * @param {import('../runtime.js').Engine} engine @param {Checkpoint} checkpoint @param {QuantizeOptions} options
 * @param {import('./sinks.js').Journal | undefined} journal  of the analysis, where there is one
 */
async function prepare(engine, checkpoint, options, journal) {
  const { method: name = 'search', signal } = options, method = METHODS[name]
  /** @type {string[]} */
  const notes = []
  const note = (/** @type {string} */ text) => {
    notes.push(text)
    options.onNote?.(text)
  }
  const imatrix = options.imatrix === undefined || isImatrix(options.imatrix) ? options.imatrix : await readImatrix(options.imatrix, { ...options, engine })
  const plan = await planOf(engine, checkpoint, options, imatrix, journal, note)
  for (const text of [...checkpoint.notes ?? [], ...plan.notes]) note(text)
  if (imatrix) {
    checkImatrix(imatrix, plan.tensors.filter((t) => !t.copied).map((t) => t.tensor)).forEach(note)
    if (name === 'rtn' || name === 'hqq') note(`the method ${name} does not look at the importance matrix`)
  }
  const encoder = new RowEncoder(engine), sites = new SiteEncoder(engine, encoder)
  const estimate = await estimateWork(checkpoint, plan, encoder, method)
  const calibration = options.calibration && looksAtInputs(name) ? await openCalibration(engine, checkpoint, options.calibration, { ...options, onNote: note }) : undefined
  if (calibration) {
    const learned = name === 'gptq' ? gptqOptions(options.gptq) : name === 'awq' ? gptqOptions({ order: 'search', refine: 0 }) : undefined
    await estimateCalibration(calibration, plan, sites, learned, name === 'awq', estimate, ERROR_SAMPLES)
  }
  if (signal?.aborted) throw abortError(undefined, signal)
  const content = {
    pairs: outputPairs(checkpoint, plan.fileType, imatrix), tensors: plan.tensors.map(({ tensor: { name: of, shape }, to }) => ({ name: of, shape, type: to })),
  }
  const { size: file_bytes } = new GgufWriter(NOWHERE, content)
  const result = {
    input: checkpoint.name, type: plan.type, method: name, parameters: estimate.parameters, bpw: estimate.bpw, input_bytes: estimate.inputBytes,
    output_bytes: estimate.outputBytes, file_bytes, estimate: { seconds: estimate.seconds, memory_bytes: estimate.memoryBytes }, threads: engine.threads,
    variant: engine.variant, notes, ...(plan.mix && { mix: plan.mix }),
  }
  options.onEstimate?.({ ...result.estimate, input_bytes: result.input_bytes, file_bytes, bpw: result.bpw, threads: result.threads })
  return { engine, checkpoint, options: { ...options, method: name, onNote: note }, method, imatrix, plan, encoder, sites, estimate, calibration, content, result, note }
}

/** @typedef {Awaited<ReturnType<typeof prepare>>} Job */

/** With the sensitivity, where the mix was chosen by it. @param {TensorResult} tensor @param {import('./analyze.js').Analysis | undefined} analysis @returns {TensorResult} */
function withSensitivity(tensor, analysis) {
  const sensitivity = analysis?.tensors.find(({ name }) => name === tensor.name)?.sensitivity
  return typeof sensitivity === 'number' ? { ...tensor, sensitivity } : tensor
}

/** What would come of it. @param {Job} job @returns {QuantizeResult} */
function dryResult({ engine, plan, estimate, result }) {
  const tensors = plan.tensors.map(({ tensor, to, copied, bytes }) => ({
    name: tensor.name, shape: tensor.shape, from: tensor.type, to, copied, bytes, bits: bytes * 8 / weightsOf(tensor), error: 0, weighted_error: 0,
    seconds: estimate.secondsOf.get(tensor.name) ?? 0,
  })).map((t) => withSensitivity(t, plan.analysis))
  return { ...result, seconds: 0, resumed: 0, memory_bytes: engine.heap.byteLength, wall_seconds: 0, dry_run: true, tensors }
}

/** @param {Job} job @param {Sink} sink @returns {Promise<QuantizeResult>} */
async function execute(job, sink) {
  const { engine, checkpoint, options, plan, imatrix, estimate, calibration } = job
  const progress = new Progress(sink.journal, await fingerprint(checkpoint, await decisive(options, plan, imatrix))), writer = new GgufWriter(sink, job.content)
  await progress.open()
  if (progress.other) job.note('what an earlier run had begun there was of other input or other options: it begins anew')
  const run = new Run({ ...job, importance: new Map(imatrix?.entries), sink, writer, progress })
  const calibrated = calibration && new CalibratedRun(run, calibration, job.sites)
  if (calibrated) await calibrated.work()
  else for (const item of plan.tensors) await run.tensor(item)
  const tensors = plan.tensors.map(({ tensor }) => withSensitivity(/** @type {TensorResult} */ (run.results.get(tensor.name)), plan.analysis))
  await writer.finish()
  return {
    ...job.result, seconds: tensors.reduce((n, t) => n + t.seconds, 0), wall_seconds: (performance.now() - run.start) / 1000,
    resumed: estimate.seconds > 0 ? run.found / estimate.seconds : 0, memory_bytes: engine.heap.byteLength, dry_run: false, tensors,
    ...(calibrated && { calibration: { name: options.calibration?.name ?? '', samples: calibration.samples, n_ctx: calibration.ctx }, layers: calibrated.layers }),
  }
}

/**
 * Quantizes a model.
 * @param {import('./checkpoint.js').CheckpointSource | Checkpoint} source  a file or folder as openCheckpoint takes it, or a checkpoint, which stays open
 * @param {Sink | string | undefined} destination  a path (Node), or a sink; undefined with dryRun
 * @param {QuantizeOptions} options
 * @returns {Promise<QuantizeResult>}
 */
export async function quantize(source, destination, options) {
  checkOptions(options)
  if (destination === undefined && !options.dryRun) throw new NibbleError('E_ARGUMENT', 'where the result goes is missing; name a path, or pass a sink')
  const engine = options.engine ?? await quantizeEngine(options)
  /** @type {Job | undefined} */
  let job
  /** @type {Checkpoint | undefined} */
  let opened
  /** @type {Sink | undefined} */
  let sink
  /** @type {ReturnType<typeof import('./node.js').lineJournal> | undefined} */
  let analysisJournal
  try {
    let checkpoint = isCheckpoint(source) ? source : opened = await openCheckpoint(source, { ...options, engine })
    if (destination !== undefined) await checkDestination(checkpoint, destination)
    if (options.smooth !== undefined && options.calibration && !options.dryRun) {
      checkpoint = await smoothed(engine, checkpoint, { alpha: options.smooth, calibration: options.calibration, signal: options.signal, onNote: options.onNote })
    }
    analysisJournal = options.target && !options.sensitivity && !options.dryRun && typeof destination === 'string' && files ? (await files()).analysisJournal(destination) : undefined
    job = await prepare(engine, checkpoint, options, analysisJournal)
    if (options.dryRun || destination === undefined) return dryResult(job)
    sink = await openSink(destination)
    const result = await execute(job, sink)
    sink = undefined
    await analysisJournal?.remove()
    return result
  } catch (error) {
    if (sink) await (sink.suspend ?? sink.abort)().catch(() => {}) // what failed first is what counts
    throw error
  } finally {
    await analysisJournal?.close()
    await opened?.close()
    if (options.engine) {
      job?.calibration?.free()
      job?.sites.free()
      job?.encoder.free()
    } else {
      engine.close() // with all that is in it
    }
  }
}
