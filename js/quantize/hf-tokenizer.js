/**
 * Tokenizers of Hugging Face folders as GGUF metadata (tokenizer.ggml.*): tokenizer.json with byte-pair encoding, on bytes or in SentencePiece's way,
 * and tokenizer.model. Vocabularies of other kinds (Unigram, WordPiece) are refused, since nothing here runs them.
 */
import { NibbleError } from '../errors.js'
import { encodeUtf8 } from '../memory.js'
import { isObject, own, readJson, readWhole } from './folder.js'
import { byteLevelSteps, nameOfSteps } from './hf-pretokenizer.js'
import { scoresOfMerges, spacePrefix } from './hf-spm.js'
import { pair } from './pairs.js'
import { readSentencePiece } from './sentencepiece.js'

/** @typedef {import('./folder.js').Folder} Folder @typedef {import('./pairs.js').Pair} Pair */

/** nb_token_kind (src/text/tokenizer.h) @type {Record<string, number>} */
export const TOKEN = Object.freeze({ normal: 1, unknown: 2, control: 3, user: 4, unused: 5, byte: 6 })

const TOKENIZER_LIMIT = 128 << 20
export const TOKENS_LIMIT = 1 << 22

/**
 * @typedef {object} Vocabulary
 * @property {'llama' | 'gpt2'} model  as GGUF files call SentencePiece's kind and the byte-level one
 * @property {string} [pre]  of the byte-level one: how it splits text
 * @property {(string | undefined)[]} tokens  holes are ids that nothing is spelled as
 * @property {number[]} types  of the tokens
 * @property {number[]} [scores]
 * @property {string[]} [merges]
 * @property {boolean} [spacePrefix]
 * @property {string[]} [before] @property {string[]} [after]  what the post-processor puts around a text, where there is one
 *
 * @typedef {object} Added  a token that is recognised by its spelling
 * @property {number} id  @property {string} content  @property {boolean} special
 */

/** @param {string} what @param {unknown} [cause] */
const malformed = (what, cause) => new NibbleError('E_FORMAT', `tokenizer.json: ${what}`, { cause })

/** Spelled so that nothing else can be meant; files often forget to call such tokens special. @param {string} text */
const looksSpecial = (text) => /^(<\|[^]*\|>|<｜[^]*｜>|<pad>|<mask>|<unused\d+>|\[@BOS@\])$/.test(text)

/** What the library reads of a token, and of one that is recognised by its spelling, in bytes. */
const TOKEN_BYTES = 2048, ADDED_BYTES = 255

/** @param {string} token @param {number} id @param {number} limit @param {string} file */
function checkSpelling(token, id, limit, file) {
  if (token === '') throw new NibbleError('E_FORMAT', `${file}: the token ${id} is empty`)
  if (/\p{Surrogate}/u.test(token)) throw new NibbleError('E_FORMAT', `${file}: the token ${id} has half of a character, which is no text`)
  if (token.length * 3 > limit && encodeUtf8(token).length > limit) throw new NibbleError('E_UNSUPPORTED', `${file}: the token ${id} has more than ${limit} bytes`)
}

/**
 * Ids and spellings of a vocabulary.
 * @param {unknown} vocab
 * @returns {{tokens: (string | undefined)[], ids: Map<string, number>}}
 */
function readVocab(vocab) {
  if (!isObject(vocab)) throw malformed('model.vocab is no object')
  /** @type {(string | undefined)[]} */
  const tokens = []
  const ids = new Map()
  for (const [token, id] of Object.entries(vocab)) {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= TOKENS_LIMIT) throw malformed(`the id of the token ${JSON.stringify(token.slice(0, 80))} is no whole number below ${TOKENS_LIMIT}`)
    checkSpelling(token, id, TOKEN_BYTES, 'tokenizer.json')
    if (tokens[id] !== undefined) throw malformed(`the tokens ${JSON.stringify(tokens[id]?.slice(0, 80))} and ${JSON.stringify(token.slice(0, 80))} have the same id ${id}`)
    tokens[id] = token
    ids.set(token, id)
  }
  return { tokens, ids }
}

