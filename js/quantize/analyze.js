/**
 * What a model's tensors are like, what each type would cost in each of them, and, with a calibration text, how much the model minds: what a mix of types is
 * chosen by (target.js).
 */
import { NibbleError } from '../errors.js'
import { abortError } from '../source.js'
import { measureImatrix } from './calibration.js'
import { isCheckpoint, openCheckpoint } from './checkpoint.js'
import { ENCODE, RowEncoder } from './encode.js'
import { quantizeEngine } from './engine.js'
import { fitGroups, groupsOf } from './groups.js'
import { checkImatrix, readImatrix } from './imatrix.js'
import { fingerprint, sha256 } from './journal.js'
import { isMatrix, weightsOf } from './plan.js'
import { checkShape } from './report.js'
import { Sensitivity } from './sensitivity.js'
import { candidatesOf } from './target.js'
import { errorsOf, spreadOf } from './tensor-stats.js'
import { typeInfo } from './types.js'

/**
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./imatrix.js').Imatrix} Imatrix
 *
 * @typedef {object} TensorAnalysisOnly
 * @property {string} name  @property {number[]} shape  @property {string} type
 * @property {Record<string, import('./tensor-stats.js').RelativeError>} errors  by types
 * @property {number} [sensitivity]  divergence from the original (nats a token) over the weighted relative error, for small errors; where it was measured
 * @property {number} [noise]  weighted relative error by which it was measured  @property {number} [kld]  divergence that came of it  @property {number} [kld_error]
 * @typedef {TensorAnalysisOnly & import('./tensor-stats.js').Spread} TensorAnalysis
 *
 * @typedef {object} Analysis
 * @property {'nibble-analysis'} kind  @property {1} version
 * @property {string} input  @property {string} model  hash of the tensors' names, shapes, types, and samples of their bytes
 * @property {number} parameters
 * @property {string} method  by which the types' errors come about: search, rtn or hqq
 * @property {string[]} candidates
 * @property {{name: string, samples: number, n_ctx: number, predictions: number, passes: 'each' | 'shared'}} [calibration]  what sensitivities were measured on
 * @property {{offset: number, slope: number, checks: {type: string, sum: number, kld: number}[]}} [prediction]  of the divergence of a mix: offset + slope * the
 *   sum of sensitivity times error. The offset is what activations in whole numbers cost; checks: all matrices in one type, by which both were found
 * @property {TensorAnalysis[]} tensors  matrices that can be quantized
 * @property {string[]} notes
 *
 * @typedef {object} AnalyzeOnly
 * @property {string[]} [candidates]  types
 * @property {import('./quantize.js').QuantizeOptions['method']} [method]  of quantizing (default search)
 * @property {import('./calibrated.js').CalibrationText} [calibration]  measures sensitivities, and importance where no matrix of it is given
 * @property {Imatrix | import('../source.js').SingleSource} [imatrix]
 * @property {number} [sensitivitySamples]  of the calibration text, that the model is run on for each tensor (default 8)
 * @property {'each' | 'shared' | 'auto'} [sensitivityPasses]  whether every tensor is measured by itself, or layers and kinds of matrices as a whole, which takes
 *   far fewer passes and costs some accuracy; auto (the default): shared where there are more than 100 matrices
 * @property {AbortSignal} [signal]
 * @property {(progress: AnalyzeProgress) => void} [onProgress]
 * @property {(text: string) => void} [onNote]
 * @property {import('./sinks.js').Journal} [journal]  what was measured, for a later run
 * @property {typeof globalThis.fetch} [fetch]  @property {HeadersInit} [headers]
 * @typedef {AnalyzeOnly & import('./engine.js').QuantizeEngineOptions} AnalyzeOptions
 *
 * @typedef {{step: 'weights' | 'importance' | 'sensitivity', detail: string, done: number, total: number, secondsLeft: number | undefined}} AnalyzeProgress
 */

