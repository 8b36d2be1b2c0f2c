/**
 * The loop of generation: evaluate, sample, hand out text; with room for the event loop in between, so that work can be cancelled.
 */
import { NibbleError } from './errors.js'
import { limits, makeSampler } from './options.js'
import { abortError } from './source.js'
import { encodeUtf8 } from './memory.js'

/** @typedef {import('./options.js').GenerateOptions} GenerateOptions */

/** Milliseconds of work before the event loop gets a turn. */
const TURN = 24

const FINISH = /** @type {const} */ ([null, 'stop', 'stop', 'length', 'context'])

/** One turn of the event loop, without the 4 ms that browsers add to nested timers. */
export function turn() {
  if (typeof setImmediate === 'function') return new Promise((resolve) => setImmediate(resolve))
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => {
      port1.close()
      resolve(undefined)
    }
    port2.postMessage(null)
  })
}

/**
 * The tokens of one conversation with their keys and values (nb_session).
 */
export class TokenSession {
  /**
   * @param {import('./runtime.js').Engine} engine
   * @param {number} model
   * @param {import('./tokenizer.js').Tokenizer} tokenizer
   * @param {{contextLength?: number, batchSize?: number, floatActivations?: boolean}} options
   * @param {number} [ptr]  one that there is already
   */
  constructor(engine, model, tokenizer, { contextLength = 0, batchSize = 0, floatActivations = false }, ptr) {
    this.engine = engine
    this.model = model
    this.tokenizer = tokenizer
    this.ptr = ptr ?? engine.make('nbw_session_new', model, contextLength, batchSize, floatActivations ? 1 : 0, engine.team)
    this.n_ctx = engine.call('nb_session_n_ctx', this.ptr)
  }

  /** The ids so far. */
  get tokens() {
    return this.engine.heap.i32(this.engine.ptr('nb_session_tokens', this.ptr), this.length).slice()
  }

  get length() {
    return this.engine.call('nb_session_n_tokens', this.ptr)
  }

  get evaluated() {
    return this.engine.call('nb_session_n_evaluated', this.ptr)
  }

  /** Adds tokens, to be evaluated later. @param {ArrayLike<number>} ids */
  push(ids) {
    this.tokenizer.withIds(ids, (ptr, n) => this.engine.check('nb_session_push', this.ptr, ptr, n))
  }

  /** Forgets the tokens from n on. @param {number} n */
  truncate(n) {
    this.engine.call('nb_session_truncate', this.ptr, n)
  }

  /** Throws for a prompt that reset() would refuse. @param {ArrayLike<number>} ids */
  checkPrompt(ids) {
    if (ids.length > this.n_ctx) {
      throw new NibbleError('E_CONTEXT', `the prompt has ${ids.length} tokens, the context holds ${this.n_ctx}; shorten it or load the model with a longer contextLength`)
    }
    this.tokenizer.checkIds(ids)
  }

  /**
   * Makes the history equal to ids, keeping what both have in common at the start.
   * @param {number[]} ids
   */
  reset(ids) {
    this.checkPrompt(ids)
    const have = this.tokens
    let same = 0
    while (same < have.length && same < ids.length && have[same] === ids[same]) same++
    // The logits behind the last token are needed, so at least that one is evaluated.
    this.truncate(Math.max(0, Math.min(same, ids.length - 1)))
    this.push(ids.slice(this.length))
  }

  clone() {
    return new TokenSession(this.engine, this.model, this.tokenizer, {}, this.engine.make('nbw_session_clone', this.ptr))
  }

  /**
   * All of it as bytes (src/generate/state.h). For the length of the call the library's memory holds them, too.
   * @param {Uint8Array} note  the caller's own
   * @returns {Uint8Array<ArrayBuffer>}
   */
  save(note) {
    const { engine } = this
    const bytes = engine.call('nbw_state_bytes', this.ptr, note.length)
    const out = bytes < 2 ** 32 ? engine.ptr('malloc', bytes) : 0
    try {
      if (!out) throw new RangeError('no room in the memory of the engine')
      engine.withBytes(note, (ptr, n) => engine.call('nbw_state_save', this.ptr, ptr, n, out))
      return engine.heap.bytes(out, bytes).slice()
    } catch (error) {
      if (error instanceof RangeError) throw new NibbleError('E_NOMEM', `not enough memory to save the ${(bytes / 2 ** 20).toFixed(0)} MiB of the session`, { cause: error })
      throw error
    } finally {
      engine.free(out)
    }
  }

  /**
   * Takes over what save() gave. Bytes that are not right, or whose note is not, change nothing.
   * @template T
   * @param {Uint8Array} bytes
   * @param {(note: Uint8Array) => T} read  of the note; what it returns is returned
   */
  restore(bytes, read) {
    const { engine } = this
    return engine.withBytes(bytes, (ptr, n) => {
      const state = engine.out + 64
      engine.check('nbw_state_check', this.ptr, ptr, n, engine.out, state)
      const [note, length] = engine.heap.u32(engine.out, 2)
      const result = read(engine.heap.bytes(note, length).slice())
      engine.call('nb_state_restore', this.ptr, state)
      return result
    })
  }

  /** Makes room in a full context of two tokens or more: the oldest half goes, but for a BOS at the start. */
  slide() {
    const { bos } = this.tokenizer
    const keep = bos >= 0 && this.tokens[0] === bos ? 1 : 0
    this.engine.call('nb_session_slide', this.ptr, keep, Math.max(1, (this.length - keep) >> 1))
  }

