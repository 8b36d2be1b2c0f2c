/**
 * Greedy text that goes round in circles: a fault that quantization brings, and that perplexity does not show, since it judges the model on
 * texts of others. Models loop by themselves, too, so what counts is what the reference, given the same beginnings, does not do.
 */
import { Mean } from './figures.js'

/**
 * @typedef {object} Greedy  a beginning and what a model makes of it
 * @property {number[]} prompt  @property {number[]} tokens
 *
 * @typedef {object} Loops
 * @property {number} prompts  beginnings tried  @property {number} tokens  most that were generated from each
 * @property {number} looping  texts of the model that loop  @property {number} ref_looping  of the reference
 * @property {number} added  where the model loops and the reference does not  @property {number} removed  the other way round
 * @property {number} excess  looping - ref_looping  @property {number} excess_error  its standard error
 * @property {number} repeated  part of the model's runs of four tokens that occurred before in the same text  @property {number} ref_repeated
 * @property {number} repeated_difference  @property {number} repeated_error  standard error of the difference
 * @property {{prompt: string, text: string, ref_text: string, period: number}[]} examples  of added loops
 */

export const PROMPT_TOKENS = 32
export const TEXT_TOKENS = 128
/** A loop has at most so many tokens, goes round three times, and that over at least so many tokens. */
const LONGEST_PERIOD = 32, TURNS = 3, LEAST = 24
const EXAMPLES = 5

/** The length of the loop that a text falls into; 0: it does not. @param {ArrayLike<number>} tokens */
export function loopOf(tokens) {
  for (let period = 1; period <= LONGEST_PERIOD; period++) {
    // So many tokens in a row that equal the one a period before.
    const needed = Math.max(TURNS * period, LEAST) - period
    for (let i = period, run = 0; i < tokens.length; i++) {
      run = tokens[i] === tokens[i - period] ? run + 1 : 0
      if (run >= needed) return period
    }
  }
  return 0
}

/** Part of the runs of four tokens that occurred before. @param {number[]} tokens */
export function repeatedOf(tokens) {
  const seen = new Set()
  const n = tokens.length - 3
  for (let i = 0; i < n; i++) seen.add(tokens.slice(i, i + 4).join())
  return n > 0 ? 1 - seen.size / n : 0
}

/**
 * Beginnings taken from all over the text.
 * @param {import('./chunks.js').Plan} plan @param {number} n @param {import('../tokenizer.js').Tokenizer} tokenizer
 */
export function promptsOf({ chunks, n_ctx }, n, { addBos, bos }) {
  const length = Math.min(PROMPT_TOKENS, n_ctx >> 1)
  const ids = chunks.flatMap((tokens) => (addBos ? tokens.slice(1) : tokens))
  return Array.from({ length: n }, (_, i) => {
    const at = Math.floor(i * (ids.length - length) / n)
    return addBos ? [bos, ...ids.slice(at, at + length - 1)] : ids.slice(at, at + length)
  })
}

/**
 * What a model says behind beginnings when it always takes the most probable token.
 * @param {import('../model.js').Model} model @param {number[][]} prompts
 * @param {{signal?: AbortSignal, onProgress?: (done: number, total: number) => void}} [options]
 * @returns {Promise<Greedy[]>}
 */
export async function greedyTexts(model, prompts, { signal, onProgress } = {}) {
  const texts = []
  for (const prompt of prompts) {
    const max_tokens = Math.max(0, Math.min(TEXT_TOKENS, model.contextLength - prompt.length))
    // Nothing that the file recommends: penalties would hide what is looked for.
    const r = await model.completions.create({ prompt, max_tokens, temperature: 0, repeat_penalty: 1, frequency_penalty: 0, presence_penalty: 0, signal })
    texts.push({ prompt, tokens: r.choices[0].tokens })
    onProgress?.(texts.length, prompts.length)
  }
  return texts
}

/**
 * @param {import('../tokenizer.js').Tokenizer} tokenizer @param {Greedy[]} texts @param {Greedy[]} references  of the same beginnings, in the same order
 * @returns {Loops}
 */
export function compareLoops(tokenizer, texts, references) {
  const text = (/** @type {number[]} */ tokens) => tokenizer.decode(tokens, { special: true, continuation: true })
  const repeated = new Mean(), ref_repeated = new Mean(), difference = new Mean()
  const loops = { looping: 0, ref_looping: 0, added: 0, removed: 0 }
  /** @type {Loops['examples']} */
  const examples = []
  texts.forEach(({ prompt, tokens }, i) => {
    const other = references[i].tokens
    const period = loopOf(tokens), otherPeriod = loopOf(other)
    if (period) loops.looping++
    if (otherPeriod) loops.ref_looping++
    if (otherPeriod && !period) loops.removed++
    if (period && !otherPeriod) {
      loops.added++
      if (examples.length < EXAMPLES) examples.push({ prompt: text(prompt), text: text(tokens), ref_text: text(other), period })
    }
    const own = repeatedOf(tokens), theirs = repeatedOf(other)
    repeated.add(own)
    ref_repeated.add(theirs)
    difference.add(own - theirs)
  })
  return {
    prompts: texts.length, tokens: TEXT_TOKENS, ...loops, excess: loops.looping - loops.ref_looping, excess_error: Math.sqrt(loops.added + loops.removed),
    repeated: repeated.value, ref_repeated: ref_repeated.value, repeated_difference: difference.value, repeated_error: difference.error, examples,
  }
}