/** @param {unknown} list @param {Map<string, number>} ids @returns {[left: string, right: string][]} */
function readMerges(list, ids) {
  if (!Array.isArray(list)) throw malformed('model.merges is no list')
  return list.map((merge, i) => {
    const parts = typeof merge === 'string' ? merge.split(' ') : merge
    if (!Array.isArray(parts) || parts.length !== 2 || !parts.every((part) => typeof part === 'string' && part !== '')) throw malformed(`merge ${i} is not two tokens`)
    const [left, right] = parts
    if (!ids.has(left) || !ids.has(right) || !ids.has(left + right)) throw malformed(`merge ${i} has or makes a token that is not in the vocabulary`)
    return [left, right]
  })
}

/** @param {unknown} list @returns {Added[]} */
function readAdded(list) {
  if (list === undefined || list === null) return []
  if (!Array.isArray(list)) throw malformed('added_tokens is no list')
  return list.map((added) => {
    if (!isObject(added) || typeof added.content !== 'string' || !Number.isInteger(added.id) || /** @type {number} */ (added.id) < 0 ||
      /** @type {number} */ (added.id) >= TOKENS_LIMIT) throw malformed('an added token has no usable id and content')
    return { id: /** @type {number} */ (added.id), content: added.content, special: added.special === true }
  })
}

/** Whether the merges make every token from its own characters. @param {Iterable<string>} tokens @param {[string, string][]} merges */
function allMade(tokens, merges) {
  const ranks = new Map(merges.map(([left, right], rank) => [`${left} ${right}`, rank]))
  for (const token of tokens) {
    const parts = [...token]
    while (parts.length > 1) {
      let best = Infinity, at = -1
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = ranks.get(`${parts[i]} ${parts[i + 1]}`)
        if (rank !== undefined && rank < best) [best, at] = [rank, i]
      }
      if (at < 0) return false
      parts.splice(at, 2, parts[at] + parts[at + 1])
    }
  }
  return true
}

/** The names of the special tokens around a text. @param {unknown} processor @returns {{before: string[], after: string[]} | undefined} */
function surroundings(processor) {
  if (!isObject(processor)) return undefined
  if (processor.type === 'Sequence' && Array.isArray(processor.processors)) {
    for (const step of processor.processors) {
      if (isObject(step) && step.type === 'TemplateProcessing') return surroundings(step)
    }
    return undefined
  }
  if (processor.type !== 'TemplateProcessing') return undefined
  if (!Array.isArray(processor.single)) throw malformed('post_processor.single is no list')
  /** @type {string[]} */
  const before = [], /** @type {string[]} */ after = []
  let text = false
  for (const step of processor.single) {
    if (isObject(step) && isObject(step.Sequence)) text = true
    else if (isObject(step) && isObject(step.SpecialToken) && typeof step.SpecialToken.id === 'string') (text ? after : before).push(step.SpecialToken.id)
    else throw malformed('post_processor.single has a step of an unknown kind')
  }
  return { before, after }
}

/** @param {unknown} normalizer @param {string[]} notes */
function checkByteLevelNormalizer(normalizer, notes) {
  if (normalizer === undefined || normalizer === null) return
  const steps = isObject(normalizer) && normalizer.type === 'Sequence' && Array.isArray(normalizer.normalizers) ? normalizer.normalizers : [normalizer]
  for (const step of steps) {
    if (!isObject(step) || step.type !== 'NFC') {
      throw new NibbleError('E_UNSUPPORTED', `tokenizer.json: its normalizer ${JSON.stringify(isObject(step) ? step.type : step)?.slice(0, 80)} changes text before it is split, which GGUF files cannot say`)
    }
  }
  if (steps.length > 0) notes.push('the tokenizer composes characters (NFC) before it reads text; programs that run GGUF files take text as it is')
}

