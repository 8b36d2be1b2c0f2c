/**
 * SentencePiece vocabularies that a tokenizer.json writes as merges. GGUF files have no merges for them but a score for each token, and join whatever
 * makes the token with the best score. Both give the same tokens where the merges are all ways to make each token, one token after the other. Tokens of
 * one score have their merges mixed, and of them the leftmost is joined; real vocabularies have that among runs of spaces alone.
 */
import { NibbleError } from '../errors.js'
import { isObject } from './folder.js'

/** Whether a token is one character several times. @param {string} token */
const isRun = (token) => /^(.)\1+$/u.test(token)

/** In how many ways a token is made of two others. @param {string} token @param {Map<string, number>} normal */
function splitsOf(token, normal) {
  let splits = 0
  for (let i = 1; i < token.length; i++) {
    if (normal.has(token.slice(0, i)) && normal.has(token.slice(i))) splits++
  }
  return splits
}

/**
 * Scores that join in the order of the merges.
 * @param {Map<string, number>} normal  tokens of text and their ids @param {number} n  tokens @param {[left: string, right: string][]} merges
 * @returns {number[]}
 */
export function scoresOfMerges(normal, n, merges) {
  /** Of each token the first and last of its merges, and how many they are. @type {Map<string, {first: number, last: number, ways: number}>} */
  const made = new Map()
  merges.forEach(([left, right], rank) => {
    const joined = left + right, seen = made.get(joined)
    if (!normal.has(joined) || !normal.has(left) || !normal.has(right)) return // of tokens that are not text
    if (!seen) made.set(joined, { first: rank, last: rank, ways: 1 })
    else [seen.last, seen.ways] = [rank, seen.ways + 1]
  })
  const incomplete = [...normal.keys()].filter((token) => splitsOf(token, normal) !== (made.get(token)?.ways ?? 0))
  /** @type {number[]} */
  const scores = new Array(n).fill(0)
  const mixed = new Set() // the map is in the order of the first merges
  let rank = 0, end = -1, before = ''
  for (const [token, { first, last }] of made) {
    if (first > end) rank++
    else mixed.add(before).add(token)
    if (last > end) [end, before] = [last, token]
    scores[/** @type {number} */ (normal.get(token))] = 1 - rank
  }
  const scattered = [...mixed].filter((token) => !isRun(token))
  if (incomplete.length + scattered.length > 0) {
    throw new NibbleError('E_UNSUPPORTED', `tokenizer.json: its merges are not those of a SentencePiece vocabulary (${incomplete.length} tokens could also be made otherwise, the merges of ` +
      `${scattered.length} are mixed, such as ${JSON.stringify((incomplete[0] ?? scattered[0]).slice(0, 80))}), and GGUF files have no kind for them; if the model has a tokenizer.model, remove tokenizer.json`)
  }
  for (const [token, id] of normal) if (!made.has(token)) scores[id] = -rank++
  return scores
}

/** @param {unknown} step @returns {never} */
function unknown(step) {
  throw new NibbleError('E_UNSUPPORTED', `tokenizer.json: a step before the vocabulary, ${JSON.stringify(step)?.slice(0, 200)}, is not one of SentencePiece's that GGUF files can say`)
}

/**
 * Whether a space is put before a text; checks that nothing else is done to it than to write U+2581 for spaces.
 * @param {Record<string, unknown>} json  tokenizer.json @param {Iterable<string>} tokens  of text
 */
export function spacePrefix({ normalizer, pre_tokenizer }, tokens) {
  let prefix = false, replaces = false
  const steps = !isObject(normalizer) ? [] : normalizer.type === 'Sequence' && Array.isArray(normalizer.normalizers) ? normalizer.normalizers : [normalizer]
  for (const step of steps) {
    if (isObject(step) && step.type === 'Prepend' && step.prepend === '▁') prefix = true
    else if (isObject(step) && step.type === 'Replace' && isObject(step.pattern) && step.pattern.String === ' ' && step.content === '▁') replaces = true
    else unknown(step)
  }
  if (isObject(pre_tokenizer)) {
    if (pre_tokenizer.type !== 'Metaspace' || (pre_tokenizer.replacement ?? '▁') !== '▁') unknown(pre_tokenizer)
    replaces = true
    const scheme = pre_tokenizer.prepend_scheme ?? (pre_tokenizer.add_prefix_space === false ? 'never' : 'always')
    if (scheme !== 'never') prefix = true
    if (pre_tokenizer.split !== false) {
      for (const token of tokens) {
        if (token.indexOf('▁', 1) > 0) {
          throw new NibbleError('E_UNSUPPORTED', 'tokenizer.json: its Metaspace splits text at spaces, but the vocabulary has tokens that span them; GGUF files cannot say that they are not to be used')
        }
      }
    }
  }
  if (!replaces) throw new NibbleError('E_UNSUPPORTED', 'tokenizer.json: its vocabulary has byte_fallback, but spaces are not written as U+2581; GGUF files have no kind for it')
  return prefix
}
