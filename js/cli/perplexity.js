import { perplexity } from '../evaluate.js'
import { createReference } from '../evaluate/reference.js'
import { checkGates, parseGates } from '../quantize/gates.js'
import { MODEL_OPTIONS, UsageError } from './options.js'
import { hashOf, referenceAt, writeWhole } from './files.js'
import { EMBEDDED, loadModel, print, progressBar, readText, say, size } from './common.js'

/** Beginnings whose greedy texts a reference file holds, and which the gate on loops compares, where nothing else is said. */
const LOOPS = 16
const WORST = 20

/** @param {number} x */
const percent = (x) => `${(100 * x).toFixed(2)} %`
/** @param {number} p */
const p = (p) => (p < 0.001 ? p.toExponential(0) : p.toFixed(3))
/** Text in a line. @param {string} text */
const quoted = (text) => JSON.stringify(text)

/** @param {import('../evaluate.js').Evaluation} r */
export function printFigures(r) {
  print(`perplexity ${r.ppl.toFixed(4)} ± ${r.ppl_error.toFixed(4)} (${r.tokens} predictions, ${r.chunks} chunks of ${r.n_ctx})\n`)
  if (!r.kld) return
  const { mean, error, median, p90, p95, p99, p999, max, kind, lower_bound } = r.kld
  const f = (/** @type {number} */ x) => x.toFixed(6)
  const ratio = Number(r.ppl_ratio) - 1
  print(`reference  ${r.ref_ppl?.toFixed(4)}; perplexity ${ratio < 0 ? '' : '+'}${percent(ratio)} ± ${percent(Number(r.ppl_ratio_error))}\n` +
    `divergence ${f(mean)} ± ${f(error)} mean, ${f(median)} median, ${f(p99)} 99th percentile, ${f(max)} greatest (nats; ` +
    `${kind === 'exact' ? 'exact' : kind === 'estimate' ? `estimate by the reference file's sample; at least ${f(lower_bound)}` : 'lower bound: the reference file has no sample of the tail'})\n` +
    `           ${f(p90)} 90th, ${f(p95)} 95th, ${f(p999)} 99.9th percentile\n` +
    `same first ${percent(Number(r.top1_agreement))} ± ${percent(Number(r.top1_error))}\n` +
    `right one  ${percent(Number(r.p_rms))} ± ${percent(Number(r.p_rms_error))} RMS difference of its probability\n`)
  if (r.loops) {
    const { prompts, looping, ref_looping, added, removed, repeated, ref_repeated, repeated_error, examples } = r.loops
    print(`loops      ${looping} of ${prompts} greedy texts, the reference ${ref_looping} (${added} new, ${removed} gone); ` +
      `repeated runs of 4 tokens ${percent(repeated)}, the reference ${percent(ref_repeated)}, difference ± ${percent(repeated_error)}\n`)
    for (const { prompt, text } of examples) print(`           ${quoted(prompt.slice(-60))} -> ${quoted(text.slice(-100))}\n`)
  }
  if (r.worst) {
    print('worst predictions (divergence; text; what follows; the model\'s and the reference\'s first choice)\n')
    for (const w of r.worst) {
      print(`  ${w.kld.toFixed(3).padStart(7)}  ${quoted(w.context.slice(-60))} ${quoted(w.expected)} (${p(w.p)}, reference ${p(w.ref_p)}): ` +
        `${quoted(w.predicted.text)} ${p(w.predicted.p)}, reference ${quoted(w.ref_predicted.text)} ${p(w.ref_predicted.p)}\n`)
    }
  }
}

/** @param {import('./options.js').Values} values */
function check(values) {
  if (values.file === undefined && values.against === undefined) throw new UsageError('--file is missing')
  if (values.chunks !== undefined && values.chunks < 1) throw new UsageError('--chunks must be at least 1')
  if (values.loops !== undefined && values.loops < 0) throw new UsageError('--loops must be at least 0')
  if (values['save-reference'] !== undefined && values.against !== undefined) throw new UsageError('--save-reference and --against exclude each other')
  if (values['save-reference'] === undefined && values['top-k'] !== undefined) throw new UsageError('--top-k needs --save-reference')
  if (values.against !== undefined) return
  for (const name of ['gate', 'worst']) if (values[name] !== undefined) throw new UsageError(`--${name} needs --against`)
  if (values.loops !== undefined && values['save-reference'] === undefined) throw new UsageError('--loops needs --against or --save-reference')
}