/** @param {Record<string, unknown>} json @param {string[]} notes @returns {Vocabulary} */
function fromJson(json, notes) {
  const { model } = json
  if (!isObject(model)) throw malformed('it has no model')
  const type = model.type ?? (model.merges ? 'BPE' : 'without a type') // old files have no type
  if (type !== 'BPE') {
    throw new NibbleError('E_UNSUPPORTED', `tokenizer.json: the vocabulary is of the kind ${String(type).slice(0, 40)}; only byte-pair vocabularies (BPE) are run`)
  }
  for (const key of ['continuing_subword_prefix', 'end_of_word_suffix']) {
    if (model[key]) throw new NibbleError('E_UNSUPPORTED', `tokenizer.json: its vocabulary uses ${key}, which GGUF files cannot say`)
  }
  const { tokens, ids } = readVocab(model.vocab)
  const merges = readMerges(model.merges, ids), added = readAdded(json.added_tokens)
  const steps = byteLevelSteps(json.pre_tokenizer)
  const types = Array.from(tokens, () => TOKEN.normal)
  const around = surroundings(json.post_processor)
  /** @type {Vocabulary} */
  let vocabulary
  if (steps) {
    checkByteLevelNormalizer(json.normalizer, notes)
    const pre = nameOfSteps(steps, model.ignore_merges === true, () => allMade(ids.keys(), merges))
    // A space within one would be taken for the one between the two; in a byte-level vocabulary it is no character of a token.
    if (merges.some((parts) => parts.some((part) => part.includes(' ')))) throw malformed('a merge has a space within a token')
    vocabulary = { model: 'gpt2', pre, tokens, types, merges: merges.map((parts) => parts.join(' ')), ...around }
  } else {
    if (model.byte_fallback !== true) throw new NibbleError('E_UNSUPPORTED', 'tokenizer.json: its vocabulary works neither on bytes (ByteLevel) nor with byte_fallback, and GGUF files have no kind for it')
    if (model.ignore_merges === true) throw new NibbleError('E_UNSUPPORTED', 'tokenizer.json: a vocabulary with byte_fallback and ignore_merges is not known')
    ids.forEach((id, token) => { if (/^<0x[0-9A-F]{2}>$/.test(token)) types[id] = TOKEN.byte })
    const unknown = typeof model.unk_token === 'string' ? ids.get(model.unk_token) : undefined
    if (unknown !== undefined) types[unknown] = TOKEN.unknown
    const special = new Set(added.map(({ id }) => id))
    const normal = new Map([...ids].filter(([, id]) => types[id] === TOKEN.normal && !special.has(id)))
    vocabulary = { model: 'llama', tokens, types, scores: scoresOfMerges(normal, tokens.length, merges), spacePrefix: spacePrefix(json, normal.keys()), ...around }
  }
  addTokens(vocabulary, added, 'tokenizer.json')
  return vocabulary
}

/**
 * Puts added tokens into a vocabulary.
 * @param {Vocabulary} vocabulary @param {Added[]} added @param {string} file  for messages
 */
function addTokens({ tokens, types, scores }, added, file) {
  const ids = new Map(tokens.flatMap((token, id) => (token === undefined ? [] : [[token, id]])))
  for (const { id, content, special } of added) {
    checkSpelling(content, id, ADDED_BYTES, file)
    if ((tokens[id] !== undefined && tokens[id] !== content) || (ids.get(content) ?? id) !== id) {
      throw new NibbleError('E_FORMAT', `${file}: the added token ${JSON.stringify(content.slice(0, 80))} has the id ${id}, where the vocabulary says otherwise`)
    }
    tokens[id] = content
    ids.set(content, id)
    if (types[id] !== TOKEN.unknown) types[id] = special || looksSpecial(content) ? TOKEN.control : TOKEN.user
    if (scores && scores[id] === undefined) scores[id] = 0
  }
}

/** A token that tokenizer_config.json names: a string, or an object with the string. @param {Record<string, unknown> | undefined} config @param {string} key */
function named(config, key) {
  const value = config && own(config, key), text = isObject(value) ? value.content : value
  return typeof text === 'string' && text !== '' ? text : undefined
}

/** Ids of a config: one number, or a list of them. @param {Record<string, unknown> | undefined} config @param {string} key @returns {number[]} */
function idsOf(config, key) {
  const value = config && own(config, key)
  return (Array.isArray(value) ? value : [value]).filter((id) => Number.isInteger(id) && id >= 0)
}

/** The ends of a text that programs know by their spelling, also where no key names them. */
const KNOWN_ENDS = /^(<\|(eot_id|im_end|end|endoftext|end_of_text|eom_id|return|call|flush)\|>|<end_of_turn>|<end_of_utterance>|<\/s>)$/

