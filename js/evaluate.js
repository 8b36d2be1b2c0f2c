/**
 * How well a model predicts a text, and how near it is to another one: the figures with which quantization is judged. The protocol is in
 * evaluate/chunks.js. What errors mean: see Mean in evaluate/figures.js.
 */
import { NibbleError } from './errors.js'
import { checkContext, countOf, planChunks, visitPredictions } from './evaluate/chunks.js'
import { compare, compareKept, distribution, Mean, quantile } from './evaluate/figures.js'
import { compareLoops, greedyTexts, promptsOf } from './evaluate/loops.js'
import { Reference } from './evaluate/reference.js'

/** Tokens shown before a prediction. */
const CONTEXT = 32

/**
 * A prediction far from the reference's, in its context.
 * @typedef {object} Worst
 * @property {number} chunk  @property {number} position
 * @property {number} kld  @property {string} context  text before  @property {string} expected  what really follows
 * @property {number} p  probability of that in the model  @property {number} ref_p  and in the reference
 * @property {{text: string, p: number}} predicted  the model's most probable token  @property {{text: string, p: number}} ref_predicted  the reference's
 *
 * @typedef {object} Divergence
 * @property {{mean: number, error: number, median: number, p90: number, p95: number, p99: number, p999: number, max: number,
 *   kind: 'exact' | 'estimate' | 'lower bound', lower_bound: number}} kld  Kullback-Leibler divergence from the reference, in nats. exact: whole distributions were
 *   compared; estimate: with a reference file, right on the average, mean and error include the draw's, single values and so the highest
 *   percentiles are a little wider; lower bound: with a reference file without drawn tokens. lower_bound is one of the mean
 * @property {number} top1_agreement  part of the positions at which both find the same token the most probable  @property {number} top1_error
 * @property {number} ref_ppl  perplexity of the reference
 * @property {number} ppl_ratio  ppl / ref_ppl  @property {number} ppl_ratio_error  of the paired comparison, far below those of the two perplexities
 * @property {number} p_rms  root of the mean squared difference of the probability of the token that really follows  @property {number} p_rms_error
 * @property {{kind: 'model' | 'file', name: string, model_sha256?: string, tokens_sha256?: string}} reference
 * @property {import('./evaluate/figures.js').Distribution} distribution  of the divergences
 * @property {Worst[]} [worst]  the greatest divergences, where asked for
 * @property {import('./evaluate/loops.js').Loops} [loops]  where asked for
 *
 * @typedef {object} PerplexityOnly
 * @property {number} ppl  exp of the mean negative log-likelihood
 * @property {number} ppl_error  its standard error, as if predictions were independent (which others print, too)
 * @property {number} tokens  predictions that counted
 * @property {number} n_ctx
 * @property {number} chunks
 * @typedef {PerplexityOnly & Partial<Divergence>} Evaluation
 *
 * @typedef {object} EvaluateOnly
 * @property {import('./model.js').Model | Reference} [against]  the reference: a model with the same vocabulary, or what openReference() gives
 * @property {number} [worst]  how many of the greatest divergences are wanted in their context (default 0)
 * @property {number} [loops]  beginnings whose greedy texts are compared (default 0); with a reference file those it holds, if not 0
 * @property {AbortSignal} [signal]
 * @property {(done: number, total: number, ppl: number) => void} [onProgress]  called after each chunk
 * @typedef {import('./evaluate/chunks.js').ChunkOptions & EvaluateOnly} EvaluateOptions
 */

/** The greatest divergences. */
class WorstList {
  /** @type {{kld: number, chunk: number, i: number, p: number, ref_p: number, at: import('./evaluate/figures.js').Comparison}[]} */
  list = []

  /** @param {number} room */
  constructor(room) {
    this.room = room
  }

  /** @param {WorstList['list'][number]} entry */
  add(entry) {
    const { list, room } = this
    if (room === 0 || (list.length === room && entry.kld <= list[room - 1].kld)) return
    let at = list.length
    while (at > 0 && list[at - 1].kld < entry.kld) at--
    list.splice(at, 0, entry)
    list.length = Math.min(list.length, room)
  }

  /** @param {import('./evaluate/chunks.js').Plan} plan @param {import('./tokenizer.js').Tokenizer} tokenizer @returns {Worst[]} */
  describe({ chunks, n_ctx }, tokenizer) {
    const text = (/** @type {number[]} */ ids) => tokenizer.decode(ids, { special: true, continuation: true })
    return this.list.map(({ kld, chunk, i, p, ref_p, at }) => {
      const tokens = chunks[chunk], position = n_ctx - 1 - countOf(n_ctx) + i
      return {
        chunk, position, kld, context: text(tokens.slice(Math.max(0, position + 1 - CONTEXT), position + 1)), expected: text([tokens[position + 1]]), p, ref_p,
        predicted: { text: text([at.top]), p: at.top_p }, ref_predicted: { text: text([at.ref_top]), p: at.ref_top_p },
      }
    })
  }
}

/**
 * What is evaluated: chunks of the text, which are those of a reference file where there is one.
 * @param {import('./model.js').Model} model @param {string | undefined} text @param {EvaluateOptions} options
 * @returns {import('./evaluate/chunks.js').Plan}
 */
