/**
 * The arithmetic of comparing two models: divergences of single predictions, and what is said about many of them.
 */

/**
 * Two distributions at one position.
 * @typedef {object} Comparison
 * @property {number} kld  Kullback-Leibler divergence of the model from the reference, in nats
 * @property {number} bound  a lower bound of it
 * @property {number} top  the model's most probable token  @property {number} top_p  its probability there
 * @property {number} ref_top  the reference's  @property {number} ref_top_p  its probability there
 *
 * What is kept of a reference's distribution at one position: its most probable tokens, the best first; the probability of all others
 * together (the tail); and some of the tail's tokens, drawn as often as they are probable.
 * @typedef {object} Kept
 * @property {ArrayLike<number>} ids  @property {ArrayLike<number>} logprobs  @property {number} tail
 * @property {ArrayLike<number>} drawn_ids  @property {ArrayLike<number>} drawn_logprobs
 */

/**
 * What a token adds to p * (this), d = log q - log p. Summed over all tokens it is the divergence, since q and p both sum to 1; unlike
 * p * -d it is never negative, and small where q is near p, so that neither rounding nor a sample of the tokens does it much harm.
 * @param {number} d
 */
const part = (d) => Math.expm1(d) - d

/** @param {Float32Array} values */
function argmax(values) {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i
  return best
}

/** log of the sum of exponentials. @param {Float32Array} logits @param {number} max */
function logSum(logits, max) {
  let sum = 0
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - max)
  return max + Math.log(sum)
}

/**
 * Both distributions are there in whole: the divergence is exact. Rounding can make it a little negative where both agree: then it is 0.
 * @param {Float32Array} reference  logits @param {Float32Array} logits
 * @returns {Comparison}
 */
export function compare(reference, logits) {
  const ref_top = argmax(reference), top = argmax(logits)
  const maxP = reference[ref_top], maxQ = logits[top]
  let sumP = 0, sumQ = 0, cross = 0
  for (let i = 0; i < reference.length; i++) {
    const p = Math.exp(reference[i] - maxP)
    sumP += p
    sumQ += Math.exp(logits[i] - maxQ)
    if (p > 0) cross += p * (reference[i] - maxP - (logits[i] - maxQ))
  }
  const kld = Math.max(0, cross / sumP - Math.log(sumP) + Math.log(sumQ))
  return { kld, bound: kld, top, top_p: 1 / sumQ, ref_top, ref_top_p: 1 / sumP }
}

/**
 * Of the reference a part is known. The divergence is an estimate that is right on the average: the tail's share of it is the mean over the
 * tokens drawn; without any it is the bound. The bound takes the tail for a single token: joining tokens never makes two distributions more different.
 * @param {Kept} reference @param {Float32Array} logits
 * @returns {Comparison}
 */
export function compareKept({ ids, logprobs, tail, drawn_ids, drawn_logprobs }, logits) {
  const top = argmax(logits)
  const logZ = logSum(logits, logits[top])
  let sum = 0, kept = 0, drawn = 0
  for (let i = 0; i < ids.length; i++) {
    const q = logits[ids[i]] - logZ
    kept += Math.exp(q)
    sum += Math.exp(logprobs[i]) * part(q - logprobs[i])
  }
  for (let i = 0; i < drawn_ids.length; i++) drawn += part(logits[drawn_ids[i]] - logZ - drawn_logprobs[i])
  const bound = sum + (tail > 0 ? tail * part(Math.log(Math.max(1 - kept, Number.EPSILON) / tail)) : 0)
  return {
    kld: drawn_ids.length ? sum + tail * drawn / drawn_ids.length : bound,
    bound,
    top, top_p: Math.exp(logits[top] - logZ), ref_top: ids[0], ref_top_p: Math.exp(logprobs[0]),
  }
}

/**
 * The mean of values that come in groups, the predictions of a chunk, and its standard error. Predictions of one chunk are alike, being
 * about one thing, so the error is taken from how much the groups' means differ, unless single values differ by more.
 */
export class Mean {
  n = 0
  sum = 0
  squares = 0
  /** @type {{n: number, sum: number}[]} finished groups */
  groups = []
  #n = 0
  #sum = 0

  /** @param {number} x */
  add(x) {
    this.n++
    this.sum += x
    this.squares += x * x
  }

  endGroup() {
    this.groups.push({ n: this.n - this.#n, sum: this.sum - this.#sum })
    this.#n = this.n
    this.#sum = this.sum
  }

  get value() {
    return this.sum / this.n
  }

  /** As if the values were independent; 0 where there is one. */
  get plainError() {
    return this.n > 1 ? Math.sqrt(Math.max(0, this.squares / this.n - this.value ** 2) / (this.n - 1)) : 0
  }

  get error() {
    const { groups, value, n } = this
    if (groups.length < 2) return this.plainError
    const squares = groups.reduce((total, group) => total + (group.sum - group.n * value) ** 2, 0)
    return Math.max(this.plainError, Math.sqrt(squares * groups.length / (groups.length - 1)) / n)
  }
}

/** Between the two values nearest to it. @param {ArrayLike<number>} sorted @param {number} q */
export function quantile(sorted, q) {
  const at = q * (sorted.length - 1), low = Math.floor(at)
  return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low])
}

/** Parts of a sample at which the curve of a report has a point: dense towards the worst predictions, which are few and matter. */
export const CURVE = [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1]

/** Decades of the histogram, as powers of ten, each in HISTOGRAM_STEPS parts; what lies outside counts in the first or last part. */
const HISTOGRAM_FROM = -6, HISTOGRAM_TO = 2, HISTOGRAM_STEPS = 5

/**
 * @typedef {object} Distribution
 * @property {[number, number][]} quantiles  pairs: part of the sample, divergence that so many do not exceed
 * @property {{from: number, to: number, counts: number[]}} histogram  equal steps of log10 of the divergence
 */

/** @param {Float64Array} sorted @returns {Distribution} */
export function distribution(sorted) {
  // Points of the curve that a small sample cannot tell from its greatest value are left out.
  const quantiles = CURVE.filter((q) => q === 1 || (1 - q) * sorted.length >= 1).map((q) => /** @type {[number, number]} */ ([q, quantile(sorted, q)]))
  const counts = new Array((HISTOGRAM_TO - HISTOGRAM_FROM) * HISTOGRAM_STEPS).fill(0)
  for (const x of sorted) {
    const at = Math.floor((Math.log10(x) - HISTOGRAM_FROM) * HISTOGRAM_STEPS)
    counts[Math.min(counts.length - 1, Math.max(0, at))]++
  }
  return { quantiles, histogram: { from: HISTOGRAM_FROM, to: HISTOGRAM_TO, counts } }
}
