/**
 * The protocol of evaluations, which is the field's usual one, so that figures can be compared: the text is tokenized as a whole and cut
 * into chunks of n_ctx tokens, each evaluated by itself; where the model begins texts with a BOS, that takes the place of a chunk's first
 * token. Predictions made in the second half of a chunk count, so that each has at least n_ctx / 2 tokens before it.
 */
import { NibbleError } from '../errors.js'

/**
 * @typedef {object} Plan
 * @property {number} n_ctx
 * @property {number[][]} chunks  token ids
 *
 * @typedef {object} ChunkOptions
 * @property {number} [n_ctx]  tokens of a chunk (default 512)
 * @property {number} [chunks]  most chunks (default: all)
 * @property {boolean} [parseSpecial]  control tokens spelled out in the text become those tokens
 */

/** The first position of a chunk whose prediction counts. @param {number} n_ctx */
export const firstOf = (n_ctx) => n_ctx >> 1
/** Predictions of a chunk that count. @param {number} n_ctx */
export const countOf = (n_ctx) => n_ctx - 1 - firstOf(n_ctx)

/** @param {import('../model.js').Model} model @param {number} n_ctx */
export function checkContext(model, n_ctx) {
  if (!Number.isInteger(n_ctx) || n_ctx < 8) throw new NibbleError('E_ARGUMENT', `n_ctx must be a whole number of at least 8, not ${n_ctx}`)
  if (n_ctx <= model.contextLength) return
  throw new NibbleError('E_CONTEXT', `chunks of ${n_ctx} tokens do not fit into a context of ${model.contextLength}; load the model with a longer contextLength`)
}

/**
 * @param {import('../model.js').Model} model @param {string} text @param {ChunkOptions} options
 * @returns {Plan}
 */
export function planChunks(model, text, { n_ctx = 512, chunks = Infinity, parseSpecial = false }) {
  checkContext(model, n_ctx)
  const { addBos, bos } = model.tokenizer
  const ids = model.tokenize(text, { parseSpecial })
  const n = Math.min(Math.floor(ids.length / n_ctx), chunks)
  if (!(n >= 1)) throw new NibbleError('E_ARGUMENT', `the text has ${ids.length} tokens: a chunk of ${n_ctx} needs a longer one, or choose a smaller context`)
  return {
    n_ctx,
    chunks: Array.from({ length: n }, (_, i) => {
      const tokens = ids.slice(i * n_ctx, (i + 1) * n_ctx)
      if (addBos) tokens[0] = bos
      return tokens
    }),
  }
}

/**
 * Chunks that were cut by others.
 * @param {import('../model.js').Model} model @param {number[][]} chunks
 * @returns {Plan}
 */
export function chunksAsGiven(model, chunks) {
  const n_ctx = chunks[0]?.length ?? 0
  checkContext(model, n_ctx)
  if (chunks.some((c) => c.length !== n_ctx)) throw new NibbleError('E_ARGUMENT', 'chunks must all have the same number of tokens')
  return { n_ctx, chunks }
}

/**
 * Evaluates a chunk; for each prediction that counts, the i-th of them, calls visit with the logits (valid during the call), the session
 * with the index of the position in its pass, and the token that really follows.
 * @param {import('../model.js').Model} model @param {number[]} tokens @param {AbortSignal | undefined} signal
 * @param {(i: number, logits: Float32Array, next: number, session: import('../generate.js').TokenSession, passIndex: number) => void} visit
 */
export async function visitPredictions(model, tokens, signal, visit) {
  const first = firstOf(tokens.length), { n_vocab } = model.tokenizer
  await model.visitLogits(tokens, signal, (position, passIndex, session) => {
    if (position < first || position === tokens.length - 1) return
    visit(position - first, model.engine.heap.f32(session.logitsPtr(passIndex), n_vocab), tokens[position + 1], session, passIndex)
  })
}
