import { resolve } from 'node:path'
import { SENSITIVITY_SAMPLES, analyze } from '../quantize/analyze.js'
import { lineJournal } from '../quantize/node.js'
import { CANDIDATES } from '../quantize/target.js'
import { JSON_OPTION } from './options.js'
import { count, print, progressBar, readText, say } from './common.js'
import { writeWhole } from './files.js'
import { analysisLine, listOf } from './quantize.js'

/** @param {number} x  a part */
const percent = (x) => (x === 0 ? '0 %' : `${(100 * x).toFixed(x < 1e-4 ? 4 : x < 0.01 ? 3 : 2)} %`)

/** @param {string[][]} rows  the first one is the head; the first column reads from the left */
function table(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)))
  return rows.map((row) => `${row.map((cell, i) => (i ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join('  ')}\n`).join('')
}

/** @param {import('../quantize/analyze.js').Analysis} r */
function show(r) {
  const measured = r.tensors.some((t) => t.sensitivity !== undefined)
  const head = ['tensor', 'shape', 'RMS', 'greatest', 'beyond 5 RMS', 'kurtosis', ...(measured ? ['sensitivity'] : []), ...r.candidates]
  print(table([head, ...r.tensors.map((t) => [
    t.name, t.shape.join(' x '), t.rms.toPrecision(3), Math.max(-t.min, t.max).toPrecision(3), percent(t.outliers), t.kurtosis.toFixed(2),
    ...(measured ? [(t.sensitivity ?? 0).toPrecision(3)] : []), ...r.candidates.map((type) => (t.errors[type] ? percent(t.errors[type].weighted_error) : '-')),
  ])]))
  print(`${count(r.parameters)} parameters, ${r.tensors.length} matrices. Errors of types: squared error over the sum of squares${measured ? ', columns weighted by importance' : ''}\n`)
  if (!r.calibration || !r.prediction) return
  const { offset, slope, checks } = r.prediction
  print(`sensitivity: divergence (nats a token) over the relative squared error, for small ones; ${r.calibration.predictions} predictions of ${r.calibration.name || 'the text'}\n` +
    `a mix diverges by about ${offset.toPrecision(2)} + ${slope.toFixed(2)} * the sum of sensitivity times error (${checks.map((c) => `all ${c.type}: ${c.kld.toPrecision(3)}`).join(', ')})\n`)
}

/** @type {import('./options.js').Command} */
export default {
  summary: 'what the tensors of a model are like, what types would cost in each, and how much the model minds',
  usage: 'MODEL [--calibration F] [-o OUT.json] [options]',
  details: 'Without a text: the spread of weights, and the error of each type. With one: how far the model goes from itself for an error of each tensor, which is what\n' +
    '`nibble quantize --target-size` chooses types by (--sensitivity OUT.json). A run that was interrupted goes on where it stood, if there is an OUT.',
  positionals: [1, 1],
  options: {
    ...JSON_OPTION,
    calibration: { type: 'string', value: 'F', help: "a text of the kind the model is used for, and not the one it is judged by; '-': standard input" },
    output: { type: 'string', value: 'OUT', short: 'o', help: 'where the analysis goes, as JSON' },
    candidates: { type: 'string', value: 'LIST', help: `types (default ${CANDIDATES.join(',')}: those that run fast)` },
    method: { type: 'string', value: 'M', default: 'search', help: 'of quantizing: search (default; also right for gptq and awq), rtn or hqq' },
    imatrix: { type: 'string', value: 'F', help: 'importance matrix; else it is measured on the calibration text' },
    samples: { type: 'integer', value: 'N', default: 256, help: 'pieces of the text for that, at most (default 256)' },
    'sensitivity-samples': { type: 'integer', value: 'N', default: SENSITIVITY_SAMPLES, help: `pieces that the model runs on for each tensor (default ${SENSITIVITY_SAMPLES})` },
    'sensitivity-passes': { type: 'string', value: 'P', default: 'auto', help: 'each: every tensor by itself; shared: layers and kinds of matrices as a whole, far fewer; auto (default): each up to 100' },
    ctx: { type: 'integer', value: 'N', default: 512, help: 'tokens of each (default 512)' },
    'parse-special': { type: 'boolean', help: 'control tokens spelled out in the text become those tokens' },
    threads: { type: 'integer', value: 'N', help: 'threads (default: one for each core)' },
    variant: { type: 'string', value: 'V', help: 'simd128 or relaxed (default: the fastest this Node runs)' },
  },

  async run({ values, args: [source] }, signal) {
    const { output } = values, bar = progressBar('analysing')
    const journal = output === undefined ? undefined : lineJournal(`${resolve(output)}.part.jsonl`)
    const start = performance.now()
    /** @type {import('../quantize/analyze.js').Analysis} */
    let r
    try {
      r = await analyze(source, {
        method: values.method, imatrix: values.imatrix, sensitivitySamples: values['sensitivity-samples'], sensitivityPasses: values['sensitivity-passes'], threads: values.threads ?? 'auto', variant: values.variant, signal, journal,
        ...(values.candidates !== undefined && { candidates: listOf(values.candidates) }),
        ...(values.calibration !== undefined && {
          calibration: { text: await readText(values.calibration), name: values.calibration, samples: values.samples, ctx: values.ctx, parseSpecial: values['parse-special'] },
        }),
        onNote: (text) => {
          bar.end()
          say(`note: ${text}`)
        },
        onProgress: (p) => bar.update(p.done, p.total, analysisLine(p)),
      })
    } finally {
      bar.end()
      await journal?.close()
    }
    const seconds = (performance.now() - start) / 1000
    if (output !== undefined) {
      await writeWhole(output, `${JSON.stringify(r, null, 1)}\n`)
      await journal?.remove()
    }
    if (!values.json) {
      show(r)
      if (output !== undefined) print(`${output}: ${seconds.toFixed(1)} s\n`)
    }
    return { ...r, seconds, ...(output !== undefined && { output }) }
  },
}
