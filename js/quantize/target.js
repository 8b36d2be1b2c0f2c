/**
 * The types of all matrices under a budget of bytes: those by which the model loses the least, as far as its analysis tells.
 */
import { NibbleError } from '../errors.js'
import { allocate, leastBytes } from './allocate.js'
import { GgufWriter } from './gguf-writer.js'
import { fitting, isMatrix, overridesOf, requantizing, typeNamed, weightsOf } from './plan.js'
import { isFloat, tensorBytes, typeInfo } from './types.js'

/**
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./checkpoint.js').Tensor} Tensor
 * @typedef {import('./analyze.js').Analysis} Analysis
 *
 * @typedef {object} Target  one of both
 * @property {number} [bytes]  of the file, at most
 * @property {number} [bpw]  bits per weight over all tensors, at most
 *
 * @typedef {object} Mix
 * @property {Map<string, string>} types  of matrices by their names
 * @property {string[]} notes
 * @property {MixResult} result
 *
 * @typedef {object} MixResult
 * @property {number} budget_bytes  of the file, or of all tensors where the target is bits per weight  @property {number} bytes  that the mix takes of it
 * @property {'measured' | 'none'} sensitivity  whether errors of tensors were weighed by what the model loses for them
 * @property {number} [predicted]  divergence (nats a token) that the mix should have; where sensitivities are known
 * @property {number} [bound]  no mix of these types within the budget has a smaller one
 * @property {boolean} exact  whether it is proven that there is no better mix
 * @property {string[]} candidates
 */

/** Types for which the runtime has its fast layout. */
export const CANDIDATES = ['IQ4_XS', 'IQ4_NL', 'Q4_0', 'Q4_1', 'Q4_K', 'Q5_0', 'Q5_1', 'Q5_K', 'Q6_K', 'Q8_0']
/** Smaller ones, which run slower. */
const SMALLER = ['Q2_K', 'Q3_K']

/**
 * Where sensitivities are not known they are taken to rise with this power of a matrix's weights. On the original of demo/model mixes come out best with 3/4: with 1
 * all matrices would get nearly the same type, with 0 large ones, such as the embedding, too few bits.
 */
const UNMEASURED = 0.75

/** @param {string[]} [names] */
export function candidatesOf(names = CANDIDATES) {
  if (names.length === 0) throw new NibbleError('E_ARGUMENT', 'candidates name no type; leave them out for the usual ones')
  return [...new Set(names.map((name) => typeNamed(name, 'candidates')))]
}

/** @param {Target} target */
export function checkTarget({ bytes, bpw }) {
  if ((bytes === undefined) === (bpw === undefined)) throw new NibbleError('E_ARGUMENT', 'a target is a size or a number of bits per weight: give one of them')
  for (const [what, value] of [['bytes', bytes], ['bpw', bpw]]) {
    if (value !== undefined && !(Number.isFinite(value) && Number(value) > 0)) throw new NibbleError('E_ARGUMENT', `target.${what} must be a number above 0, not ${value}`)
  }
}

