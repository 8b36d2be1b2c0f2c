/**
 * model.chat.completions: messages in, a message out. The shape of OpenAI's chat completions.
 */
import { collect, newId, run, stream } from './completions.js'
import { NibbleError } from './errors.js'
import { checkGenerateNames, integer } from './options.js'
import { loadTemplates } from './platform.js'

/**
 * @typedef {object} Message
 * @property {string} role  'system' | 'user' | 'assistant' | what the model's template knows
 * @property {string | {type: 'text', text: string}[] | null} content  null where an assistant's message holds nothing but what else the template knows, such as
 *   tool_calls
 *
 * @typedef {object} ChatOnly
 * @property {Message[]} messages
 * @property {boolean} [logprobs]
 * @property {number} [top_logprobs]  0..20
 * @property {Record<string, unknown>} [chat_template_kwargs]  more variables for the template, such as enable_thinking
 * @typedef {Omit<import('./options.js').GenerateOptions, 'logprobs'> & ChatOnly} ChatOptions
 *
 * @typedef {object} ChatHead
 * @property {string} id  @property {number} created  @property {string} model
 *
 * @typedef {ChatHead & {object: 'chat.completion', choices: {index: number, message: {role: 'assistant', content: string}, finish_reason: 'stop' | 'length' | null,
 *   logprobs: {content: import('./completions.js').TokenLogprob[]} | null}[], usage: import('./completions.js').Usage,
 *   timings: import('./completions.js').Timings, seed: number | bigint}} ChatCompletion
 * @typedef {ChatHead & {object: 'chat.completion.chunk', choices: {index: number, delta: {role?: 'assistant', content?: string}, finish_reason: 'stop' | 'length' | null,
 *   logprobs: {content: import('./completions.js').TokenLogprob[]} | null}[], usage?: import('./completions.js').Usage,
 *   timings?: import('./completions.js').Timings, seed?: number | bigint}} ChatChunk
 */

/** @param {unknown} messages @returns {{role: string, content: string | null}[]} */
export function checkMessages(messages) {
  if (!Array.isArray(messages) || messages.length === 0) throw new NibbleError('E_ARGUMENT', 'messages must be an array with at least one message')
  return messages.map((message, i) => {
    if (message === null || typeof message !== 'object' || typeof message.role !== 'string') throw new NibbleError('E_ARGUMENT', `messages[${i}] needs a role`)
    let { content = null } = message
    if (content === null && message.role === 'assistant') return { ...message, content }
    if (Array.isArray(content)) {
      const other = content.find((part) => part?.type !== 'text' || typeof part.text !== 'string')
      if (other) throw new NibbleError('E_UNSUPPORTED', `messages[${i}] has a part of type '${other?.type}'; this version takes text only`)
      content = content.map((part) => part.text).join('')
    }
    if (typeof content !== 'string') throw new NibbleError('E_ARGUMENT', `messages[${i}].content must be a string`)
    return { ...message, content }
  })
}

/**
 * Token ids of a conversation: the template's own text may spell control tokens, what people wrote may not.
 * @param {import('./tokenizer.js').Tokenizer} tokenizer
 * @param {{text: string, special: boolean}[]} segments
 */
export function encodeSegments(tokenizer, segments) {
  /** @type {number[]} */
  const ids = []
  for (const { text, special } of segments) {
    // Text goes on from text; behind a special token it begins anew, as when the whole is tokenized at once.
    const continuation = ids.length > 0 && !['control', 'user_defined'].includes(tokenizer.kind(ids[ids.length - 1]))
    const part = tokenizer.encode(text, { addSpecial: false, parseSpecial: special, continuation })
    for (const id of part) ids.push(id)
  }
  if (tokenizer.addBos && tokenizer.bos >= 0 && ids[0] !== tokenizer.bos) ids.unshift(tokenizer.bos)
  return ids
}

const UNSUPPORTED = ['tools', 'tool_choice', 'response_format', 'functions']

/**
 * The options of an answer. @param {any} options @param {string[]} more  names of this call
 * @returns {{logprobs: number | undefined}}  alternatives wanted with each token; undefined: no log-probabilities
 */