/** @type {import('./options.js').Command} */
export default {
  summary: 'how well a model predicts a text, and how near it is to another one',
  usage: '[MODEL] --file F [options]',
  details: 'The text is cut into chunks of --ctx tokens; predictions in the second half of each count. Errors are standard errors.\n' +
    '--gate compares with limits, such as default, 4bit or kld=0.05,top1=90%,ppl=3%,loops=0; the exit status is 1 where one is not kept.',
  positionals: [0, 1],
  options: {
    ...MODEL_OPTIONS,
    file: { type: 'string', value: 'F', help: "the text; '-': standard input; may be left out with a reference file" },
    ctx: { type: 'integer', value: 'N', help: 'tokens of a chunk (default 512)' },
    chunks: { type: 'integer', value: 'N', help: 'stop after so many (default: the whole text)' },
    'parse-special': { type: 'boolean', help: 'control tokens spelled out in the text become those tokens' },
    against: { type: 'string', value: 'REF', help: 'a reference: a model with the same vocabulary, such as the one before it was quantized, or a reference file' },
    'save-reference': { type: 'string', value: 'REF', help: 'write what the model predicts to a reference file (.nbref), for --against without the model' },
    'top-k': { type: 'integer', value: 'K', help: 'tokens that a reference file keeps of each prediction, besides a sample of the others (default 32)' },
    loops: { type: 'integer', value: 'N', help: 'compare the greedy texts behind N beginnings (default: 16 where the gate asks, or a reference is saved)' },
    worst: { type: 'boolean', help: 'show the 20 predictions that are furthest from the reference (always in --json)' },
    gate: { type: 'string', value: 'G', help: 'limits that must be kept' },
  },

  failed: (result) => /** @type {any} */ (result).gate?.passed === false,

  async run({ values, args: [source = EMBEDDED] }, signal) {
    check(values)
    if (values.gate !== undefined) parseGates(values.gate, { bpw: 4, parameters: 0 }) // told before anything is loaded
    const text = values.file === undefined ? undefined : await readText(values.file)
    const file = values.against === undefined ? undefined : await referenceAt(values.against)
    if (text === undefined && !file) throw new UsageError('--file is missing')
    const n_ctx = values.ctx ?? file?.n_ctx ?? 512
    const loading = { ...values, ctx: n_ctx }
    const model = await loadModel(source, loading, signal)
    /** @type {import('../model.js').Model | undefined} */
    let other
    const bar = progressBar('evaluating')
    try {
      const gates = values.gate === undefined ? undefined : parseGates(values.gate, model.info)
      if (values.against !== undefined && !file) other = await loadModel(values.against, { ...loading, integrity: undefined }, signal)
      const options = {
        n_ctx, chunks: values.chunks, parseSpecial: values['parse-special'], signal,
        onProgress: (/** @type {number} */ done, /** @type {number} */ total, /** @type {number} */ ppl) => bar.update(done, total, `chunk ${done} of ${total}, perplexity ${ppl.toFixed(4)}`),
      }
      const path = values['save-reference']
      if (path !== undefined) {
        const { bytes, evaluation } = await createReference(model, /** @type {string} */ (text), { ...options, topK: values['top-k'], loops: values.loops ?? LOOPS, modelHash: await hashOf(source, signal) })
        await writeWhole(path, bytes)
        bar.end()
        if (!values.json) printFigures(evaluation)
        say(`wrote ${path}, ${size(bytes.length)}`)
        return { ...evaluation, saved: { path, bytes: bytes.length } }
      }
      const r = await perplexity(model, text, { ...options, against: file ?? other, worst: values.against === undefined ? 0 : WORST, loops: values.loops ?? (gates?.loops === undefined ? 0 : LOOPS) })
      bar.end()
      const gate = gates && checkGates(r, gates)
      if (!values.json) {
        printFigures(values.worst ? r : { ...r, worst: undefined })
        for (const { text: line } of gate?.gates ?? []) print(`${line}\n`)
      }
      if (gate && !gate.passed) say('a gate is not kept')
      return { ...r, ...(gate && { gate }) }
    } finally {
      bar.end()
      await other?.dispose()
      await model.dispose()
    }
  },
}
