/**
 * What a run of the quantizer did and how near the result is to the original: as JSON (the object itself), as CSV of the tensors, and as one
 * HTML page that needs nothing else.
 */
import { NibbleError } from '../errors.js'
import { page } from './report/page.js'

/**
 * @typedef {object} ReportTensor
 * @property {string} name  @property {string} type  what it became  @property {string} [from]  what it was
 * @property {number[]} shape  @property {number} bytes  @property {number} bits  per weight, scales included
 * @property {string} method  'copied' where nothing was done
 * @property {number} [relative_error]  sum of squared differences of the weights, over the sum of their squares
 * @property {number} [error]  the same of what counts: of the block's output, or weighted by importance
 * @property {number} [sensitivity]  what the model loses for an error of this tensor: divergence over relative error
 * @property {number} [damping]  that GPTQ needed  @property {string} [order]  of the columns in GPTQ
 * @property {number} [dead_columns]  columns that no input ever reached  @property {number} [seconds]
 * @property {Record<string, number>} [errors]  what error is, by method, where several were tried
 *
 * @typedef {object} ReportFile
 * @property {string} name  @property {number} bytes
 * @property {string} [sha256]  in hexadecimal  @property {string} [type]  @property {number} [bpw]  bits per weight, over all tensors
 * @property {number} [parameters]  @property {string} [architecture]
 *
 * @typedef {object} QuantizeReport
 * @property {'nibble-quantize-report'} kind  @property {1} version
 * @property {string} [name]  of the run, where several stand in a table
 * @property {string} [program]  that made it, with its version
 * @property {ReportFile} input  @property {ReportFile} output
 * @property {Record<string, string | number | boolean | (string | number)[] | null>} options
 * @property {ReportTensor[]} tensors
 * @property {{text?: string, sha256?: string, samples: number, tokens: number, sample_tokens?: number, dead_columns?: number, nan_inputs?: number, notes?: string[]}} [calibration]
 * @property {{layer: number, error: number, seconds?: number}[]} [layers]  relative squared error of a layer's output, measured while calibrating
 * @property {import('../evaluate.js').Evaluation} [validation]
 * @property {import('./gates.js').GateReport} [gates]
 * @property {{seconds: number, steps?: Record<string, number>, memory_bytes?: number, threads?: number, variant?: string, resumed?: number}} [timing]
 * @property {string[]} warnings
 */

/** What a field holds: a word, with ? where it may be missing; [item]; {'*': item} for any names; or fields. @typedef {string | [any] | {[name: string]: any}} Shape */

const NUMBERS = { '*': 'number' }
const FILE = { name: 'string', bytes: 'count', sha256: 'hash?', type: 'string?', bpw: 'number?', parameters: 'number?', architecture: 'string?' }
const TOKEN = { text: 'string', p: 'number' }
/** @type {Shape} */
const SHAPE = {
  kind: 'string', version: 'number', name: 'string?', program: 'string?', input: FILE, output: FILE, options: { '*': 'option' }, warnings: ['string'],
  tensors: [{
    name: 'string', type: 'string', from: 'string?', shape: ['count'], bytes: 'count', bits: 'count', method: 'string', relative_error: 'number?', error: 'number?',
    sensitivity: 'number?', damping: 'number?', order: 'string?', dead_columns: 'number?', seconds: 'number?', 'errors?': NUMBERS,
  }],
  'calibration?': { text: 'string?', sha256: 'hash?', samples: 'number', tokens: 'number', sample_tokens: 'number?', dead_columns: 'number?', nan_inputs: 'number?', 'notes?': ['string'] },
  'layers?': [{ layer: 'count', error: 'number', seconds: 'number?' }],
  'validation?': {
    ppl: 'number', ppl_error: 'number', tokens: 'number', n_ctx: 'number', chunks: 'number',
    kld: { mean: 'number', error: 'number', median: 'number', p90: 'number', p95: 'number', p99: 'number', p999: 'number', max: 'number', kind: 'string', lower_bound: 'number' },
    top1_agreement: 'number', top1_error: 'number', ref_ppl: 'number', ppl_ratio: 'number', ppl_ratio_error: 'number', p_rms: 'number', p_rms_error: 'number',
    reference: { kind: 'string', name: 'string', model_sha256: 'hash?', tokens_sha256: 'hash?' },
    distribution: { quantiles: [['number']], histogram: { from: 'number', to: 'number', counts: ['number'] } },
    'worst?': [{ chunk: 'number', position: 'number', kld: 'number', context: 'string', expected: 'string', p: 'number', ref_p: 'number', predicted: TOKEN, ref_predicted: TOKEN }],
    'loops?': {
      prompts: 'number', tokens: 'number', looping: 'number', ref_looping: 'number', added: 'number', removed: 'number', excess: 'number', excess_error: 'number', repeated: 'number',
      ref_repeated: 'number', repeated_difference: 'number', repeated_error: 'number', examples: [{ prompt: 'string', text: 'string', ref_text: 'string', period: 'number' }],
    },
  },
  'gates?': {
    passed: 'boolean', tokens: 'number',
    gates: [{ name: 'string', what: 'string', kind: 'string', limit: 'number', value: 'number', error: 'number?', passed: 'boolean', sure: 'boolean', needed: 'number?', text: 'string' }],
  },
  'timing?': { seconds: 'number', 'steps?': NUMBERS, memory_bytes: 'number?', threads: 'number?', variant: 'string?', resumed: 'number?' },
}

