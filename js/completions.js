/**
 * model.completions: text goes on from a prompt. The shape of OpenAI's completions.
 */
import { NibbleError } from './errors.js'
import { generate } from './generate.js'
import { checkGenerateNames, integer, limits, makeSampler, resolveSeed } from './options.js'

/**
 * @typedef {import('./options.js').GenerateOptions} GenerateOptions
 * @typedef {object} Timings
 * @property {number} prefill_s  seconds to the first token  @property {number} decode_s  from there to the last
 * @property {number} prompt_n  prompt tokens that had to be evaluated
 * @property {number} decode_n  generated tokens
 * @property {number} prefill_tps  tokens per second  @property {number} decode_tps  of the tokens behind the first
 *
 * @typedef {object} Usage
 * @property {number} prompt_tokens  @property {number} completion_tokens  @property {number} total_tokens
 * @property {{cached_tokens: number}} prompt_tokens_details  cached_tokens: of the prompt, those that had been evaluated before
 *
 * @typedef {object} TokenLogprob
 * @property {string} token  @property {number} id  @property {number} logprob  @property {number[]} bytes
 * @property {{token: string, id: number, logprob: number, bytes: number[]}[]} top_logprobs
 *
 * @typedef {object} Delta  one step of a generation
 * @property {string} text  @property {number[]} tokens  @property {'stop' | 'length' | null} finish_reason
 * @property {TokenLogprob[] | null} logprobs
 *
 * @typedef {object} RunResult
 * @property {Usage} usage  @property {Timings} timings  @property {number | bigint} seed  as it was given, or drawn
 */

let counter = 0
/** @param {string} prefix */
export const newId = (prefix) => `${prefix}-${Date.now().toString(36)}${(counter++).toString(36)}`

/** @param {number} n @param {number} s */
const rate = (n, s) => (s > 0 ? n / s : 0)

/**
 * Generates from a prompt, keeping what the session has in common with it. What is wrong with the options is told at once, before anybody waits for a turn.
 * @param {import('./model.js').Model} model
 * @param {number[]} prompt
 * @param {GenerateOptions} options
 * @param {number | undefined} logprobs  alternatives wanted with each token; undefined: no log-probabilities
 * @param {import('./generate.js').TokenSession} [session]  default: the model's main one
 * @returns {AsyncGenerator<Delta, RunResult, void>}
 */
export function run(model, prompt, options, logprobs, session = model.main) {
  const { engine, tokenizer } = model
  if (prompt.length === 0) throw new NibbleError('E_ARGUMENT', 'the prompt is empty, and this model has no token to begin a text with; give it some text')
  session.checkPrompt(prompt)
  limits(options)
  const seed = resolveSeed(options.seed)
  engine.call('nb_sampler_free', makeSampler(engine, tokenizer.n_vocab, options, seed)) // for its checks
  return steps(model, prompt.slice(), options, logprobs, session, seed)
}

/**
 * @param {import('./model.js').Model} model
 * @param {number[]} prompt
 * @param {GenerateOptions} options
 * @param {number | undefined} logprobs
 * @param {import('./generate.js').TokenSession} session
 * @param {bigint} seed
 * @returns {AsyncGenerator<Delta, RunResult, void>}
 */
async function* steps(model, prompt, options, logprobs, session, seed) {
  const leave = await model.takeTurn(options.signal)
  try {
    const { tokenizer } = model
    const timings = { prefill_s: 0, decode_s: 0, prompt_n: 0, decode_n: 0 }
    session.reset(prompt)
    /** @param {number} id @param {number} logprob */
    const describe = (id, logprob) => ({ token: tokenizer.decode([id], { special: true, continuation: true }), id, logprob, bytes: Array.from(tokenizer.bytes(id)) })
    for await (const step of generate(session, options, { seed, logprobs, timings })) {
      yield {
        text: step.text,
        tokens: step.token >= 0 ? [step.token] : [],
        finish_reason: step.finish,
        logprobs: logprobs === undefined ? null
          : step.token < 0 ? []
          : [{ ...describe(step.token, /** @type {number} */ (step.logprob)), top_logprobs: (step.top ?? []).map(([id, p]) => describe(id, p)) }],
      }
    }
    return {
      usage: {
        prompt_tokens: prompt.length, completion_tokens: timings.decode_n, total_tokens: prompt.length + timings.decode_n,
        prompt_tokens_details: { cached_tokens: prompt.length - timings.prompt_n },
      },
      timings: { ...timings, prefill_tps: rate(timings.prompt_n, timings.prefill_s), decode_tps: rate(timings.decode_n - 1, timings.decode_s) },
      seed: options.seed ?? Number(seed),
    }
  } finally {
    leave()
  }
}

/**
 * The whole of a run at once.
 * @param {AsyncGenerator<Delta, RunResult, void>} deltas
 */
