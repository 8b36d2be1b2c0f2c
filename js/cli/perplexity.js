import { perplexity } from '../evaluate.js'
import { MODEL_OPTIONS, UsageError } from './options.js'
import { EMBEDDED, loadModel, print, progressBar, readText } from './common.js'

/** @type {import('./options.js').Command} */
export default {
  summary: 'how well a model predicts a text, and how near it is to another one',
  usage: '[MODEL] --file F [options]',
  details: 'The text is cut into chunks of --ctx tokens; predictions in the second half of each count.',
  positionals: [0, 1],
  options: {
    ...MODEL_OPTIONS,
    file: { type: 'string', value: 'F', help: "the text; '-': standard input" },
    ctx: { type: 'integer', value: 'N', default: 512, help: 'tokens of a chunk (default 512)' },
    chunks: { type: 'integer', value: 'N', help: 'stop after so many (default: the whole text)' },
    'parse-special': { type: 'boolean', help: 'control tokens spelled out in the text become those tokens' },
    against: { type: 'string', value: 'REF', help: 'a reference with the same vocabulary, such as the model before it was quantized' },
  },

  async run({ values, args: [source = EMBEDDED] }, signal) {
    if (values.file === undefined) throw new UsageError('--file is missing')
    if (values.chunks !== undefined && values.chunks < 1) throw new UsageError('--chunks must be at least 1')
    const text = await readText(values.file)
    const model = await loadModel(source, values, signal)
    const against = values.against === undefined ? undefined : await loadModel(values.against, { ...values, integrity: undefined }, signal).catch(async (error) => {
      await model.dispose()
      throw error
    })
    const bar = progressBar('evaluating')
    try {
      const r = await perplexity(model, text, {
        n_ctx: values.ctx, chunks: values.chunks, parseSpecial: values['parse-special'], against, signal,
        onProgress: (done, total, ppl) => bar.update(done, total, `chunk ${done} of ${total}, perplexity ${ppl.toFixed(4)}`),
      })
      bar.end()
      if (!values.json) {
        print(`perplexity ${r.ppl.toFixed(4)} ± ${r.ppl_error.toFixed(4)} (${r.tokens} predictions, ${r.chunks} chunks of ${r.n_ctx})\n`)
        if (r.kld) {
          const { mean, median, p99, max } = r.kld
          print(`reference  ${r.ref_ppl?.toFixed(4)}\ndivergence ${mean.toFixed(6)} mean, ${median.toFixed(6)} median, ${p99.toFixed(6)} 99th percentile, ${max.toFixed(6)} greatest (nats)\n` +
            `same first ${(100 * (r.top1_agreement ?? 0)).toFixed(2)} %\n`)
        }
      }
      return r
    } finally {
      bar.end()
      await against?.dispose()
      await model.dispose()
    }
  },
}