export const SENSITIVITY_SAMPLES = 8
/** Up to so many matrices each is measured by itself. */
const MOST_EACH = 100
/** Samples by which importance is measured, where nothing else is said. */
const IMPORTANCE_SAMPLES = 64
/** Types in which the whole model is tried: the first that is there of each list. The error of the first is next to nothing. */
const CHECKS = [['Q8_0'], ['Q4_K', 'Q4_0', 'IQ4_NL']]

/**
 * Analyses a model.
 * @param {import('../source.js').Source | Checkpoint} source  as openCheckpoint takes it, or a checkpoint, which stays open
 * @param {AnalyzeOptions} [options]
 * @returns {Promise<Analysis>}
 */
export async function analyze(source, options = {}) {
  const engine = await quantizeEngine(options)
  /** @type {Checkpoint | undefined} */
  let opened
  try {
    const checkpoint = isCheckpoint(source) ? source : opened = await openCheckpoint(source, { ...options, engine })
    return await analyzeWith(engine, checkpoint, options)
  } finally {
    await opened?.close()
    engine.close()
  }
}

/** What an earlier run has measured. */
class Earlier {
  /** @param {import('./sinks.js').Journal | undefined} journal @param {string} print */
  constructor(journal, print) {
    this.journal = journal
    this.print = print
    /** @type {Map<string, any>} */
    this.found = new Map()
  }

  async open() {
    const { journal } = this
    if (!journal) return
    const [head, ...rest] = (await journal.lines()).map((line) => {
      try {
        return JSON.parse(line)
      } catch {
        return undefined // damaged: it counts for nothing
      }
    })
    if (head?.fingerprint === this.print) {
      for (const entry of rest) if (typeof entry?.key === 'string') this.found.set(entry.key, entry.value)
      return
    }
    await journal.restart()
    await journal.append(JSON.stringify({ fingerprint: this.print }))
  }

  /**
   * What was found under a name, or is now.
   * @template T
   * @param {string} key @param {() => Promise<T>} find
   * @returns {Promise<T>}
   */
  async get(key, find) {
    if (this.found.has(key)) return this.found.get(key)
    const value = await find()
    await this.journal?.append(JSON.stringify({ key, value }))
    return value
  }
}

/**
 * @param {import('../runtime.js').Engine} engine  of the quantizer @param {Checkpoint} checkpoint @param {AnalyzeOptions} options
 * @returns {Promise<Analysis>}
 */
