/**
 * Limits that a quantized model has to keep to. They are about the divergence from the original first: perplexity can fall while the model
 * becomes another one.
 */
import { NibbleError } from '../errors.js'

/**
 * @typedef {import('../evaluate.js').Evaluation} Evaluation
 * @typedef {Record<string, number>} Gates  limits by the names of GATES
 *
 * @typedef {object} Gate
 * @property {string} what  for people
 * @property {'most' | 'least'} limit  what the limit is
 * @property {(figures: Evaluation) => number | undefined} value
 * @property {(figures: Evaluation) => number | undefined} [error]  standard error, where there is one
 * @property {(x: number) => string} show
 *
 * @typedef {object} GateResult
 * @property {string} name  @property {string} what  @property {'most' | 'least'} kind  @property {number} limit  @property {number} value
 * @property {number | null} error  standard error of the value, where there is one
 * @property {boolean} passed
 * @property {boolean} sure  whether the value is further from the limit than its standard error
 * @property {number | null} needed  predictions (of loops: beginnings) that would make it sure, as far as this sample tells; null: it is, or no sample would
 * @property {string} text  all of it in a line
 *
 * @typedef {object} GateReport
 * @property {boolean} passed  @property {number} tokens  predictions that the figures are of  @property {GateResult[]} gates
 */

const percent = (/** @type {number} */ x) => `${(100 * x).toFixed(2)} %`
const nats = (/** @type {number} */ x) => (Math.abs(x) < 0.1 ? x.toPrecision(3) : x.toFixed(3))

/** @type {Record<string, Gate>} */
export const GATES = {
  kld: { what: 'mean divergence (KL)', limit: 'most', value: (f) => f.kld?.mean, error: (f) => f.kld?.error, show: nats },
  kld99: { what: '99th percentile of the divergence', limit: 'most', value: (f) => f.kld?.p99, show: nats },
  kldmax: { what: 'greatest divergence', limit: 'most', value: (f) => f.kld?.max, show: nats },
  top1: { what: 'same most probable token', limit: 'least', value: (f) => f.top1_agreement, error: (f) => f.top1_error, show: percent },
  ppl: { what: 'rise of perplexity', limit: 'most', value: (f) => f.ppl_ratio && f.ppl_ratio - 1, error: (f) => f.ppl_ratio_error, show: percent },
  p: { what: 'RMS difference of the right token\'s probability', limit: 'most', value: (f) => f.p_rms, error: (f) => f.p_rms_error, show: percent },
  loops: { what: 'greedy texts that loop, beyond the original\'s', limit: 'most', value: (f) => f.loops?.excess, error: (f) => f.loops?.excess_error, show: (x) => String(Number(x.toPrecision(3))) },
}

/**
 * Limits by bits. Those of 8 and 4 bits are what good quantizers reach on models of some billion parameters; the others are drawn through
 * what llama.cpp's types of that size are known for.
 * @type {Record<string, Gates>}
 */
const PRESETS = {
  '8bit': { kld: 0.002, top1: 0.975 },
  '6bit': { kld: 0.006, top1: 0.955, ppl: 0.01 },
  '5bit': { kld: 0.012, top1: 0.94, ppl: 0.015 },
  '4bit': { kld: 0.03, top1: 0.92, ppl: 0.025 },
  '3bit': { kld: 0.12, top1: 0.84, ppl: 0.1 },
  '2bit': { kld: 0.5, top1: 0.68, ppl: 0.5 },
}
/** Up to so many bits a weight of the whole file, scales included. @type {[number, string][]} */
const CLASSES = [[3.2, '2bit'], [4.1, '3bit'], [5.25, '4bit'], [6.1, '5bit'], [7.5, '6bit'], [Infinity, '8bit']]

/** Below so many parameters limits are looser: small models have less to spare, and are less certain of their first token. */
const SMALL = 1e9
/** Of the divergence and of what perplexity may rise; of the part of other first tokens. */
const LOOSER = { kld: 2, ppl: 2, top1: 1.5 }

/** @param {string} preset @param {number} parameters @returns {Gates} */
function presetGates(preset, parameters) {
  const gates = { ...PRESETS[preset] }
  if (parameters >= SMALL) return gates
  gates.kld *= LOOSER.kld
  gates.top1 = Number((1 - (1 - gates.top1) * LOOSER.top1).toFixed(6))
  if (gates.ppl !== undefined) gates.ppl *= LOOSER.ppl
  return gates
}

