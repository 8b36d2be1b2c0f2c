/**
 * OpenAI's requests as calls of the library, and its results as OpenAI's responses. Fields that the library does not know are refused by name, as
 * OpenAI refuses them, so that none is silently without effect. Passed over are those that only say how a service should go about its work.
 */
import { HttpError } from './errors.js'

/** @typedef {Record<string, any>} Body */

/** Hints to a service: nothing that is generated depends on them. */
const HINTS = ['model', 'user', 'store', 'metadata', 'service_tier', 'safety_identifier', 'prompt_cache_key', 'prompt_cache_retention', 'prediction', 'parallel_tool_calls']

/** What the library cannot do yet, but for the values that ask for nothing. @type {Record<string, (value: any) => boolean>} */
const NOTHING_ASKED = {
  tools: (value) => Array.isArray(value) && value.length === 0,
  tool_choice: (value) => value === 'none' || value === 'auto',
  functions: (value) => Array.isArray(value) && value.length === 0,
  function_call: (value) => value === 'none' || value === 'auto',
  response_format: (value) => value?.type === 'text',
  modalities: (value) => Array.isArray(value) && value.every((one) => one === 'text'),
  audio: () => false,
  web_search_options: () => false,
  reasoning_effort: (value) => value === 'none',
  verbosity: () => false,
  best_of: (value) => value === 1,
  suffix: (value) => value === '',
}

/**
 * The options of the library in a request: without hints, nulls, and what is not supported.
 * @param {Body} body
 */
function optionsOf(body) {
  /** @type {Body} */
  const options = {}
  for (const [name, value] of Object.entries(body)) {
    if (value === null || HINTS.includes(name)) continue
    if (Object.hasOwn(NOTHING_ASKED, name)) {
      if (NOTHING_ASKED[name](value)) continue
      throw new HttpError(400, `${name} is not supported by this server`, { param: name, code: 'unsupported_parameter' })
    }
    if (name === 'signal') throw new HttpError(400, "there is no option 'signal'", { param: name })
    options[name] = value
  }
  if (options.stream !== undefined && typeof options.stream !== 'boolean') throw new HttpError(400, 'stream must be true or false', { param: 'stream' })
  if (options.stream_options && !options.stream) throw new HttpError(400, 'stream_options is for streams only', { param: 'stream_options' })
  return options
}

/** Templates know no developers: OpenAI's newer name of the system. @param {any} message */
const withKnownRole = (message) => (message?.role === 'developer' ? { ...message, role: 'system' } : message)

/** Log-probabilities in the form of the older interface. @param {import('../completions.js').TokenLogprob[]} content */
const legacyLogprobs = (content) => {
  let at = 0
  return {
    tokens: content.map(({ token }) => token),
    token_logprobs: content.map(({ logprob }) => logprob),
    top_logprobs: content.map(({ top_logprobs }) => Object.fromEntries(top_logprobs.map(({ token, logprob }) => [token, logprob]))),
    text_offset: content.map(({ token }) => (at += token.length) - token.length),
  }
}

/**
 * One call: asks the model, and resolves to the response, or to the chunks of a stream.
 * @typedef {(model: import('../model.js').Model, body: Body, signal: AbortSignal) => Promise<object | AsyncGenerator<any, void, void>>} Call
 */

/** @type {Call} */
function chat(model, body, signal) {
  const { messages, ...options } = optionsOf(body)
  return model.chat.completions.create(/** @type {any} */ ({ ...options, messages: Array.isArray(messages) ? messages.map(withKnownRole) : messages, signal }))
}

/** @type {Call} */
async function completions(model, body, signal) {
  const { prompt: given, ...options } = optionsOf(body)
  const several = Array.isArray(given) && typeof given[0] !== 'number'
  if (several && given.length !== 1) throw new HttpError(400, 'this server takes one prompt in a request', { param: 'prompt', code: 'unsupported_value' })
  const result = await model.completions.create(/** @type {any} */ ({ ...options, prompt: several ? given[0] : given ?? '', signal }))
  const convert = (/** @type {any} */ chunk) => {
    for (const choice of chunk.choices) choice.logprobs &&= legacyLogprobs(choice.logprobs.content)
    return chunk
  }
  return Symbol.asyncIterator in result ? mapped(/** @type {any} */ (result), convert) : convert(result)
}

/** @template T @param {AsyncGenerator<T, void, void>} chunks @param {(chunk: T) => T} convert */
async function* mapped(chunks, convert) {
  for await (const chunk of chunks) yield convert(chunk)
}

/** @type {Call} */
const embeddings = (model, body, signal) => model.embeddings.create(/** @type {any} */ ({ ...optionsOf(body), signal }))

/** What is asked by POST. @type {Record<string, Call>} */
export const CALLS = { '/v1/chat/completions': chat, '/v1/completions': completions, '/v1/embeddings': embeddings }
