import { NibbleError } from '../errors.js'
import { MODEL_OPTIONS } from './options.js'
import { EMBEDDED, loadModel, print, progressBar, size } from './common.js'

/** @param {number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b), middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/**
 * Bytes of weights that one token's pass reads: all matrices but an embedding that is not also the head.
 * @param {import('../load.js').ModelInfo & {tensors?: import('../info.js').TensorInfo[]}} info
 */
function bytesPerToken({ tensors = [] }) {
  const tied = !tensors.some((t) => t.name === 'output.weight')
  return tensors.reduce((sum, t) => sum + (t.name === 'token_embd.weight' && !tied ? 0 : t.bytes), 0)
}

/** @type {import('./options.js').Command} */
export default {
  summary: 'measures the speed of a model on this machine',
  usage: '[MODEL] [options]',
  details: 'Medians over the repetitions, each on a fresh context. Tokens are random, so the content of the file does not matter.',
  positionals: [0, 1],
  options: {
    ...MODEL_OPTIONS,
    'prompt-tokens': { type: 'integer', value: 'N', default: 512, help: 'length of the prompt (default 512)' },
    'gen-tokens': { type: 'integer', value: 'N', default: 64, help: 'tokens generated behind it (default 64)' },
    repeat: { type: 'integer', value: 'N', default: 3, help: 'repetitions (default 3)' },
  },

  async run({ values, args: [source = EMBEDDED] }, signal) {
    const prompt = values['prompt-tokens'], generated = values['gen-tokens'], { repeat } = values
    if (prompt < 1 || generated < 1 || repeat < 1) throw new NibbleError('E_ARGUMENT', '--prompt-tokens, --gen-tokens and --repeat must be at least 1')
    const model = await loadModel(source, { ...values, ctx: values.ctx ?? prompt + generated }, signal)
    const bar = progressBar('measuring')
    try {
      const { main, tokenizer } = model
      if (prompt + generated > main.n_ctx) throw new NibbleError('E_CONTEXT', `${prompt} + ${generated} tokens do not fit into a context of ${main.n_ctx}`)
      const random = () => Math.floor(Math.random() * tokenizer.n_vocab)
      const prefill = [], decode = []
      for (let i = 0; i < repeat; i++) {
        main.truncate(0)
        main.push(Array.from({ length: prompt }, random))
        let start = performance.now()
        await main.evaluate(signal)
        main.logitsPtr(main.passLength - 1)
        prefill.push(prompt / (performance.now() - start) * 1000)
        start = performance.now()
        for (let n = 0; n < generated; n++) {
          main.push([random()])
          await main.evaluate(signal)
          main.logitsPtr(0)
          bar.update(i + (n + 1) / generated, repeat)
        }
        decode.push(generated / (performance.now() - start) * 1000)
      }
      bar.end()
      const decode_tps = median(decode)
      const bandwidth_gbs = decode_tps * bytesPerToken(model.info) / 1e9
      const { wasm_bytes } = model.info.memory()
      const { sums, variant } = model.info
      const result = { variant, ...(sums && { sums }), threads: model.info.threads, load_s: model.load_s, prefill_tps: median(prefill), decode_tps, bandwidth_gbs, wasm_bytes,
        prompt_tokens: prompt, gen_tokens: generated, repeat }
      if (!values.json) {
        print(`variant ${variant}${sums ? ` (sums in ${sums} bits)` : ''}, ${result.threads} ${result.threads === 1 ? 'thread' : 'threads'}, loaded in ${result.load_s.toFixed(2)} s, ${size(wasm_bytes)} of memory\n` +
          `prefill ${result.prefill_tps.toFixed(1)} tokens/s (${prompt} tokens)\n` +
          `decode  ${decode_tps.toFixed(1)} tokens/s (${generated} tokens; ${bandwidth_gbs.toFixed(2)} GB/s of weights)\n`)
      }
      return result
    } finally {
      bar.end()
      await model.dispose()
    }
  },
}