export async function analyzeWith(engine, checkpoint, options) {
  const { calibration, method = 'search', signal, onNote, onProgress, sensitivitySamples = SENSITIVITY_SAMPLES, sensitivityPasses = 'auto' } = options
  if (!Number.isInteger(sensitivitySamples) || sensitivitySamples < 1) throw new NibbleError('E_ARGUMENT', `sensitivitySamples must be a whole number of at least 1, not ${sensitivitySamples}`)
  if (!['each', 'shared', 'auto'].includes(sensitivityPasses)) throw new NibbleError('E_ARGUMENT', `sensitivityPasses must be each, shared or auto, not '${sensitivityPasses}'`)
  const candidates = candidatesOf(options.candidates).filter((type) => typeInfo(type).weights > 1)
  const encoder = new RowEncoder(engine), how = method === 'rtn' ? ENCODE.rtn : method === 'hqq' ? ENCODE.hqq : ENCODE.search
  const matrices = checkpoint.tensors.filter(isMatrix)
  /** @type {string[]} */
  const notes = []
  const note = (/** @type {string} */ text) => {
    notes.push(text)
    onNote?.(text)
  }
  const checkSignal = () => {
    if (signal?.aborted) throw abortError(undefined, signal)
  }
  let start = performance.now()
  const tell = (/** @type {AnalyzeProgress['step']} */ step, /** @type {string} */ detail, /** @type {number} */ done, /** @type {number} */ total) => {
    checkSignal()
    if (done === 0) start = performance.now()
    onProgress?.({ step, detail, done, total, secondsLeft: done > 0 ? (performance.now() - start) / 1000 * (total - done) / done : undefined })
  }
  try {
    const given = options.imatrix === undefined || 'entries' in Object(options.imatrix) ? /** @type {Imatrix | undefined} */ (options.imatrix)
      : await readImatrix(/** @type {import('../source.js').SingleSource} */ (options.imatrix), { ...options, engine })
    if (given) checkImatrix(given, matrices).forEach(note)
    const imatrix = given ?? (calibration && method !== 'rtn' && method !== 'hqq' ? (await measureImatrix(engine, checkpoint, {
      ...calibration, samples: Math.min(calibration.samples ?? 256, IMPORTANCE_SAMPLES), signal, onNote: note, onProgress: (done, total, layer) => tell('importance', `layer ${layer}`, done, total),
    })).imatrix : undefined)
    const model = await fingerprint(checkpoint, 'analysis')
    const importance = await Promise.all([...imatrix?.entries ?? []].map(async ([name, { sums, counts }]) => [name, await sha256(new Uint8Array(sums.slice().buffer)), [...counts]]))
    const asked = {
      model, candidates, method, importance, ...(calibration && { ...calibration, text: await sha256(new TextEncoder().encode(calibration.text)), sensitivitySamples, sensitivityPasses }),
    }
    const earlier = new Earlier(options.journal, await sha256(new TextEncoder().encode(JSON.stringify(asked))))
    await earlier.open()
    const entryOf = (/** @type {string} */ name) => imatrix?.entries.get(name)
    /** @type {TensorAnalysis[]} */
    const tensors = []
    for (const [i, tensor] of matrices.entries()) {
      const { name, shape, type } = tensor
      tell('weights', name, i, matrices.length)
      tensors.push({ name, shape, type, ...await earlier.get(`weights ${name}`, async () => ({
        ...await spreadOf(encoder, checkpoint, tensor), errors: await errorsOf(encoder, checkpoint, tensor, { types: candidates, method: how, importance: entryOf(name) }),
      })) })
    }
    /** @type {Analysis} */
    const result = {
      kind: 'nibble-analysis', version: 1, input: checkpoint.name, model, parameters: checkpoint.tensors.reduce((n, t) => n + weightsOf(t), 0), method, candidates, tensors, notes,
    }
    if (!calibration) {
      if (given) note('sensitivities of tensors are not known without a calibration text')
      return result
    }
    /** @type {Sensitivity | undefined} */
    let sensitivity
    const measure = async () => sensitivity ??= await Sensitivity.create(encoder, checkpoint, {
      calibration, samples: sensitivitySamples, threads: engine.threads, variant: options.variant, wasm: options.wasm, signal, onNote: note,
    })
    const passes = sensitivityPasses === 'auto' ? (matrices.length > MOST_EACH ? 'shared' : 'each') : sensitivityPasses
    const groups = passes === 'shared' ? groupsOf(matrices.map((t) => t.name)) : matrices.map(({ name }) => ({ name, members: [name] }))
    if (passes === 'shared' && sensitivityPasses === 'auto') note(`sensitivities of ${matrices.length} matrices are fitted to ${groups.length} measurements, of layers and of kinds of matrices`)
    const sums = []
    for (const [i, { name, members }] of groups.entries()) {
      tell('sensitivity', name, i, groups.length)
      const found = await earlier.get(`sensitivity ${name}`, async () => (await measure()).measure(matrices.filter((t) => members.includes(t.name)), entryOf))
      sums.push({ members, sensitivity: found.sensitivity })
      if (passes === 'each') Object.assign(tensors[i], found)
    }
    const fitted = fitGroups(sums)
    if (passes === 'shared') for (const t of tensors) t.sensitivity = fitted.get(t.name)
    tell('sensitivity', 'all together', groups.length, groups.length)
    const prediction = await earlier.get('prediction', async () => predictionOf(await measure(), { encoder, checkpoint, tensors, entryOf, method: how }))
    const about = await earlier.get('calibration', async () => {
      const { reference } = await measure()
      return { name: calibration.name ?? '', samples: reference.chunks.length, n_ctx: reference.n_ctx, predictions: reference.positions.length, passes }
    })
    return { ...result, calibration: about, prediction }
  } finally {
    if (!engine.dead) encoder.free()
  }
}

