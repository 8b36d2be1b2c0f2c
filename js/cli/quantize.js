import { MIX_NAMES } from '../quantize/plan.js'
import { SENSITIVITY_SAMPLES } from '../quantize/analyze.js'
import { quantize } from '../quantize/quantize.js'
import { CANDIDATES } from '../quantize/target.js'
import { JSON_OPTION, UsageError } from './options.js'
import { count, print, progressBar, readJson, readText, say, size } from './common.js'
import { VALIDATION_OPTIONS, checkValidation, finish, prepareValidation } from './validation.js'

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 1) return 'less than a second'
  if (seconds < 90) return `${Math.round(seconds)} s`
  const minutes = Math.round(seconds / 60)
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** @param {string} text @returns {[string, string]} */
function tensorType(text) {
  const at = text.lastIndexOf('=')
  if (at < 1 || at === text.length - 1) throw new UsageError(`--tensor-type takes REGEX=TYPE, such as 'ffn_down=Q6_K', not '${text}'`)
  return [text.slice(0, at), text.slice(at + 1)]
}

/** Bytes in a text such as 3.2MB or 300MiB. @param {string} text */
export function bytesOf(text) {
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]?)(i?)b?$/i.exec(text.trim())
  if (!match) throw new UsageError(`--target-size takes a size, such as 350MB, 1.2GB or 300MiB, not '${text}'`)
  const [, number, prefix, binary] = match
  return Math.floor(Number(number) * (binary ? 1024 : 1000) ** ' kmg'.indexOf(prefix.toLowerCase() || ' '))
}

/** Names of types in a list. @param {string} text */
export const listOf = (text) => text.split(',').map((name) => name.trim()).filter(Boolean)

/** @param {import('../quantize/analyze.js').AnalyzeProgress} progress */
export const analysisLine = ({ step, detail, secondsLeft }) =>
  `${step === 'weights' ? 'weights' : step === 'importance' ? 'importance' : 'sensitivity'} of ${detail}${secondsLeft === undefined ? '' : `, ${duration(secondsLeft)} left`}`

/** The budget that is given, if any. @param {import('./options.js').Values} values */
function targetOf(values) {
  const { 'target-size': size, 'target-bpw': bpw } = values
  if (size !== undefined && bpw !== undefined) throw new UsageError('--target-size and --target-bpw exclude each other')
  if (size === undefined && bpw === undefined) {
    for (const name of ['candidates', 'sensitivity']) if (values[name] !== undefined) throw new UsageError(`--${name} needs --target-size or --target-bpw`)
    return undefined
  }
  if (values.type !== undefined) throw new UsageError('a target chooses the types: leave --type out; --tensor-type fixes those of single tensors')
  return size !== undefined ? { bytes: bytesOf(size) } : { bpw }
}

/** @param {import('../quantize/target.js').MixResult} mix */
const mixLine = ({ bytes, budget_bytes, predicted, exact }) =>
  `the mix takes ${bytes} of ${budget_bytes} bytes${exact ? '; no other one of these types loses less' : ''}${predicted !== undefined ? `; divergence of about ${predicted.toPrecision(3)} expected from the search` : ''}\n`

/** The types that the weights have in the result, the most common first. @param {import('../quantize/quantize.js').TensorResult[]} tensors */
function shares(tensors) {
  const bytes = new Map()
  for (const t of tensors) bytes.set(t.to, (bytes.get(t.to) ?? 0) + t.bytes)
  return [...bytes].sort((a, b) => b[1] - a[1]).map(([type, n]) => `${type} ${size(n)}`).join(', ')
}

/** @param {import('../quantize/quantize.js').QuantizeResult} r */
const summary = (r) => `${count(r.parameters)} parameters, ${size(r.input_bytes)} -> ${size(r.file_bytes)}, ${r.bpw.toFixed(2)} bits per weight (${shares(r.tensors)})`

/** @param {import('../quantize/quantize.js').QuantizeResult} r */
const table = (r) => r.tensors.map((t) =>
  `  ${t.name.padEnd(32)} ${t.shape.join(' x ').padEnd(16)} ${t.copied ? `${t.to} as it is` : `${t.from} -> ${t.to}`.padEnd(16)} ${size(t.bytes).padStart(9)}${t.error ? `  error ${(100 * Math.sqrt(t.error)).toFixed(3)} %` : ''}\n`).join('')

