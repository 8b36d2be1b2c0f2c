/**
 * Which of the ways to split text that GGUF files know by name (tokenizer.ggml.pre, src/text/pretokenize.c) a tokenizer.json describes. Files
 * spell it as a list of steps with regular expressions; these are compared after what cannot matter is taken out. What is not recognised is refused:
 * a model that is fed with other pieces than it was trained on answers badly, without any error.
 */
import { NibbleError } from '../errors.js'
import { isObject } from './folder.js'

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const LINES_AND_SPACE = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'
const UPPER = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]', LOWER = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]'
/** @param {string} letters @param {string} signs @param {string} numbers */
const words = (letters, signs, numbers) => `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?${letters}+|${numbers}| ?${signs}+[\\r\\n]*|${LINES_AND_SPACE}`
/** @param {string} contractions @param {string} numbers */
const cased = (contractions, numbers) => `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+${contractions}|[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*${contractions}|${numbers}` +
  `| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${LINES_AND_SPACE}`

const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
const LLAMA3 = words('\\p{L}', '[^\\s\\p{L}\\p{N}]', '\\p{N}{1,3}')
const CJK = '[一-龥ࠀ-一가-\ud7ff]+'

/**
 * The steps of each way, and its names: [where pieces that are tokens are taken whole (ignore_merges), where not]; undefined where files have no name for it.
 * @type {{steps: (string | RegExp)[], names: [string | undefined, string | undefined]}[]}
 */
const FAMILIES = [
  { steps: [GPT2], names: [undefined, 'gpt-2'] },
  { steps: ['\\p{N}', GPT2], names: [undefined, 'smollm'] },
  { steps: [LLAMA3], names: ['llama-bpe', 'dbrx'] },
  // After the first step there are no more than three numbers together.
  ...['\\p{N}{1,3}', '\\p{N}+'].map((numbers) => ({ steps: ['\\p{N}{1,3}', words('\\p{L}', '[^\\s\\p{L}\\p{N}]', numbers)], names: /** @type {[string, undefined]} */ (['minicpm5', undefined]) })),
  { steps: [words('\\p{L}', '[^\\s\\p{L}\\p{N}]', '\\p{N}')], names: [undefined, 'qwen2'] },
  { steps: [words('[\\p{L}\\p{M}]', '[^\\s\\p{L}\\p{M}\\p{N}]', '\\p{N}')], names: [undefined, 'qwen35'] },
  { steps: [cased(`${CONTRACTIONS}?`, '\\p{N}{1,3}')], names: [undefined, 'gpt-4o'] },
  { steps: [cased('', '\\p{N}')], names: ['tekken', undefined] },
  { steps: ['punctuation', GPT2, 'digits', '[0-9][0-9][0-9]'], names: [undefined, 'falcon'] },
  { steps: ['[\\r\\n]', '\\s?\\p{L}+', '\\s?\\p{P}+', CJK, '\\p{N}'], names: [undefined, 'deepseek-coder'] },
  { steps: ['[\\r\\n]', /^\\s\?\[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯ[^\]]+\]\+$/, /^\\s\?\[!-\/:-~！-／：-～‘-‟\u3000-。\]\+$/, '\\s+$', CJK, '\\p{N}'], names: [undefined, 'deepseek-llm'] },
  {
    steps: ['\\p{N}{1,3}', '[一-龥぀-ゟ゠-ヿ]+',
      '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|' + LINES_AND_SPACE],
    names: [undefined, 'deepseek-v3'],
  },
]

/**
 * A regular expression without what does not matter: how line breaks and contractions are spelled; quantifiers that give nothing back, at places
 * where nothing is wanted back.
 * @param {string} regex
 */
const plain = (regex) => regex
  .replaceAll('\r', '\\r').replaceAll('\n', '\\n')
  .replaceAll("(?i:[sdmt]|ll|ve|re)", '(?i:)').replaceAll("'(?i:)", CONTRACTIONS)
  .replaceAll("(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", CONTRACTIONS)
  .replace(/(?<=[\]}][+*?])\+/g, '').replaceAll('\\s*[\\r\\n]|', '\\s*[\\r\\n]+|')

/** @param {unknown} step @param {string} what @returns {never} */
function unknown(step, what) {
  const text = JSON.stringify(step) ?? String(step)
  throw new NibbleError('E_UNSUPPORTED', `tokenizer.json: ${what} is not one that GGUF files have a name for: ${text.length > 300 ? `${text.slice(0, 300)}…` : text}`)
}

/**
 * The steps of a pre_tokenizer that end in bytes; undefined where it does not work on bytes.
 * @param {unknown} pre
 * @returns {string[] | undefined}
 */
export function byteLevelSteps(pre) {
  if (!isObject(pre)) return undefined
  const list = pre.type === 'Sequence' ? pre.pretokenizers : [pre]
  if (!Array.isArray(list)) throw new NibbleError('E_FORMAT', 'tokenizer.json: pre_tokenizer.pretokenizers is no list')
  if (!list.some((step) => isObject(step) && step.type === 'ByteLevel')) return undefined
  /** @type {string[]} */
  const steps = []
  for (const step of list) {
    if (!isObject(step)) throw new NibbleError('E_FORMAT', 'tokenizer.json: a step of pre_tokenizer is no object')
    if (step.type === 'ByteLevel') {
      if (step.add_prefix_space === true) throw new NibbleError('E_UNSUPPORTED', 'tokenizer.json: add_prefix_space of ByteLevel is true, which GGUF files cannot say of a byte-level vocabulary')
      if (step.use_regex !== false) steps.push(GPT2)
    } else if (step.type === 'Digits') steps.push(step.individual_digits === true ? '\\p{N}' : 'digits')
    else if (step.type === 'Punctuation' && (step.behavior === undefined || step.behavior === 'Contiguous')) steps.push('punctuation')
    else if (step.type === 'Split' && isObject(step.pattern) && typeof step.pattern.Regex === 'string') {
      // Where an expression matches all of a text, its matches are the pieces whether they are kept or what is between them is removed.
      if (step.behavior !== 'Isolated' && !(step.behavior === 'Removed' && step.invert === true)) unknown(step, 'the way it splits text')
      if (step.behavior === 'Isolated' && step.invert === true) unknown(step, 'the way it splits text')
      steps.push(plain(step.pattern.Regex))
    } else unknown(step, 'a step of its pre_tokenizer')
  }
  return steps
}

/**
 * The name for the steps of a byte-level vocabulary.
 * @param {string[]} steps @param {boolean} whole  pieces that are tokens as a whole are taken as they are (ignore_merges)
 * @param {() => boolean} indifferent  whether that makes no difference, as every token is made by the merges from its own characters
 */
export function nameOfSteps(steps, whole, indifferent) {
  const family = FAMILIES.find((f) => f.steps.length === steps.length && f.steps.every((step, i) => (typeof step === 'string' ? plain(step) === steps[i] : step.test(steps[i]))))
  if (!family) return unknown(steps, 'the way it splits text')
  const [taken, merged] = family.names, name = (whole ? taken : merged) ?? (indifferent() ? taken ?? merged : undefined)
  if (!name) throw new NibbleError('E_UNSUPPORTED', `tokenizer.json: it splits text as ${taken ?? merged} does, but with ignore_merges ${whole}, which GGUF files have no name for`)
  return name
}