function planOf(model, text, { n_ctx, chunks, parseSpecial, against }) {
  if (!(against instanceof Reference)) {
    if (text === undefined) throw new NibbleError('E_ARGUMENT', 'there is no text; give one, or a reference file, which holds its own')
    return planChunks(model, text, { n_ctx, chunks, parseSpecial })
  }
  if (n_ctx !== undefined && n_ctx !== against.n_ctx) throw new NibbleError('E_ARGUMENT', `the reference was made in chunks of ${against.n_ctx} tokens, not ${n_ctx}; use its number, or make it anew`)
  checkContext(model, against.n_ctx)
  const most = Math.min(against.chunks.length, chunks ?? Infinity)
  if (!(most >= 1)) throw new NibbleError('E_ARGUMENT', `chunks must be at least 1, not ${chunks}`)
  if (text === undefined) return { n_ctx: against.n_ctx, chunks: against.chunks.slice(0, most) }
  const plan = planChunks(model, text, { n_ctx: against.n_ctx, chunks: most, parseSpecial })
  plan.chunks.forEach((tokens, c) => {
    const at = tokens.findIndex((id, i) => id !== against.chunks[c][i])
    if (at < 0) return
    throw new NibbleError('E_ARGUMENT', `the text is not the one the reference was made of: they differ at token ${at} of chunk ${c}; leave the text out to use the ` +
      `reference's own, or make a reference of this text (with the same options, such as parseSpecial)`)
  })
  return plan
}

/**
 * Perplexity of a model on a text and, with a reference, its distance from that.
 * @param {import('./model.js').Model} model
 * @param {string | undefined} text  with a reference file it may be left out: the file holds its tokens
 * @param {EvaluateOptions} [options]
 * @returns {Promise<Evaluation>}
 */
export async function perplexity(model, text, options = {}) {
  const { against, signal, onProgress } = options
  const { tokenizer } = model
  const file = against instanceof Reference ? against : undefined
  const other = against instanceof Reference ? undefined : against
  const n_vocab = file?.n_vocab ?? other?.tokenizer.n_vocab ?? tokenizer.n_vocab
  if (n_vocab !== tokenizer.n_vocab) {
    throw new NibbleError('E_ARGUMENT', `the model and its reference have vocabularies of ${tokenizer.n_vocab} and ${n_vocab} tokens; only models with the same one can be compared`)
  }
  const plan = planOf(model, text, options)
  if (other) checkContext(other, plan.n_ctx)
  const per = countOf(plan.n_ctx)
  const loss = new Mean(), refLoss = new Mean(), logRatio = new Mean(), kld = new Mean(), bound = new Mean(), same = new Mean(), squares = new Mean()
  const klds = new Float64Array(against ? plan.chunks.length * per : 0)
  const worst = new WorstList(options.worst ?? 0)
  for (const [chunk, tokens] of plan.chunks.entries()) {
    /** Of the reference model. @type {{logits: Float32Array, logprob: number}[]} */
    const whole = []
    if (other) await visitPredictions(other, tokens, signal, (_, logits, next, session, k) => void whole.push({ logits: logits.slice(), logprob: session.logprob(k, next) }))
    await visitPredictions(model, tokens, signal, (i, logits, next, session, k) => {
      const logprob = session.logprob(k, next)
      loss.add(-logprob)
      if (!against) return
      const kept = file?.prediction(chunk, i)
      const at = kept ? compareKept(kept, logits) : compare(whole[i].logits, logits)
      const refLogprob = (kept ?? whole[i]).logprob
      refLoss.add(-refLogprob)
      logRatio.add(refLogprob - logprob)
      kld.add(at.kld)
      bound.add(at.bound)
      same.add(at.top === at.ref_top ? 1 : 0)
      const p = Math.exp(logprob), ref_p = Math.exp(refLogprob)
      squares.add((p - ref_p) ** 2)
      klds[kld.n - 1] = at.kld
      worst.add({ kld: at.kld, chunk, i, p, ref_p, at })
    })
    for (const mean of [loss, refLoss, logRatio, kld, bound, same, squares]) mean.endGroup()
    onProgress?.(chunk + 1, plan.chunks.length, Math.exp(loss.value))
  }
  const ppl = Math.exp(loss.value)
  /** @type {Evaluation} */
  const result = { ppl, ppl_error: loss.plainError * ppl, tokens: loss.n, n_ctx: plan.n_ctx, chunks: plan.chunks.length }
  if (!against) return result
  klds.sort()
  const ratio = Math.exp(logRatio.value), rms = Math.sqrt(squares.value)
  const at = (/** @type {number} */ q) => quantile(klds, q)
  Object.assign(result, /** @type {Divergence} */ ({
    kld: {
      mean: kld.value, error: kld.error, median: at(0.5), p90: at(0.9), p95: at(0.95), p99: at(0.99), p999: at(0.999), max: at(1),
      kind: !file ? 'exact' : file.drawn ? 'estimate' : 'lower bound', lower_bound: bound.value,
    },
    top1_agreement: same.value, top1_error: same.error, ref_ppl: Math.exp(refLoss.value), ppl_ratio: ratio, ppl_ratio_error: logRatio.error * ratio,
    p_rms: rms, p_rms_error: rms > 0 ? squares.error / (2 * rms) : 0,
    reference: file ? { kind: 'file', name: file.name, ...(file.model_sha256 && { model_sha256: file.model_sha256 }), tokens_sha256: file.tokens_sha256 }
      : { kind: 'model', name: other?.info.name ?? '' },
    distribution: distribution(klds),
  }))
  if (options.worst) result.worst = worst.describe(plan, tokenizer)
  if (options.loops) {
    const prompts = file ? file.greedy.map(({ prompt }) => prompt) : promptsOf(plan, options.loops, tokenizer)
    if (prompts.length === 0) throw new NibbleError('E_ARGUMENT', 'the reference file holds no greedy texts to compare loops with; make it anew with some')
    const references = file?.greedy ?? await greedyTexts(/** @type {import('./model.js').Model} */ (other), prompts, { signal })
    result.loops = compareLoops(tokenizer, await greedyTexts(model, prompts, { signal }), references)
  }
  return result
}
