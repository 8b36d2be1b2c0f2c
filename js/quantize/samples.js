/**
 * Samples for calibration, cut out of a text.
 */
import { NibbleError } from '../errors.js'

/** Tokens of the pieces by which repetitions are found. */
const PIECE = 16
const LEAST = 8

/**
 * @typedef {object} Samples
 * @property {Int32Array[]} samples  all of n_ctx tokens
 * @property {number} n_ctx
 * @property {number} tokens  of the whole text
 * @property {number} distinct  tokens that occur in the samples; 0 where they were given
 * @property {string[]} notes  what makes them worse than they should be
 */

/** How much of the samples stands in them more than once, 0 to 1. @param {Int32Array[]} samples */
function repeated(samples) {
  const seen = new Set()
  let again = 0, all = 0
  for (const sample of samples) {
    for (let at = 1; at + PIECE <= sample.length; at++) { // the first one may be the BOS of all
      const piece = sample.subarray(at, at + PIECE).join()
      if (seen.has(piece)) again++
      seen.add(piece)
      all++
    }
  }
  return all > 0 ? again / all : 0
}

/**
 * Samples spread evenly over a text; the same for the same text. None overlaps another: a text too short gives fewer of them.
 * @param {ArrayLike<number>} ids  of the whole text
 * @param {{samples: number, ctx: number, bos?: number, n_vocab: number}} options  bos: begins every sample, in the place of its first token
 * @returns {Samples}
 */
export function chooseSamples(ids, { samples: wanted, ctx, bos, n_vocab }) {
  for (const [name, value, least] of /** @type {[string, number, number][]} */ ([['samples', wanted, 1], ['ctx', ctx, LEAST]])) {
    if (!Number.isInteger(value) || value < least) throw new NibbleError('E_ARGUMENT', `${name} must be a whole number from ${least} on, not ${value}`)
  }
  const tokens = ids.length, head = bos === undefined ? [] : [bos]
  if (tokens < LEAST) throw new NibbleError('E_ARGUMENT', `the calibration text has ${tokens} tokens; give one of ${wanted * ctx} at least`)
  /** @type {string[]} */
  const notes = []
  const own = Math.min(ctx - head.length, tokens), count = Math.min(wanted, Math.floor(tokens / own))
  if (count < wanted || own < ctx - head.length) {
    notes.push(`the calibration text is short: its ${tokens} tokens give ${count} sample${count === 1 ? '' : 's'} of ${own + head.length} tokens, not ${wanted} of ${ctx}`)
  }
  const samples = Array.from({ length: count }, (_, i) => {
    const start = count === 1 ? 0 : Math.floor(i * (tokens - own) / (count - 1))
    return Int32Array.from([...head, ...Array.from({ length: own }, (_, t) => ids[start + t])])
  })
  const distinct = new Set(samples.flatMap((s) => [...s])).size, all = count * (own + head.length)
  if (distinct < Math.min(4 * Math.sqrt(all), n_vocab / 8)) {
    notes.push(`the calibration text says little: only ${distinct} of the model's ${n_vocab} tokens occur in ${all}; take a text more like what the model will be used for`)
  }
  const again = repeated(samples)
  if (again > 0.1) notes.push(`the calibration text repeats itself: ${(100 * again).toFixed(0)} % of the samples stand elsewhere in them, too`)
  return { samples, n_ctx: own + head.length, tokens, distinct, notes }
}
