import { MODEL_OPTIONS, UsageError } from './options.js'
import { EMBEDDED, loadModel, print } from './common.js'

/** @type {import('./options.js').Command} */
export default {
  summary: 'the most probable next tokens behind given ones',
  usage: '[MODEL] --tokens 1,2,3 [options]',
  positionals: [0, 1],
  options: {
    ...MODEL_OPTIONS,
    tokens: { type: 'string', value: 'IDS', help: 'token ids, separated by commas; nothing is added to them' },
    top: { type: 'integer', value: 'K', default: 10, help: 'how many (default 10)' },
    all: { type: 'boolean', help: 'at every position, not only behind the last token' },
  },

  async run({ values, args: [source = EMBEDDED] }, signal) {
    if (values.tokens === undefined) throw new UsageError('--tokens is missing')
    const ids = values.tokens.split(/[\s,]+/).filter((/** @type {string} */ t) => t !== '').map((/** @type {string} */ t) => {
      if (!/^\d+$/.test(t)) throw new UsageError(`--tokens takes whole numbers, not '${t}'`)
      return Number(t)
    })
    if (values.top < 1) throw new UsageError('--top must be at least 1')
    const model = await loadModel(source, values, signal)
    try {
      /** @type {{pos: number, top: [number, number][]}[]} */
      const positions = []
      await model.visitLogits(ids, signal, (pos, i, session) => {
        if (values.all || pos === ids.length - 1) positions.push({ pos, top: session.topLogprobs(i, values.top) })
      })
      if (!values.json) {
        for (const { pos, top } of positions) {
          print(`behind position ${pos}\n`)
          for (const [id, logprob] of top) print(`${String(id).padStart(8)}  ${logprob.toFixed(5).padStart(10)}  ${JSON.stringify(model.tokenizer.piece(id))}\n`)
        }
      }
      return { positions }
    } finally {
      await model.dispose()
    }
  },
}