/**
 * The roles of tokens, and whether a text begins and ends with one.
 * @param {Vocabulary} vocabulary
 * @param {(Record<string, unknown> | undefined)[]} named_in  tokenizer_config.json, special_tokens_map.json
 * @param {(Record<string, unknown> | undefined)[]} ids_in  generation_config.json, config.json
 * @param {string[]} notes
 * @returns {Pair[]}
 */
function roles({ tokens, types, before, after }, named_in, ids_in, notes) {
  const byText = new Map(tokens.flatMap((token, id) => (token === undefined ? [] : [[token, id]])))
  const ofName = (/** @type {string} */ key) => named_in.map((config) => byText.get(named(config, key) ?? '')).find((id) => id !== undefined)
  const listed = (/** @type {string} */ key) => ids_in.map((config) => idsOf(config, key)).find((ids) => ids.length > 0) ?? []
  const inRange = (/** @type {number | undefined} */ id) => (id !== undefined && id < tokens.length && tokens[id] !== undefined ? id : undefined)
  const role = (/** @type {string} */ name) => ofName(`${name}_token`) ?? inRange(listed(`${name}_token_id`)[0])
  const bos = role('bos') ?? byText.get(before?.[0] ?? ''), eos = role('eos') ?? byText.get(after?.at(-1) ?? ''), pad = role('pad')
  const unk = ofName('unk_token') ?? (types.indexOf(TOKEN.unknown) >= 0 ? types.indexOf(TOKEN.unknown) : undefined)
  /** @type {Pair[]} */
  const pairs = []
  const put = (/** @type {string} */ name, /** @type {number | undefined} */ id) => { if (id !== undefined) pairs.push(pair.u32(`tokenizer.ggml.${name}_token_id`, id)) }
  put('bos', bos)
  put('eos', eos)
  const others = listed('eos_token_id').filter((id) => id !== eos && inRange(id) !== undefined && !KNOWN_ENDS.test(tokens[id] ?? ''))
  put('eot', others[0])
  put('eom', others[1])
  if (others.length > 2) notes.push(`generation_config.json ends texts with ${others.length} more tokens; a GGUF file has room for two, so ${others.slice(2).map((id) => tokens[id]).join(' ')} will not end them`)
  put('unknown', unk)
  put('padding', pad)
  const config = named_in[0]
  const flag = (/** @type {string} */ key) => (config && typeof own(config, key) === 'boolean' ? own(config, key) === true : undefined)
  const around = before && after
  const surround = (/** @type {string[] | undefined} */ list, /** @type {number | undefined} */ id) => list !== undefined && list.length > 0 && id !== undefined && list.includes(tokens[id] ?? '')
  const addBos = (flag('add_bos_token') ?? surround(before, bos)) && bos !== undefined
  const addEos = (flag('add_eos_token') ?? surround(after, eos)) && eos !== undefined
  if (around && before.some((token) => byText.get(token) !== bos) || around && after.some((token) => byText.get(token) !== eos)) {
    notes.push(`the tokenizer puts ${[...before ?? [], '…', ...after ?? []].join(' ')} around a text; of these a GGUF file can say the first and last token of a model`)
  }
  pairs.push(pair.bool('tokenizer.ggml.add_bos_token', addBos), pair.bool('tokenizer.ggml.add_eos_token', addEos))
  return pairs
}

/** Added tokens that stand beside a tokenizer.model. @param {Folder} folder @param {Record<string, unknown> | undefined} config @returns {Promise<Added[]>} */
async function addedBeside(folder, config) {
  /** @type {Map<number, Added>} */
  const added = new Map()
  for (const [content, id] of Object.entries(await readJson(folder, 'added_tokens.json') ?? {})) {
    if (!Number.isInteger(id) || Number(id) < 0 || Number(id) >= TOKENS_LIMIT) throw new NibbleError('E_FORMAT', 'added_tokens.json must map tokens to their ids')
    added.set(Number(id), { id: Number(id), content, special: false })
  }
  const decoder = config && own(config, 'added_tokens_decoder')
  for (const [key, token] of Object.entries(isObject(decoder) ? decoder : {})) {
    const id = Number(key)
    if (!/^\d{1,7}$/.test(key) || id >= TOKENS_LIMIT || !isObject(token) || typeof token.content !== 'string') throw new NibbleError('E_FORMAT', 'tokenizer_config.json: added_tokens_decoder must map ids to tokens')
    added.set(id, { id, content: token.content, special: token.special === true })
  }
  return [...added.values()]
}

