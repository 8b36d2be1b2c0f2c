/**
 * One measurement of Nibble, the same in a page and in Node: load, a short run that warms up, then a prompt and what follows it. The time of
 * the first token counts to the prompt; decoding includes choosing the tokens (greedily) and giving them out one by one.
 */

/**
 * @typedef {object} Task
 * @property {number} prompt  tokens  @property {number} generated  tokens behind the first one
 * @property {number} threads  @property {string} [variant]
 *
 * @typedef {object} Speed
 * @property {number} load_s  @property {number} prefill_tps  @property {number} decode_tps
 * @property {number[]} tokens  the first ones, to see that others computed the same
 */

/** Ids that every vocabulary of the benchmark has, in no order; none of a prompt's beginning is that of another's. @param {number} n @param {number} from */
export const tokenIds = (n, from) => Array.from({ length: n }, (_, i) => 5 + (from + i * 7919) % 200)

/**
 * @param {(source: any, options: any) => Promise<any>} load  of nibble-llm or nibble-llm/web
 * @param {any} source @param {Task} task @param {object} [options]  more of them for load
 * @returns {Promise<Speed & {variant: string, sums?: 16 | 32, threads: number, wasm_bytes: number}>}
 */
export async function measure(load, source, { prompt, generated, threads, variant }, options = {}) {
  const model = await load(source, { ...options, threads, ...(variant && { variant }), contextLength: prompt + generated + 1 })
  try {
    const run = async (/** @type {number[]} */ ids, /** @type {number} */ max_tokens) => {
      const { timings, choices } = await model.completions.create({ prompt: ids, max_tokens, temperature: 0, ignore_eos: true })
      // A shorter way to the end would be a wrong figure, not a fast one.
      if (timings.prompt_n !== ids.length || timings.decode_n !== max_tokens) throw new Error(`asked for ${ids.length} + ${max_tokens} tokens, got ${timings.prompt_n} + ${timings.decode_n}`)
      return { ...timings, tokens: choices[0].tokens }
    }
    await run(tokenIds(Math.min(64, prompt), 1), Math.min(9, generated + 1))
    const { prefill_tps, decode_tps, tokens } = await run(tokenIds(prompt, 2), generated + 1)
    return { load_s: model.load_s, prefill_tps, decode_tps, variant: model.info.variant, sums: model.info.sums, threads: model.info.threads ?? threads, wasm_bytes: model.info.memory().wasm_bytes, tokens: tokens.slice(0, 8) }
  } finally {
    await model.dispose()
  }
}
