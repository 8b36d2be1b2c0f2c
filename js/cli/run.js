import { NibbleError } from '../errors.js'
import { generateOptions, MODEL_OPTIONS, SAMPLING_OPTIONS, UsageError } from './options.js'
import { loadModel, modelAndText, print, readText, say, speedLine } from './common.js'

/** @typedef {import('../completions.js').Timings} Timings */

/** @type {import('./options.js').Command} */
export default {
  summary: 'continues a text, or answers one question with --chat',
  usage: '[MODEL] ["prompt"] [options]',
  details: 'Without a prompt the model begins a text of its own. The text goes to standard output as it is generated, figures to standard error.',
  positionals: [0, 2],
  options: {
    ...MODEL_OPTIONS, ...SAMPLING_OPTIONS,
    file: { type: 'string', value: 'F', help: "read the prompt from a file; '-': from standard input" },
    chat: { type: 'boolean', help: "take the prompt as a user's message, through the model's chat template" },
    system: { type: 'string', value: 'TEXT', help: 'system message, with --chat' },
    'parse-special': { type: 'boolean', help: 'control tokens spelled out in the prompt become those tokens' },
    'show-special': { type: 'boolean', help: 'write generated control tokens' },
    quiet: { type: 'boolean', short: 'q', help: 'print the text only' },
  },

  async run({ values, args }, signal) {
    const [source, words] = modelAndText(args)
    if (words !== undefined && values.file !== undefined) throw new UsageError('give the prompt either as an argument or by --file')
    if (values.system !== undefined && !values.chat) throw new UsageError('--system needs --chat')
    const prompt = words ?? (values.file === undefined ? '' : await readText(values.file))
    const options = { ...generateOptions(values), special: values['show-special'], signal }
    const model = await loadModel(source, values, signal)
    try {
      if (values.chat && prompt === '') throw new NibbleError('E_ARGUMENT', '--chat needs a prompt')
      const ids = values.chat
        ? await model.chat.completions.encode([...(values.system === undefined ? [] : [{ role: 'system', content: values.system }]), { role: 'user', content: prompt }])
        : model.tokenizer.encodePrompt(prompt, { parseSpecial: values['parse-special'] })
      const result = { text: '', tokens: /** @type {number[]} */ ([]), finish_reason: /** @type {string | null} */ (null) }
      let timings = /** @type {Timings | undefined} */ (undefined), seed = /** @type {number | bigint} */ (0)
      for await (const chunk of await model.completions.create({ prompt: ids, ...options, stream: true })) {
        for (const { text, tokens, finish_reason } of chunk.choices) {
          result.text += text
          result.tokens.push(...tokens)
          result.finish_reason = finish_reason
          if (!values.json) print(text)
        }
        timings = chunk.timings ?? timings
        seed = chunk.seed ?? seed
      }
      const { wasm_bytes } = model.info.memory()
      const t = /** @type {Timings} */ (timings)
      if (!values.json) print('\n')
      if (!values.json && !values.quiet) say(`[${result.finish_reason}; ${speedLine(t, wasm_bytes)}; seed ${seed}]`)
      const { prefill_tps, decode_tps, ...counts } = t
      return { ...result, timings: { load_s: model.load_s, prefill_tps, decode_tps, ...counts }, memory: { wasm_bytes }, prompt_tokens: ids.length, seed, variant: model.info.variant }
    } finally {
      await model.dispose()
    }
  },
}
