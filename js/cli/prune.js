import { prune } from '../quantize/prune.js'
import { JSON_OPTION, UsageError } from './options.js'
import { count, print, progressBar, readText, say, size } from './common.js'
import { openCheckpoint } from '../quantize/checkpoint.js'
import { layersOf } from '../quantize/layers.js'

/** @param {string} text */
function layerList(text) {
  const list = text.split(',').map((s) => (/^\s*\d+\s*$/.test(s) ? Number(s) : NaN))
  if (list.some(Number.isNaN)) throw new UsageError(`--without takes the numbers of layers, such as 3,7, not '${text}'`)
  return list
}

/** @param {number} x */
const percent = (x) => `${(100 * x).toFixed(1)} %`

/** @param {import('../quantize/prune.js').PruneResult} r */
function summary(r) {
  const lines = [`${count(r.input_parameters)} -> ${count(r.parameters)} parameters, ${size(r.input_bytes)} -> ${size(r.file_bytes)}, in ${r.seconds.toFixed(1)} s`]
  if (r.importance) {
    lines.push(`${r.importance.by} of the layers: ${r.importance.scores.map((s, i) => `${i}: ${s.toPrecision(3)}${r.removed.includes(i) ? ' (removed)' : ''}`).join(', ')}`)
    if (r.importance.divergence !== undefined) lines.push(`divergence of the predictions without them: ${r.importance.divergence.toPrecision(3)} (on the calibration text)`)
  } else if (r.removed.length) lines.push(`removed layers: ${r.removed.join(', ')}`)
  if (r.ffn) lines.push(`feed-forward width ${r.ffn.before} -> ${r.ffn.after}`)
  if (r.masks) lines.push(`${percent(r.masks.zeros)} of all weights are 0`)
  for (const l of r.layers) {
    lines.push(`  layer ${l.layer}${l.ffn_loss === undefined ? '' : `  ffn_down loses ${percent(l.ffn_loss)}${r.ffn?.compensated ? `, without compensation ${percent(/** @type {number} */ (l.ffn_loss_plain))}` : ''}`}` +
      `${l.zeros === undefined ? '' : `  ${percent(l.zeros)} zeros`}${l.error === undefined ? '' : `  error of the output ${percent(Math.sqrt(l.error))}`}`)
  }
  return `${lines.join('\n')}\n`
}

/** @type {import('./options.js').Command} */
export default {
  summary: 'takes away what matters least of a model: layers, feed-forward columns, single weights',
  usage: 'IN OUT [options]',
  details: 'Fewer layers and a smaller feed-forward width make the file smaller and the model faster, and cost accuracy: compare with `nibble perplexity --against`.\n' +
    'Weights that become 0 (--sparsity) change neither. IN is a GGUF file in F16, BF16 or F32 (of any type where only layers go); quantize OUT afterwards.',
  positionals: [2, 2],
  options: {
    ...JSON_OPTION,
    'remove-layers': { type: 'integer', value: 'N', help: 'remove the N layers that matter least' },
    'keep-layers': { type: 'integer', value: 'N', help: 'the same: keep the N layers that matter most' },
    without: { type: 'string', value: 'LIST', help: 'remove these layers, counted from 0, such as 3,7' },
    importance: { type: 'string', value: 'I', help: 'of layers: divergence of the predictions without them (default), or influence, which is quicker: 1 - cos(input, output)' },
    'ffn-width': { type: 'number', value: 'N|R', help: 'width of the feed-forward blocks: a multiple of 32, or a part of what it is, such as 0.75' },
    'no-compensate': { type: 'boolean', help: 'leave the columns of ffn_down that stay as they are' },
    sparsity: { type: 'number', value: 'S', help: 'this part of the weights of every row of the layers becomes 0' },
    method: { type: 'string', value: 'M', help: 'of choosing those weights: wanda, |w| times the size of what it is multiplied with (default); or magnitude' },
    calibration: { type: 'string', value: 'F', help: 'a text of the kind the model is used for, and not the one it is judged by' },
    samples: { type: 'integer', value: 'N', default: 256, help: 'pieces of that text, spread over all of it (default 256; for choosing layers at most 16)' },
    ctx: { type: 'integer', value: 'N', default: 512, help: 'tokens of each (default 512)' },
    'parse-special': { type: 'boolean', help: 'control tokens spelled out in that text become those tokens' },
    threads: { type: 'integer', value: 'N', help: 'threads (default: one for each core)' },
    variant: { type: 'string', value: 'V', help: 'simd128 or relaxed (default: the fastest this Node runs)' },
  },

  async run({ values, args: [input, output] }, signal) {
    const given = ['remove-layers', 'keep-layers', 'without'].filter((name) => values[name] !== undefined)
    if (given.length > 1) throw new UsageError(`--${given[0]} and --${given[1]} exclude each other`)
    if (values.method !== undefined && values.sparsity === undefined) throw new UsageError('--method chooses single weights: say how many with --sparsity')
    let removeLayers = values.without === undefined ? values['remove-layers'] : layerList(values.without)
    const bar = progressBar('pruning')
    const note = (/** @type {string} */ text) => say(`note: ${text}`)
    const checkpoint = await openCheckpoint(input, { signal })
    try {
      if (values['keep-layers'] !== undefined) removeLayers = layersOf(checkpoint) - values['keep-layers']
      const r = await prune(checkpoint, output, {
        removeLayers, importance: values.importance, ffnWidth: values['ffn-width'], compensate: !values['no-compensate'], sparsity: values.sparsity, method: values.method,
        ...(values.calibration !== undefined && {
          calibration: { text: await readText(values.calibration), name: values.calibration, samples: values.samples, ctx: values.ctx, parseSpecial: values['parse-special'] },
        }),
        threads: values.threads ?? 'auto', variant: values.variant, signal, onNote: note, onProgress: ({ what, done }) => bar.update(done, 1, what),
      })
      bar.end()
      if (!values.json) print(`${output}: ${summary(r)}`)
      return { ...r, output }
    } finally {
      bar.end()
      await checkpoint.close()
    }
  },
}
