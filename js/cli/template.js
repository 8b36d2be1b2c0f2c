import { NibbleError } from '../errors.js'
import { loadTokenizer } from '../load.js'
import { compileTemplate } from '../template.js'
import { CACHE_OPTION, JSON_OPTION, UsageError } from './options.js'
import { EMBEDDED, print, readJson, readText } from './common.js'

/** @type {import('./options.js').Command} */
export default {
  summary: "renders a conversation with a model's chat template",
  usage: '[MODEL|FILE.jinja] --messages F [options]',
  positionals: [0, 1],
  options: {
    ...JSON_OPTION, ...CACHE_OPTION,
    messages: { type: 'string', value: 'F', help: "JSON array of {role, content}; '-': standard input" },
    tools: { type: 'string', value: 'F', help: 'JSON array of tools for the template' },
    'no-generation-prompt': { type: 'boolean', help: "leave out what begins the assistant's answer" },
    bos: { type: 'string', value: 'S', help: "text of the BOS token (default: the model's, '' for a .jinja file)" },
    eos: { type: 'string', value: 'S', help: 'the same for EOS' },
    set: { type: 'string', value: 'NAME=JSON', multiple: true, help: 'more variables for the template, such as enable_thinking=false' },
  },

  async run({ values, args: [source = EMBEDDED] }, signal) {
    if (values.messages === undefined) throw new UsageError('--messages is missing')
    /** @type {Record<string, unknown>} */
    const context = { add_generation_prompt: !values['no-generation-prompt'] }
    for (const pair of values.set ?? []) {
      const [, name, value] = /^([A-Za-z_]\w*)=(.*)$/s.exec(pair) ?? []
      try {
        context[name] = JSON.parse(value)
      } catch {
        throw new UsageError(`--set takes NAME=JSON, such as enable_thinking=false or name='"Ann"', not '${pair}'`)
      }
    }
    context.messages = await readJson(values.messages)
    if (!Array.isArray(context.messages)) throw new NibbleError('E_ARGUMENT', `${values.messages} must hold an array of messages`)
    if (values.tools !== undefined) context.tools = await readJson(values.tools)
    let template, bos = '', eos = ''
    if (/\.(jinja2?|j2)$/i.test(source)) template = await readText(source)
    else {
      const tokenizer = await loadTokenizer(source, { signal, cache: !values['no-cache'] })
      template = tokenizer.info.chat_template
      if (tokenizer.bos >= 0) bos = tokenizer.piece(tokenizer.bos)
      if (tokenizer.eos >= 0) eos = tokenizer.piece(tokenizer.eos)
      tokenizer.dispose()
      if (template === undefined) throw new NibbleError('E_TEMPLATE', `${source} has no chat template`)
    }
    const prompt = (await compileTemplate(template)).render({ bos_token: values.bos ?? bos, eos_token: values.eos ?? eos, ...context })
    if (!values.json) print(prompt)
    return { prompt }
  },
}