export async function collect(deltas) {
  let text = ''
  /** @type {number[]} */
  const tokens = []
  /** @type {TokenLogprob[]} */
  const logprobs = []
  /** @type {'stop' | 'length' | null} */
  let finish_reason = null
  for (;;) {
    const { done, value } = await deltas.next()
    if (done) return { text, tokens, logprobs, finish_reason, ...value }
    text += value.text
    tokens.push(...value.tokens)
    if (value.logprobs) logprobs.push(...value.logprobs)
    finish_reason = value.finish_reason ?? finish_reason
  }
}

/**
 * @typedef {object} CompletionOnly
 * @property {string | number[]} prompt  text, or token ids
 * @property {number} [logprobs]  how many alternatives to report with each token
 * @property {boolean} [echo]  put the prompt in front of the text
 * @property {boolean} [parse_special]  control tokens spelled out in the prompt become those tokens
 * @typedef {GenerateOptions & CompletionOnly} CompletionOptions
 *
 * @typedef {object} CompletionChoice
 * @property {number} index  @property {string} text  @property {number[]} tokens
 * @property {'stop' | 'length' | null} finish_reason  @property {{content: TokenLogprob[]} | null} logprobs
 *
 * @typedef {object} CompletionHead
 * @property {string} id  @property {'text_completion'} object  @property {number} created  @property {string} model
 * @typedef {CompletionHead & {choices: CompletionChoice[], usage?: Usage, timings?: Timings, seed?: number | bigint}} Completion
 */

export class Completions {
  /** @param {import('./model.js').Model} model */
  constructor(model) {
    this.model = model
  }

  /**
   * Lets the model go on from a prompt. With `stream: true` the promise gives an async iterable of chunks; leaving its loop cancels.
   * @overload
   * @param {CompletionOptions & {stream: true}} options
   * @returns {Promise<AsyncGenerator<Completion, void, void>>}
   */
  /**
   * @overload
   * @param {CompletionOptions} options
   * @returns {Promise<Completion>}
   */
  /** @param {CompletionOptions} options @returns {Promise<any>} */
  async create(options) {
    checkGenerateNames(options, ['prompt', 'echo', 'parse_special'])
    const { model } = this
    const { prompt, echo } = options
    const logprobs = options.logprobs ?? undefined
    if (typeof prompt !== 'string' && !Array.isArray(prompt)) throw new NibbleError('E_ARGUMENT', 'prompt must be a string or an array of token ids')
    if (logprobs !== undefined) integer(logprobs, 'logprobs', 0, 100)
    const ids = typeof prompt === 'string' ? model.tokenizer.encodePrompt(prompt, { parseSpecial: options.parse_special }) : prompt
    const before = !echo ? '' : typeof prompt === 'string' ? prompt : model.detokenize(prompt)
    /** @type {CompletionHead} */
    const head = { id: newId('cmpl'), object: 'text_completion', created: Math.floor(Date.now() / 1000), model: model.info.name }
    const deltas = run(model, ids, options, logprobs)
    if (options.stream) {
      let text = before // in front of the first piece
      return stream(deltas, head, options, (delta) => {
        const choice = { index: 0, text: text + delta.text, tokens: delta.tokens, finish_reason: delta.finish_reason, logprobs: delta.logprobs && { content: delta.logprobs } }
        text = ''
        return choice
      })
    }
    const r = await collect(deltas)
    const choice = { index: 0, text: before + r.text, tokens: r.tokens, finish_reason: r.finish_reason, logprobs: logprobs === undefined ? null : { content: r.logprobs } }
    return { ...head, choices: [choice], usage: r.usage, timings: r.timings, seed: r.seed }
  }
}

/**
 * Chunks of a run. The last one with a choice also brings the figures, so that every chunk has a choice: readers that know nothing of
 * the figures need not look out for one without.
 * @template Head, Choice
 * @param {AsyncGenerator<Delta, RunResult, void>} deltas
 * @param {Head} head
 * @param {GenerateOptions} options
 * @param {(delta: Delta) => Choice} toChoice
 * @returns {AsyncGenerator<Head & {choices: Choice[]} & Partial<RunResult>, void, void>}
 */
export async function* stream(deltas, head, { stream_options }, toChoice) {
  try {
    for (;;) {
      const { done, value } = await deltas.next()
      if (done) return
      const choices = [toChoice(value)]
      if (!value.finish_reason) {
        yield { ...head, choices }
        continue
      }
      const figures = /** @type {RunResult} */ ((await deltas.next()).value)
      yield { ...head, choices, ...figures }
      if (stream_options?.include_usage) yield { ...head, choices: [], ...figures }
      return
    }
  } finally {
    await deltas.return(/** @type {any} */ (undefined))
  }
}