/** @param {any} value @param {string} kind */
function fits(value, kind) {
  if (kind === 'hash') return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
  if (kind === 'option') return value === null || ['string', 'number', 'boolean'].includes(typeof value) || (Array.isArray(value) && value.every((v) => typeof v === 'string' || typeof v === 'number'))
  if (kind === 'count') return Number.isFinite(value) && value >= 0
  return typeof value === kind && (kind !== 'number' || Number.isFinite(value))
}

/**
 * Throws where a value from a file is not of a shape.
 * @param {any} value @param {Shape} shape @param {string} whole  what it is, for messages @param {string} [path]
 */
export function checkShape(value, shape, whole, path = '') {
  const wrong = (/** @type {string} */ what) => new NibbleError('E_FORMAT', `${whole} is malformed: ${path || 'it'} ${what}`)
  if (typeof shape === 'string') {
    const kind = shape.replace('?', '')
    if (!(kind !== shape && (value === undefined || value === null)) && !fits(value, kind)) throw wrong(`must be a ${kind === 'hash' ? 'SHA-256 in hexadecimal' : kind === 'number' ? 'finite number' : kind === 'count' ? 'number of at least 0' : kind}`)
  } else if (Array.isArray(shape)) {
    if (!Array.isArray(value)) throw wrong('must be an array')
    value.forEach((item, i) => checkShape(item, shape[0], whole, `${path}[${i}]`))
  } else {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong('must be an object')
    for (const [key, item] of Object.entries(shape)) {
      if (key === '*') {
        for (const [name, it] of Object.entries(value)) checkShape(it, item, whole, `${path}.${name}`)
        continue
      }
      const name = key.replace('?', '')
      if (name !== key && (value[name] === undefined || value[name] === null)) continue
      checkShape(Object.hasOwn(value, name) ? value[name] : undefined, item, whole, path ? `${path}.${name}` : name)
    }
  }
}

/**
 * Makes sure that something read from a file is a report.
 * @param {unknown} value
 * @returns {QuantizeReport}
 */
export function checkReport(value) {
  const report = /** @type {QuantizeReport} */ (value)
  if (typeof value !== 'object' || value === null || report.kind !== 'nibble-quantize-report') {
    throw new NibbleError('E_FORMAT', 'this is not the report of a quantization; `nibble quantize … --report RUN.json` writes one')
  }
  if (report.version !== 1) throw new NibbleError('E_UNSUPPORTED', `the report is of version ${report.version}, this program reads 1`)
  checkShape(value, SHAPE, 'the report')
  if (report.layers?.some(({ layer }) => layer > 9999)) throw new NibbleError('E_FORMAT', 'the report is malformed: layers go beyond 9999')
  const { validation } = report
  if (validation) {
    const { quantiles, histogram: { from, to, counts } } = /** @type {import('../evaluate/figures.js').Distribution} */ (validation.distribution)
    if (quantiles.length === 0 || quantiles.some((pair) => pair.length !== 2 || pair[0] < 0 || pair[0] > 1)) throw new NibbleError('E_FORMAT', 'the report is malformed: validation.distribution.quantiles must be pairs of a part and a divergence')
    if (!(to > from && to - from <= 100 && counts.length >= 1 && counts.length <= 1000 && Number.isInteger(to - from) && counts.length % (to - from) === 0 && counts.some((n) => n > 0))) {
      throw new NibbleError('E_FORMAT', 'the report is malformed: validation.distribution.histogram does not fit together')
    }
  }
  return report
}

/** The columns of the CSV. @type {(keyof ReportTensor)[]} */
const COLUMNS = ['name', 'from', 'type', 'shape', 'bytes', 'bits', 'method', 'relative_error', 'error', 'sensitivity', 'damping', 'order', 'dead_columns', 'seconds']

/**
 * A field of CSV. What a spreadsheet would take for a formula gets an apostrophe in front.
 * @param {unknown} value
 */
function field(value) {
  if (value === undefined || value === null) return ''
  if (typeof value === 'number') return String(value)
  const text = Array.isArray(value) ? value.join('x') : String(value)
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}

