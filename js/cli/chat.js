import { createInterface } from 'node:readline'
import { isNibbleError, NibbleError } from '../errors.js'
import { generateOptions, MODEL_OPTIONS, SAMPLING_OPTIONS } from './options.js'
import { EMBEDDED, loadModel, print, say, speedLine } from './common.js'

const HELP = '/reset begins anew, /system TEXT sets the system message, /retry answers again, /stats shows speed, /exit ends; Ctrl-C stops an answer'

/** @type {import('./options.js').Command} */
export default {
  summary: 'talks with a model in the terminal',
  usage: '[MODEL] [options]',
  details: `Each line of input is a message. In the conversation: ${HELP}.\nWith --json the whole conversation is printed when the input ends.`,
  positionals: [0, 1],
  options: { ...MODEL_OPTIONS, ...SAMPLING_OPTIONS, system: { type: 'string', value: 'TEXT', help: 'system message' } },

  async run({ values, args: [source = EMBEDDED] }, signal) {
    const options = generateOptions(values)
    const model = await loadModel(source, values, signal)
    if (!model.info.chat_template) {
      await model.dispose()
      throw new NibbleError('E_TEMPLATE', 'this model has no chat template, so it is none to talk with; `nibble run` lets it continue a text')
    }
    const terminal = process.stdin.isTTY === true && !values.json
    let system = /** @type {string | undefined} */ (values.system)
    /** @type {import('../chat.js').Message[]} */
    let messages = []
    let last = /** @type {import('../completions.js').Timings | undefined} */ (undefined)
    let answering = /** @type {AbortController | undefined} */ (undefined)

    /** Streams the answer to the messages; what was written before Ctrl-C stays part of the conversation. */
    const answer = async () => {
      answering = new AbortController()
      let text = ''
      try {
        const all = system === undefined ? messages : [{ role: 'system', content: system }, ...messages]
        for await (const chunk of await model.chat.completions.create({ ...options, messages: all, stream: true, signal: answering.signal })) {
          const piece = chunk.choices[0]?.delta.content ?? ''
          text += piece
          if (!values.json) print(piece)
          last = chunk.timings ?? last
        }
      } catch (error) {
        if (!isNibbleError(error) || error.code !== 'E_ABORTED') {
          if (!isNibbleError(error) || !terminal) throw error
          say(`${error.message} (${error.code})`)
          messages.pop() // the question that could not be answered
          return
        }
      } finally {
        answering = undefined
      }
      messages.push({ role: 'assistant', content: text })
      if (!values.json) print('\n')
    }

    const input = createInterface({ input: process.stdin, output: terminal ? process.stdout : undefined, terminal, prompt: '> ' })
    const interrupt = () => {
      if (answering) answering.abort()
      else input.close()
    }
    input.on('SIGINT', interrupt) // of a terminal; from elsewhere the signal comes as an abort
    signal.addEventListener('abort', interrupt)
    if (terminal) say(`${model.info.name}, context of ${model.contextLength} tokens. ${HELP}.`)
    try {
      if (terminal) input.prompt()
      for await (const line of input) {
        const [command, ...words] = line.trim().split(' ')
        if (command === '/exit' || command === '/quit') break
        if (command === '/help') say(HELP)
        else if (command === '/reset') messages = []
        else if (command === '/system') [system, messages] = [words.join(' ') || undefined, []]
        else if (command === '/stats') say(last ? speedLine(last, model.info.memory().wasm_bytes) : 'nothing was generated yet')
        else if (command === '/retry') {
          if (messages.at(-1)?.role === 'assistant') messages.pop()
          if (messages.length > 0) await answer()
        } else if (command.startsWith('/') && /^\/[a-z]+$/.test(command)) say(`there is no ${command}: ${HELP}`)
        else if (line.trim() !== '') {
          messages.push({ role: 'user', content: line })
          await answer()
        }
        if (signal.aborted) break
        if (terminal) input.prompt()
      }
      return { messages, timings: last ?? null, memory: model.info.memory() }
    } finally {
      input.close()
      await model.dispose()
    }
  },
}
