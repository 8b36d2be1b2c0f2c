/**
 * How well a model predicts a text, and how near it is to another one: the figures with which quantization is judged.
 *
 * The protocol is the field's usual one, so that figures can be compared: the text is tokenized as a whole and cut into chunks of n_ctx
 * tokens, each evaluated by itself; where the model begins texts with a BOS, that takes the place of a chunk's first token. Predictions
 * made in the second half of a chunk count, so that each has at least n_ctx / 2 tokens before it.
 */
import { NibbleError } from './errors.js'

/**
 * @typedef {object} Divergence
 * @property {{mean: number, median: number, p99: number, max: number}} kld  Kullback-Leibler divergence from the reference, in nats
 * @property {number} top1_agreement  part of the positions at which both find the same token the most probable
 * @property {number} ref_ppl  perplexity of the reference
 *
 * @typedef {object} PerplexityOnly
 * @property {number} ppl  exp of the mean negative log-likelihood
 * @property {number} ppl_error  its standard error
 * @property {number} tokens  predictions that counted
 * @property {number} n_ctx
 * @property {number} chunks
 * @typedef {PerplexityOnly & Partial<Divergence>} Evaluation
 */

/** log of the sum of exponentials. @param {Float32Array} logits */
function logSumExp(logits) {
  let max = -Infinity
  for (let i = 0; i < logits.length; i++) if (logits[i] > max) max = logits[i]
  let sum = 0
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - max)
  return max + Math.log(sum)
}

/** @param {Float32Array} values */
function argmax(values) {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i
  return best
}

/**
 * sum of p * (log p - log q) over the vocabulary. Rounding can make it a little negative where both agree: then it is 0.
 * @param {Float32Array} reference  logits of p @param {Float32Array} logits  of q
 */
function divergence(reference, logits) {
  const zp = logSumExp(reference), zq = logSumExp(logits)
  let sum = 0
  for (let i = 0; i < reference.length; i++) {
    const p = reference[i] - zp
    if (p > -100) sum += Math.exp(p) * (p - (logits[i] - zq))
  }
  return Math.max(0, sum)
}

/** @param {Float64Array} sorted @param {number} q */
function quantile(sorted, q) {
  const at = q * (sorted.length - 1), low = Math.floor(at)
  return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low])
}

/**
 * Perplexity of a model on a text and, with a reference, its distance from that.
 * @param {import('./model.js').Model} model
 * @param {string} text
 * @param {object} [options]
 * @param {number} [options.n_ctx]  tokens of a chunk (default 512)
 * @param {number} [options.chunks]  most chunks (default: all)
 * @param {boolean} [options.parseSpecial]  control tokens spelled out in the text become those tokens
 * @param {import('./model.js').Model} [options.against]  the reference, with the same vocabulary
 * @param {AbortSignal} [options.signal]
 * @param {(done: number, total: number, ppl: number) => void} [options.onProgress]  called after each chunk
 * @returns {Promise<Evaluation>}
 */
export async function perplexity(model, text, { n_ctx = 512, chunks = Infinity, parseSpecial = false, against, signal, onProgress } = {}) {
  const { tokenizer } = model
  if (!Number.isInteger(n_ctx) || n_ctx < 8) throw new NibbleError('E_ARGUMENT', `n_ctx must be a whole number of at least 8, not ${n_ctx}`)
  for (const m of against ? [model, against] : [model]) {
    if (n_ctx > m.contextLength) throw new NibbleError('E_CONTEXT', `chunks of ${n_ctx} tokens do not fit into a context of ${m.contextLength}; load the model with a longer contextLength`)
  }
  if (against && against.tokenizer.n_vocab !== tokenizer.n_vocab) {
    throw new NibbleError('E_ARGUMENT', `the models have vocabularies of ${tokenizer.n_vocab} and ${against.tokenizer.n_vocab} tokens; only models with the same one can be compared`)
  }
  const ids = model.tokenize(text, { parseSpecial })
  const n_chunks = Math.min(Math.floor(ids.length / n_ctx), chunks)
  if (n_chunks < 1) throw new NibbleError('E_ARGUMENT', `the text has ${ids.length} tokens: a chunk of ${n_ctx} needs a longer one, or choose a smaller context`)
  const first = n_ctx >> 1
  const per = n_ctx - 1 - first
  let nll = 0, squares = 0, refNll = 0, n = 0, same = 0
  const klds = new Float64Array(against ? n_chunks * per : 0)
  for (let chunk = 0; chunk < n_chunks; chunk++) {
    const tokens = ids.slice(chunk * n_ctx, (chunk + 1) * n_ctx)
    if (tokenizer.addBos) tokens[0] = tokenizer.bos
    /** Logits of the reference behind the positions that count. @type {Float32Array[]} */
    const reference = []
    if (against) {
      await against.visitLogits(tokens, signal, (position, i, session) => {
        if (position < first || position === n_ctx - 1) return
        reference.push(against.engine.heap.f32(session.logitsPtr(i), tokenizer.n_vocab).slice())
        refNll -= session.logprob(i, tokens[position + 1])
      })
    }
    await model.visitLogits(tokens, signal, (position, i, session) => {
      if (position < first || position === n_ctx - 1) return
      const loss = -session.logprob(i, tokens[position + 1])
      nll += loss
      squares += loss * loss
      if (against) {
        const logits = model.engine.heap.f32(session.logitsPtr(i), tokenizer.n_vocab)
        const ref = reference[position - first]
        klds[n] = divergence(ref, logits)
        if (argmax(ref) === argmax(logits)) same++
      }
      n++
    })
    onProgress?.(chunk + 1, n_chunks, Math.exp(nll / n))
  }
  const mean = nll / n
  const ppl = Math.exp(mean)
  /** @type {Evaluation} */
  const result = { ppl, ppl_error: n > 1 ? Math.sqrt(Math.max(0, squares / n - mean * mean) / (n - 1)) * ppl : 0, tokens: n, n_ctx, chunks: n_chunks }
  if (!against) return result
  klds.sort()
  return {
    ...result,
    kld: { mean: klds.reduce((a, b) => a + b, 0) / n, median: quantile(klds, 0.5), p99: quantile(klds, 0.99), max: klds[n - 1] },
    top1_agreement: same / n, ref_ppl: Math.exp(refNll / n),
  }
}