/**
 * The tensors of one or several runs, a line each.
 * @param {QuantizeReport[]} reports
 */
export function reportCsv(reports) {
  const several = reports.length > 1
  const lines = reports.flatMap((report) => report.tensors.map((tensor) => [...(several ? [report.name ?? report.output.name] : []), ...COLUMNS.map((key) => tensor[key])].map(field).join(',')))
  return `${[...(several ? ['run'] : []), ...COLUMNS].join(',')}\n${lines.map((line) => `${line}\n`).join('')}`
}

/**
 * One self-contained page. The first report is shown in full, all of them in a table and in the plots.
 * @param {QuantizeReport[]} reports
 * @returns {Promise<string>}
 */
export async function reportHtml(reports) {
  if (reports.length === 0) throw new NibbleError('E_ARGUMENT', 'there is no report to show')
  return page(reports.map(checkReport))
}

/** By which order of columns GPTQ did best, in rows. @param {RunTensor} tensor */
function orderOf({ rows_search, rows_static, rows_groups }) {
  const rows = Object.entries({ static: rows_static, groups: rows_groups, search: rows_search }).filter(([, n]) => n)
  return rows.length ? { order: rows.map(([name, n]) => `${name} ${n}`).join(', ') } : {}
}

/**
 * What of the result of quantize() is told.
 * @typedef {object} RunTensor
 * @property {string} name  @property {number[]} shape  @property {string} from  @property {string} to  @property {boolean} copied  @property {number} bytes
 * @property {number} bits  @property {number} error  @property {number} weighted_error  @property {number} seconds  @property {number} [searched_error]
 * @property {number} [damping]  @property {number} [dead_columns]  @property {number} [rows_search]  @property {number} [rows_static]  @property {number} [rows_groups]
 * @property {number} [sensitivity]
 * @typedef {object} RunResult
 * @property {string} type  @property {string} method  @property {number} parameters  @property {number} bpw  @property {number} seconds  @property {number} resumed
 * @property {number} threads  @property {string} variant  @property {number} memory_bytes  @property {string[]} notes  @property {RunTensor[]} tensors
 * @property {{name: string, samples: number, n_ctx: number}} [calibration]  @property {{layer: number, error: number, seconds: number}[]} [layers]
 */

/**
 * The report of a run.
 * @param {object} parts
 * @param {RunResult} parts.result  of quantize()
 * @param {ReportFile} parts.input  @param {ReportFile} parts.output
 * @param {QuantizeReport['options']} parts.options
 * @param {string} [parts.program]
 * @param {import('../evaluate.js').Evaluation} [parts.validation]  @param {import('./gates.js').GateReport} [parts.gates]
 * @param {Record<string, number>} [parts.steps]  seconds by step; without `quantizing`, that is what encoding took
 * @returns {QuantizeReport}
 */
export function reportOf({ result, input, output, options, program, validation, gates, steps = {} }) {
  const { calibration, layers } = result, all = { quantizing: result.seconds, ...steps }
  const tensors = result.tensors.map((t) => ({
    name: t.name, type: t.to, from: t.from, shape: t.shape, bytes: t.bytes, bits: t.bits, method: t.copied ? 'copied' : result.method, seconds: t.seconds,
    ...(!t.copied && { relative_error: t.error, ...(t.weighted_error !== t.error && { error: t.weighted_error }) }),
    ...(t.sensitivity !== undefined && { sensitivity: t.sensitivity }),
    ...(t.damping !== undefined && { damping: t.damping }), ...(t.dead_columns !== undefined && { dead_columns: t.dead_columns }), ...orderOf(t),
    ...(t.searched_error !== undefined && { errors: { search: t.searched_error, [result.method]: t.weighted_error } }),
  }))
  return {
    kind: 'nibble-quantize-report', version: 1, name: `${result.type} ${result.method}`, ...(program && { program }),
    input: { parameters: result.parameters, ...input }, output: { type: result.type, bpw: result.bpw, parameters: result.parameters, ...output }, options, tensors,
    ...(calibration && { calibration: {
      text: calibration.name, samples: calibration.samples, tokens: calibration.samples * calibration.n_ctx, sample_tokens: calibration.n_ctx,
      dead_columns: tensors.reduce((sum, t) => sum + (t.dead_columns ?? 0), 0),
    } }),
    ...(layers && { layers: layers.map(({ layer, error, seconds }) => ({ layer, error, seconds })) }), ...(validation && { validation }), ...(gates && { gates }),
    timing: {
      seconds: Object.values(all).reduce((sum, s) => sum + s, 0), steps: all, memory_bytes: result.memory_bytes,
      threads: result.threads, variant: result.variant, resumed: result.resumed,
    },
    warnings: result.notes,
  }
}