/** @param {number} bytes */
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 3 : 1)} MB`

/**
 * @param {Checkpoint} checkpoint
 * @param {Analysis} analysis  of this checkpoint
 * @param {object} options
 * @param {Target} options.target
 * @param {import('./pairs.js').Pair[]} options.pairs  of the output
 * @param {string[]} [options.candidates]
 * @param {boolean} [options.allowRequantize]
 * @param {[pattern: string | RegExp, type: string][]} [options.tensorTypes]  @param {string} [options.outputTensorType]  @param {string} [options.tokenEmbeddingType]
 * @returns {Mix}
 */
export function chooseMix(checkpoint, analysis, { target, pairs, candidates: names = analysis.candidates, allowRequantize, ...asked }) {
  checkTarget(target)
  const candidates = candidatesOf(names), overrides = overridesOf(asked)
  const known = new Map(analysis.tensors.map((t) => [t.name, t]))
  const bySize = target.bytes !== undefined
  /** @type {string[]} */
  const notes = []
  /** Matrices whose type is to be found, with the types that they may get. @type {{tensor: Tensor, options: {type: string, bytes: number, loss: number}[]}[]} */
  const items = []
  /** @type {Map<string, string>} */
  const types = new Map()
  const { alignment } = new GgufWriter(NOWHERE, { pairs, tensors: [] })
  const bytesOf = (/** @type {Tensor} */ tensor, /** @type {string} */ type) => {
    const bytes = tensorBytes(type, tensor.shape)
    return bySize ? Math.ceil(bytes / alignment) * alignment : bytes
  }
  const lossOf = (/** @type {Tensor} */ tensor, /** @type {string} */ type) => {
    if (type === tensor.type || isFloat(type)) return 0
    const about = known.get(tensor.name), error = about?.errors[type]
    if (!about || !error) throw new NibbleError('E_ARGUMENT', `the analysis does not tell what ${type} costs in ${tensor.name}; make it anew with this type among its candidates (\`nibble analyze … --candidates\`)`)
    return error.weighted_error * (about.sensitivity ?? (weightsOf(tensor) / 1e5) ** UNMEASURED)
  }
  let fixed = 0
  for (const tensor of checkpoint.tensors) {
    const { name, type: from, shape } = tensor
    if (!isMatrix(tensor)) continue
    const wanted = overrides.typeOf(name)
    if (wanted === undefined && !isFloat(from) && !allowRequantize) throw requantizing(name, from)
    const fits = candidates.filter((type) => shape[0] % typeInfo(type).weights === 0)
    if (wanted !== undefined || fits.length === 0) {
      types.set(name, fitting(wanted ?? candidates[0], shape[0]))
      if (wanted === undefined) notes.push(`${name} becomes ${types.get(name)}: its rows of ${shape[0]} weights are no whole blocks of any candidate`)
      else if (known.get(name)?.errors[/** @type {string} */ (types.get(name))]) fixed += lossOf(tensor, /** @type {string} */ (types.get(name)))
    } else {
      items.push({ tensor, options: fits.map((type) => ({ type, bytes: bytesOf(tensor, type), loss: lossOf(tensor, type) })) })
    }
  }
  notes.push(...overrides.unused())
  // What is not to be chosen: the header, and tensors that keep their type or have one by name.
  const free = new Set(items.map(({ tensor }) => tensor.name))
  const others = checkpoint.tensors.filter(({ name }) => !free.has(name)).reduce((n, tensor) => n + bytesOf(tensor, types.get(tensor.name) ?? tensor.type), 0)
  const header = bySize ? new GgufWriter(NOWHERE, { pairs, tensors: checkpoint.tensors.map(({ name, shape, type }) => ({ name, shape, type })) }).header.length : 0
  const parameters = checkpoint.tensors.reduce((n, t) => n + weightsOf(t), 0)
  const budget = target.bytes ?? Math.floor(Number(target.bpw) * parameters / 8)
  const options = items.map((item) => item.options), least = leastBytes(options) + others + header
  if (budget < least) throw tooSmall({ target, least, parameters, candidates, smaller: leastWithSmaller(items, bytesOf) + others + header })
  const { choice, bytes, loss, bound, exact } = allocate(options, budget - others - header)
  items.forEach(({ tensor, options: list }, i) => types.set(tensor.name, list[choice[i]].type))
  const measured = analysis.tensors.some((t) => typeof t.sensitivity === 'number')
  const { offset = 0, slope = 1 } = analysis.prediction ?? {}
  const predict = (/** @type {number} */ sum) => offset + slope * (sum + fixed)
  if (!exact) notes.push(`the mix is within ${(100 * (1 - (bound + fixed) / (loss + fixed))).toFixed(2)} % of the best there could be; it is not proven that there is no better one`)
  return {
    types, notes,
    result: { budget_bytes: budget, bytes: bytes + others + header, sensitivity: measured ? 'measured' : 'none', ...(measured && { predicted: predict(loss), bound: predict(bound) }), exact, candidates },
  }
}

/** @type {import('./gguf-writer.js').Sink} */
const NOWHERE = { write: async () => {}, commit: async () => {}, abort: async () => {} }

/** The least bytes of the matrices if the smallest types of all were candidates, too. @param {{tensor: Tensor, options: {bytes: number}[]}[]} items @param {(tensor: Tensor, type: string) => number} bytesOf */
const leastWithSmaller = (items, bytesOf) => items.reduce((n, { tensor, options }) => n + Math.min(
  ...options.map((o) => o.bytes), ...SMALLER.filter((type) => tensor.shape[0] % typeInfo(type).weights === 0).map((type) => bytesOf(tensor, type))), 0)

/** @param {{target: Target, least: number, parameters: number, candidates: string[], smaller: number}} figures */
function tooSmall({ target, least, parameters, candidates, smaller }) {
  const show = (/** @type {number} */ n) => (target.bytes !== undefined ? `${n} bytes (${megabytes(n)})` : `${(Math.ceil(n * 8 / parameters * 1e4) / 1e4)} bits per weight`)
  const asked = target.bytes !== undefined ? `${target.bytes} bytes` : `${target.bpw} bits per weight`
  return new NibbleError('E_ARGUMENT', `the target of ${asked} is too small: the least that is possible with ${candidates.join(', ')} is ${show(least)}` +
    `${smaller < least ? `; with ${SMALLER.join(' and ')} among the candidates it is ${show(smaller)}` : ''}`)
}