/**
 * The limits for a model of so many bits a weight and so many parameters.
 * @param {{bpw: number, parameters: number}} model  such as model.info
 * @returns {Gates}
 */
export function defaultGates({ bpw, parameters }) {
  return presetGates(/** @type {[number, string]} */ (CLASSES.find(([most]) => bpw <= most))[1], parameters)
}

/**
 * Reads limits: items separated by commas, the later ones over the earlier: `default` (by the model's bits), `4bit` and so on, `kld=0.05`,
 * `ppl=none`. Limits of top1 are parts (0.92) or percentages (92%), as are those of ppl.
 * @param {string} text @param {{bpw: number, parameters: number}} model
 * @returns {Gates}
 */
export function parseGates(text, model) {
  /** @type {Gates} */
  const gates = {}
  for (const item of text.split(',').map((part) => part.trim()).filter(Boolean)) {
    const match = /^([a-z0-9]+)=(none|\d*\.?\d+(?:e[-+]?\d+)?)(%?)$/i.exec(item)
    if (item === 'default') Object.assign(gates, defaultGates(model))
    else if (Object.hasOwn(PRESETS, item)) Object.assign(gates, presetGates(item, model.parameters))
    else if (match && Object.hasOwn(GATES, match[1])) {
      if (match[2] === 'none') delete gates[match[1]]
      else gates[match[1]] = Number(match[2]) / (match[3] ? 100 : 1)
    } else {
      throw new NibbleError('E_ARGUMENT', `'${item}' is not a gate; gates are default, ${Object.keys(PRESETS).join(', ')}, and NAME=LIMIT or NAME=none with the names ${Object.keys(GATES).join(', ')}`)
    }
  }
  if (Object.keys(gates).length === 0) throw new NibbleError('E_ARGUMENT', `no gate is left of '${text}'; write default, or NAME=LIMIT`)
  if (gates.top1 > 1) throw new NibbleError('E_ARGUMENT', `top1=${gates.top1} is more than all; write it as a part (0.92) or with a percent sign`)
  return gates
}

/**
 * Holds figures against limits.
 * @param {Evaluation} figures  of perplexity() or validate(), with a reference
 * @param {Gates} gates
 * @returns {GateReport}
 */
export function checkGates(figures, gates) {
  const results = Object.entries(gates).map(([name, limit]) => {
    if (!Object.hasOwn(GATES, name)) throw new NibbleError('E_ARGUMENT', `there is no gate '${name}'; the names are ${Object.keys(GATES).join(', ')}`)
    if (typeof limit !== 'number' || Number.isNaN(limit)) throw new NibbleError('E_ARGUMENT', `the limit of gate '${name}' must be a number, not ${limit}`)
    const gate = GATES[name]
    const value = gate.value(figures)
    if (value === undefined) throw new NibbleError('E_ARGUMENT', `gate '${name}' needs a figure that was not measured; ${name === 'loops' ? 'compare greedy texts, too' : 'compare with a reference'}`)
    return resultOf(name, gate, value, limit, figures)
  })
  return { passed: results.every(({ passed }) => passed), tokens: figures.tokens, gates: results }
}

/** @param {string} name @param {Gate} gate @param {number} value @param {number} limit @param {Evaluation} figures @returns {GateResult} */
function resultOf(name, { what, limit: kind, error: errorOf, show }, value, limit, figures) {
  const passed = kind === 'most' ? value <= limit : value >= limit // not so for NaN
  const error = errorOf?.(figures) ?? null
  const distance = Math.abs(value - limit)
  const sure = error === null || error < distance || error === 0
  const sample = name === 'loops' ? figures.loops?.prompts ?? 0 : figures.tokens
  const needed = sure || distance === 0 ? null : Math.ceil(sample * (Number(error) / distance) ** 2)
  const doubt = sure ? '' : `; ${sample} ${name === 'loops' ? 'beginnings' : 'predictions'} are too few to be sure: the error is greater than the distance to the limit` +
    (needed ? `, about ${Number(needed.toPrecision(2))} would do` : '')
  const text = `${passed ? 'PASS' : 'FAIL'}  ${name.padEnd(6)} ${show(value)}${error === null ? '' : ` ± ${show(error)}`}, at ${kind} ${show(limit)} (${what})${doubt}`
  return { name, what, kind, limit, value, error, passed, sure, needed, text }
}