  /**
   * Evaluates what waits, a batch at a time.
   * @param {AbortSignal} [signal]
   * @param {() => void} [afterPass]  called after each pass, when the logits of its tokens can be read
   */
  async evaluate(signal, afterPass) {
    for (let since = performance.now(), left = 1; left > 0; ) {
      if (signal?.aborted) throw abortError(undefined, signal)
      if (this.length === this.evaluated) return
      left = this.engine.call('nbw_session_eval', this.ptr)
      afterPass?.()
      if (left > 0 && performance.now() - since > TURN) {
        await turn()
        since = performance.now()
      }
    }
  }

  /** Tokens of the last pass. */
  get passLength() {
    return this.engine.call('nb_session_n_pass', this.ptr)
  }

  /** Address of the logits behind token i of the last pass. @param {number} i */
  logitsPtr(i) {
    return this.engine.ptr('nb_session_logits', this.ptr, i)
  }

  /** The state behind the final norm of token i of the last pass; valid until the next call into the library. @param {number} i @param {number} d_model */
  hidden(i, d_model) {
    return this.engine.heap.f32(this.engine.ptr('nb_session_hidden', this.ptr, i), d_model)
  }

  /** Log-probability of a token behind token i of the last pass. @param {number} i @param {number} id */
  logprob(i, id) {
    return this.engine.call('nb_logprob', this.logitsPtr(i), this.tokenizer.n_vocab, id)
  }

  /**
   * The k most probable tokens behind token i of the last pass.
   * @param {number} i @param {number} k
   * @returns {[number, number][]}
   */
  topLogprobs(i, k) {
    const { engine } = this
    k = Math.min(k, this.tokenizer.n_vocab)
    if (k === 0) return []
    const buffer = engine.alloc(k * 12)
    try {
      engine.call('nb_top_logprobs', this.logitsPtr(i), this.tokenizer.n_vocab, k, buffer + 8 * k, buffer)
      const logprobs = engine.heap.f64(buffer, k)
      return Array.from(engine.heap.i32(buffer + 8 * k, k), (id, j) => [id, logprobs[j]])
    } finally {
      engine.free(buffer)
    }
  }
}

/**
 * @typedef {object} GenerationStep
 * @property {number} token  -1 for a step that only brings text that was held back
 * @property {string} text
 * @property {'stop' | 'length' | null} finish
 * @property {number} [logprob]
 * @property {[number, number][]} [top]
 */

/**
 * Generates from the end of a session. The session's history must not be empty. Leaving the loop early cancels it; the session stays
 * usable, with the tokens generated so far.
 * @param {TokenSession} session
 * @param {GenerateOptions} options
 * @param {{seed: bigint, logprobs?: number, timings: {prefill_s: number, decode_s: number, prompt_n: number, decode_n: number}}} more  logprobs: how many
 *   alternatives are wanted with each token (undefined: none, and no log-probability either)
 * @returns {AsyncGenerator<GenerationStep, void, void>}
 */
export async function* generate(session, options, { seed, logprobs, timings }) {
  const { engine, tokenizer } = session
  const { signal } = options
  const { maxTokens, stops, slides } = limits(options)
  const sampler = makeSampler(engine, tokenizer.n_vocab, options, seed)
  const generation = engine.make('nbw_generation_new', session.ptr, tokenizer.ptr, sampler, maxTokens ?? 0, options.ignore_eos ? 1 : 0, options.special ? 1 : 0)
  try {
    for (const stop of stops) engine.withBytes(encodeUtf8(stop), (ptr, n) => engine.check('nbw_generation_add_stop', generation, ptr, n))
    const start = performance.now()
    timings.prompt_n = session.length - session.evaluated
    await session.evaluate(signal)
    let since = performance.now(), decodeStart = since
    timings.prefill_s = (since - start) / 1000
    if (maxTokens === 0) {
      yield { token: -1, text: '', finish: 'length' }
      return
    }
    for (;;) {
      if (signal?.aborted) throw abortError(undefined, signal)
      engine.check('nbw_generation_step', generation, engine.out)
      const [token, text, length, finish] = engine.heap.i32(engine.out, 4)
      if (FINISH[finish] === 'context' && slides && session.length > 1) {
        session.slide()
        await session.evaluate(signal)
        continue
      }
      /** @type {GenerationStep} */
      const step = { token, text: engine.heap.string(text >>> 0, length), finish: FINISH[finish] === 'context' ? 'length' : /** @type {any} */ (FINISH[finish]) }
      if (logprobs !== undefined && token >= 0) {
        const last = session.passLength - 1
        step.logprob = session.logprob(last, token)
        step.top = session.topLogprobs(last, logprobs)
      }
      if (step.finish === 'length') {
        engine.check('nbw_generation_flush', generation, engine.out)
        const [rest, restLength] = engine.heap.u32(engine.out, 2)
        step.text += engine.heap.string(rest, restLength)
      }
      const given = performance.now()
      if (timings.decode_n === 0) { // the first token comes of the prompt's evaluation
        timings.prefill_s = (given - start) / 1000
        decodeStart = given
      }
      if (token >= 0) timings.decode_n++
      timings.decode_s = (given - decodeStart) / 1000
      yield step
      if (step.finish) return
      decodeStart += performance.now() - given // what the reader does meanwhile is not counted
      await session.evaluate(signal)
      if (performance.now() - since > TURN) {
        await turn()
        since = performance.now()
      }
    }
  } finally {
    if (!engine.dead) engine.call('nb_generation_free', generation)
  }
}