/** @param {Folder} folder @param {Record<string, unknown> | undefined} config @param {string[]} notes @returns {Promise<Vocabulary>} */
async function readVocabulary(folder, config, notes) {
  const json = await readJson(folder, 'tokenizer.json', TOKENIZER_LIMIT)
  if (json) return fromJson(json, notes)
  if (folder.files.has('tokenizer.model')) {
    const vocabulary = readSentencePiece(await readWhole(folder, 'tokenizer.model', TOKENIZER_LIMIT), notes)
    addTokens(vocabulary, await addedBeside(folder, config), 'added_tokens.json')
    return vocabulary
  }
  const other = ['vocab.json', 'tekken.json', 'vocab.txt'].find((name) => folder.files.has(name))
  throw new NibbleError(other ? 'E_UNSUPPORTED' : 'E_ARGUMENT', `${folder.name} has no tokenizer.json and no tokenizer.model${other ? `, only ${other}: load and save its tokenizer with transformers (AutoTokenizer), which writes tokenizer.json` : '; get them too'}`)
}

/**
 * The tokenizer of a folder as metadata.
 * @param {Folder} folder
 * @param {number} rows  of the embedding: the tokens become as many
 * @param {{config?: Record<string, unknown>, generation?: Record<string, unknown>}} configs  config.json, generation_config.json
 * @param {string[]} notes  what people should know is added
 * @returns {Promise<Pair[]>}
 */
export async function readTokenizer(folder, rows, { config, generation }, notes) {
  const tokenizer_config = await readJson(folder, 'tokenizer_config.json')
  const vocabulary = await readVocabulary(folder, tokenizer_config, notes)
  const { model, pre, tokens, types, scores, merges } = vocabulary
  fitTo(vocabulary, rows, notes)
  const prefix = tokenizer_config && typeof tokenizer_config.add_prefix_space === 'boolean' && vocabulary.spacePrefix === undefined ? tokenizer_config.add_prefix_space : vocabulary.spacePrefix
  const known = roles(vocabulary, [tokenizer_config, await readJson(folder, 'special_tokens_map.json')], [generation, config], notes)
  const texts = Array.from(tokens, (token, id) => token ?? `[PAD${id}]`)
  if (new Set(texts).size !== texts.length) throw new NibbleError('E_FORMAT', 'the vocabulary has a token that is spelled like the name of an unused one, [PAD…]')
  return [
    pair.string('tokenizer.ggml.model', model), pair.string('tokenizer.ggml.pre', pre ?? 'default'),
    pair.array('tokenizer.ggml.tokens', 'string', texts),
    ...(scores ? [pair.array('tokenizer.ggml.scores', 'f32', Array.from(scores, (score) => score ?? 0))] : []),
    pair.array('tokenizer.ggml.token_type', 'i32', Array.from(tokens, (token, id) => (token === undefined ? TOKEN.unused : types[id]))),
    ...(merges ? [pair.array('tokenizer.ggml.merges', 'string', merges)] : []),
    ...known, ...(model === 'llama' ? [pair.bool('tokenizer.ggml.add_space_prefix', prefix ?? true)] : []),
  ]
}

/** As many tokens as the embedding has rows. @param {Vocabulary} vocabulary @param {number} rows @param {string[]} notes */
function fitTo({ tokens, types, scores }, rows, notes) {
  if (tokens.length > rows) {
    const beyond = tokens.slice(rows).filter((token) => token !== undefined)
    if (tokens.some((token, id) => id >= rows && token !== undefined && types[id] !== TOKEN.control && types[id] !== TOKEN.user)) {
      throw new NibbleError('E_FORMAT', `the tokenizer has ${tokens.length} tokens, but the embedding has ${rows} rows: they do not belong together`)
    }
    notes.push(`the embedding has no rows for ${beyond.map((token) => JSON.stringify(token)).join(', ').slice(0, 300)}: left out`)
    types.length = rows
    if (scores) scores.length = rows
  }
  tokens.length = rows
}
