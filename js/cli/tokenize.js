import { NibbleError } from '../errors.js'
import { loadTokenizer } from '../load.js'
import { CACHE_OPTION, JSON_OPTION, UsageError } from './options.js'
import { modelAndText, print, readJson, readText } from './common.js'

/** @type {import('./options.js').Command} */
export default {
  summary: 'text to token ids; a file that holds nothing but a vocabulary will do',
  usage: '[MODEL] ["text"] [options]',
  positionals: [0, 2],
  options: {
    ...JSON_OPTION, ...CACHE_OPTION,
    file: { type: 'string', value: 'F', help: "read the text from a file; '-': from standard input" },
    cases: { type: 'string', value: 'F', help: 'JSON array of texts, each tokenized by itself' },
    'no-special': { type: 'boolean', help: 'add no BOS or EOS, also where the model asks for it' },
    'parse-special': { type: 'boolean', help: 'control tokens spelled out in the text become those tokens' },
  },

  async run({ values, args }, signal) {
    const [source, words] = modelAndText(args)
    if ([words, values.file, values.cases].filter((given) => given !== undefined).length !== 1) {
      throw new UsageError('give one of: a text, --file, --cases')
    }
    const options = { addSpecial: !values['no-special'], parseSpecial: values['parse-special'] ?? false }
    /** @type {string[]} */
    const cases = values.cases === undefined ? [words ?? await readText(values.file)] : await readJson(values.cases)
    if (!Array.isArray(cases) || !cases.every((text) => typeof text === 'string')) throw new NibbleError('E_ARGUMENT', `${values.cases} must hold an array of strings`)
    const tokenizer = await loadTokenizer(source, { signal, cache: !values['no-cache'] })
    try {
      const all = cases.map((text) => tokenizer.encode(text, options))
      if (!values.json) {
        for (const ids of all) {
          if (values.cases === undefined) for (const id of ids) print(`${String(id).padStart(7)}  ${JSON.stringify(tokenizer.piece(id))}\n`)
          else print(`${ids.join(' ')}\n`)
        }
      }
      return values.cases === undefined ? { tokens: all[0] } : { cases: all }
    } finally {
      tokenizer.dispose()
    }
  },
}