export function checkChatNames(options, more) {
  for (const name of UNSUPPORTED) {
    if (options?.[name] != null) throw new NibbleError('E_UNSUPPORTED', `${name} is not supported by this version`)
  }
  checkGenerateNames(options, [...more, ...UNSUPPORTED])
  const top = options.top_logprobs ?? 0
  integer(top, 'top_logprobs', 0, 20)
  return { logprobs: options.logprobs ? top : undefined }
}

/**
 * A run as a message of the assistant, or as a stream of its pieces.
 * @param {import('./model.js').Model} model
 * @param {AsyncGenerator<import('./completions.js').Delta, import('./completions.js').RunResult, void>} deltas
 * @param {Pick<ChatOptions, 'stream' | 'stream_options' | 'logprobs'>} options
 * @returns {Promise<ChatCompletion | AsyncGenerator<ChatChunk, void, void>>}
 */
export async function reply(model, deltas, options) {
  /** @type {ChatHead} */
  const head = { id: newId('chatcmpl'), created: Math.floor(Date.now() / 1000), model: model.info.name }
  if (options.stream) {
    /** @type {{role?: 'assistant'}} */
    let role = { role: 'assistant' } // in the first chunk
    return stream(deltas, { ...head, object: /** @type {const} */ ('chat.completion.chunk') }, options, ({ text, finish_reason, logprobs }) => {
      const choice = { index: 0, delta: { ...role, content: text }, finish_reason, logprobs: logprobs && { content: logprobs } }
      role = {}
      return choice
    })
  }
  const r = await collect(deltas)
  /** @type {ChatCompletion['choices'][0]} */
  const choice = { index: 0, message: { role: 'assistant', content: r.text }, finish_reason: r.finish_reason, logprobs: options.logprobs ? { content: r.logprobs } : null }
  return { ...head, object: 'chat.completion', choices: [choice], usage: r.usage, timings: r.timings, seed: r.seed }
}

export class ChatCompletions {
  /** @param {import('./model.js').Model} model */
  constructor(model) {
    this.model = model
    /** @type {Promise<import('./template.js').ChatTemplate> | undefined} */
    this.template = undefined
  }

  /** The template's, or the name of one. */
  get source() {
    return this.model.options.chatTemplate ?? this.model.info.chat_template
  }

  /** @returns {never} */
  noTemplate() {
    throw new NibbleError('E_TEMPLATE', "this model has no chat template; use completions, or load it with chatTemplate: 'chatml' or another one that fits")
  }

  /**
   * Token ids of a conversation, ready for the model to answer.
   * @param {Message[]} messages
   * @param {Record<string, unknown>} [variables]
   * @param {boolean} [answer]  false: without what stands in front of an answer
   */
  async encode(messages, variables = {}, answer = true) {
    const { tokenizer } = this.model
    const source = this.source || this.noTemplate()
    this.template ??= loadTemplates().then(({ compileTemplate }) => compileTemplate(source))
    const template = await this.template
    const token = (/** @type {number} */ id) => (id >= 0 ? tokenizer.piece(id) : '')
    const segments = template.segments({
      ...variables, messages: checkMessages(messages), add_generation_prompt: answer, bos_token: token(tokenizer.bos), eos_token: token(tokenizer.eos),
    }, tokenizer.specials())
    return encodeSegments(tokenizer, segments)
  }

  /**
   * Answers a conversation. With `stream: true` the promise gives an async iterable of chunks; leaving its loop cancels.
   * @overload
   * @param {ChatOptions & {stream: true}} options
   * @returns {Promise<AsyncGenerator<ChatChunk, void, void>>}
   */
  /**
   * @overload
   * @param {ChatOptions} options
   * @returns {Promise<ChatCompletion>}
   */
  /** @param {ChatOptions} options @returns {Promise<any>} */
  async create(options) {
    const { logprobs } = checkChatNames(options, ['messages', 'chat_template_kwargs'])
    const ids = await this.encode(options.messages, options.chat_template_kwargs)
    return reply(this.model, run(this.model, ids, options, logprobs), options)
  }
}