/**
 * What else makes up the divergence of a mix: activations in whole numbers, which comes with any type, and that errors of many tensors are not quite
 * additive. The model with all matrices in one type tells: once in one whose own error is next to nothing, once in one of about four bits.
 * @param {Sensitivity} measured
 * @param {{encoder: RowEncoder, checkpoint: Checkpoint, tensors: TensorAnalysis[], entryOf: (name: string) => import('./imatrix.js').ImatrixEntry | undefined, method: number}} about
 * @returns {Promise<NonNullable<Analysis['prediction']>>}
 */
async function predictionOf(measured, { encoder, checkpoint, tensors, entryOf, method }) {
  const checks = []
  for (const types of CHECKS) {
    const typeOf = (/** @type {{shape: number[]}} */ { shape }) => types.find((type) => shape[0] % typeInfo(type).weights === 0)
    let sum = 0
    for (const about of tensors) {
      const type = typeOf(about), tensor = checkpoint.tensors.find((t) => t.name === about.name)
      if (type === undefined || !tensor || type === tensor.type) continue
      const { [type]: { weighted_error } } = about.errors[type] ? about.errors : await errorsOf(encoder, checkpoint, tensor, { types: [type], method, importance: entryOf(about.name) })
      sum += weighted_error * (about.sensitivity ?? 0)
    }
    const { mean } = await measured.quantized(checkpoint.tensors.filter(isMatrix), typeOf, entryOf, method)
    checks.push({ type: types[0], sum, kld: mean })
  }
  const [fine, coarse] = checks
  const slope = coarse.sum > fine.sum ? Math.max(0, (coarse.kld - fine.kld) / (coarse.sum - fine.sum)) : 1
  return { offset: Math.max(0, fine.kld - slope * fine.sum), slope, checks }
}

const SPREAD = { min: 'number', max: 'number', rms: 'count', outliers: 'count', kurtosis: 'number' }
const SHAPE = {
  kind: 'string', version: 'number', input: 'string', model: 'hash', parameters: 'count', method: 'string', candidates: ['string'], notes: ['string'],
  'calibration?': { name: 'string', samples: 'count', n_ctx: 'count', predictions: 'count', passes: 'string' },
  'prediction?': { offset: 'count', slope: 'count', checks: [{ type: 'string', sum: 'count', kld: 'count' }] },
  tensors: [{
    name: 'string', shape: ['count'], type: 'string', ...SPREAD, errors: { '*': { error: 'count', weighted_error: 'count' } },
    sensitivity: 'count?', noise: 'count?', kld: 'count?', kld_error: 'count?',
  }],
}

/**
 * Makes sure that something read from a file is an analysis of a model.
 * @param {unknown} value @param {Checkpoint} checkpoint
 * @returns {Promise<Analysis>}
 */
export async function checkAnalysis(value, checkpoint) {
  const analysis = /** @type {Analysis} */ (value)
  if (typeof value !== 'object' || value === null || analysis.kind !== 'nibble-analysis') throw new NibbleError('E_FORMAT', 'this is not the analysis of a model; `nibble analyze … -o F.json` makes one')
  if (analysis.version !== 1) throw new NibbleError('E_UNSUPPORTED', `the analysis is of version ${analysis.version}, this program reads 1`)
  checkShape(value, SHAPE, 'the analysis')
  if (analysis.model !== await fingerprint(checkpoint, 'analysis')) {
    throw new NibbleError('E_ARGUMENT', `the analysis is of another model than ${checkpoint.name}: ${analysis.input}; make one of this model (\`nibble analyze\`)`)
  }
  const measured = analysis.tensors.filter((t) => typeof t.sensitivity === 'number').length
  if (measured !== 0 && measured !== analysis.tensors.length) throw new NibbleError('E_FORMAT', `the analysis is incomplete: ${measured} of its ${analysis.tensors.length} tensors have a sensitivity; make it anew`)
  return analysis
}