/** @type {import('./options.js').Command} */
export default {
  summary: 'makes a model smaller: weights in fewer bits, in a GGUF file that llama.cpp loads, too',
  usage: 'IN [OUT] (--type TYPE | --target-size SIZE | --target-bpw N) [options]',
  details: `IN is a GGUF file in F32, F16 or BF16, or a Hugging Face folder. TYPE is one of ${MIX_NAMES.join(', ')}: the mixes of llama.cpp (Q4_K, Q5_K, Q3_K mean the _M ones), which keep some\n` +
    'tensors in more bits; --pure puts all matrices in one type. With a target in place of a type every matrix gets the type by which the model loses the least\n' +
    'within that budget; a calibration text, or an analysis made with one, tells which tensors it minds (`nibble analyze`). A run that was interrupted goes on where it stood: give the same command again.',
  positionals: [1, 2],
  options: {
    ...JSON_OPTION,
    type: { type: 'string', value: 'TYPE', help: 'what most weights become' },
    method: { type: 'string', value: 'M', default: 'search', help: 'search: scales for the least error (default); rtn: rounding, quick; hqq: search without data for robust norms; gptq, awq: by a calibration text' },
    calibration: { type: 'string', value: 'F', help: 'a text of the kind the model is used for, and not the one it is judged by; with search it measures importance' },
    samples: { type: 'integer', value: 'N', default: 256, help: 'pieces of that text, spread over all of it (default 256)' },
    ctx: { type: 'integer', value: 'N', default: 512, help: 'tokens of each (default 512)' },
    smooth: { type: 'number', value: 'A', help: 'first move outliers of activations into the weights, 0 to 1 (0.5 is usual); needs --calibration' },
    damping: { type: 'number', value: 'D', help: 'gptq: part of the mean of the diagonal that is added to it (default 0.01)' },
    gptaq: { type: 'number', value: 'A', help: 'gptq: how much of the error of the layers before is made up for, 0 to 1 (default 0)' },
    imatrix: { type: 'string', value: 'F', help: 'importance matrix of llama.cpp or of Nibble: errors count by the size of what a column is multiplied with' },
    'tensor-type': { type: 'string', value: 'REGEX=TYPE', multiple: true, help: 'the type of tensors whose name matches; the last that matches counts' },
    'target-size': { type: 'string', value: 'SIZE', help: 'of the file at most, such as 350MB or 300MiB: types are chosen to lose the least' },
    'target-bpw': { type: 'number', value: 'N', help: 'bits per weight over all tensors at most: types are chosen to lose the least' },
    candidates: { type: 'string', value: 'LIST', help: `types to choose from for the target (default ${CANDIDATES.join(',')}: those that run fast)` },
    sensitivity: { type: 'string', value: 'F', help: 'what `nibble analyze -o F` found; else it is found first' },
    'sensitivity-samples': { type: 'integer', value: 'N', default: SENSITIVITY_SAMPLES, help: `samples that the model runs on for each tensor, to find how much it minds (default ${SENSITIVITY_SAMPLES})` },
    'sensitivity-passes': { type: 'string', value: 'P', default: 'auto', help: 'each: every tensor by itself; shared: layers and kinds of matrices as a whole, far fewer; auto (default): each up to 100' },
    'output-tensor-type': { type: 'string', value: 'TYPE', help: 'the type of output.weight' },
    'token-embedding-type': { type: 'string', value: 'TYPE', help: 'the type of token_embd.weight' },
    pure: { type: 'boolean', help: 'no mix: all matrices in one type' },
    'allow-requantize': { type: 'boolean', help: 'also from types that are quantized already; loses more' },
    threads: { type: 'integer', value: 'N', help: 'threads (default: one for each core)' },
    variant: { type: 'string', value: 'V', help: 'simd128 or relaxed (default: the fastest this Node runs)' },
    'dry-run': { type: 'boolean', help: 'print what would become of each tensor, and what it would take' },
    verbose: { type: 'boolean', short: 'v', help: 'list all tensors with their errors' },
    ...VALIDATION_OPTIONS,
  },

  failed: (result) => /** @type {any} */ (result).gate?.passed === false,

  async run({ values, args: [input, output] }, signal) {
    const target = targetOf(values)
    if (values.type === undefined && !target) throw new UsageError('--type is missing, or a target')
    if (output === undefined && !values['dry-run']) throw new UsageError('OUT is missing')
    checkValidation(values)
    const prepared = values['dry-run'] ? { reference: undefined, seconds: 0 } : await prepareValidation(values, input, signal)
    const bar = progressBar('quantizing'), start = performance.now()
    /** @type {import('../quantize/quantize.js').QuantizeResult} */
    let r
    try {
      r = await quantize(input, output, {
        ...(target ? { target, sensitivitySamples: values['sensitivity-samples'], sensitivityPasses: values['sensitivity-passes'] } : { type: values.type }),
        ...(values.candidates !== undefined && { candidates: listOf(values.candidates) }),
        ...(values.sensitivity !== undefined && { sensitivity: await readJson(values.sensitivity) }), method: values.method, imatrix: values.imatrix, tensorTypes: (values['tensor-type'] ?? []).map(tensorType),
        outputTensorType: values['output-tensor-type'], tokenEmbeddingType: values['token-embedding-type'], pure: values.pure,
        ...(values.calibration !== undefined && {
          calibration: { text: await readText(values.calibration), name: values.calibration, samples: values.samples, ctx: values.ctx, parseSpecial: values['parse-special'] },
        }),
        ...(values.smooth !== undefined && { smooth: values.smooth }),
        ...((values.damping ?? values.gptaq) !== undefined && { gptq: { damping: values.damping, alpha: values.gptaq } }),
        allowRequantize: values['allow-requantize'], threads: values.threads ?? 'auto', variant: values.variant, dryRun: values['dry-run'], signal,
        onNote: (text) => say(`note: ${text}`),
        onAnalysis: (p) => bar.update(p.done, p.total, analysisLine(p)),
        onEstimate: (e) => say(`${size(e.input_bytes)} -> ${size(e.file_bytes)}, ${e.bpw.toFixed(2)} bits per weight; about ${duration(e.seconds)} with ${e.threads} thread${e.threads > 1 ? 's' : ''}, ${size(e.memory_bytes)} of memory`),
        onProgress: ({ tensor, done, secondsLeft }) => bar.update(done, 1, `${tensor}, ${duration(secondsLeft)} left`),
      })
    } finally {
      bar.end()
    }
    const seconds = (performance.now() - start) / 1000
    if (!values.json) {
      if (values['dry-run'] || values.verbose) print(table(r))
      if (r.mix) print(mixLine(r.mix))
      print(values['dry-run'] ? `would be: ${summary(r)}\n` : `${output}: ${summary(r)}, in ${duration(r.wall_seconds)}${r.resumed ? ` (${(100 * r.resumed).toFixed(0)} % of it in an earlier run)` : ''}\n`)
    }
    const more = values['dry-run'] ? {} : await finish({ values, input, output, result: r, seconds, prepared }, signal)
    return { ...r, ...(output !== undefined && { output }), ...more }
  },
}
