// Tokenizers of Hugging Face folders: what becomes of them gives the tokens that the publishers' own programs give, and what no file can say is refused.
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { EMBEDDED } from '../../js/cli/common.js'
import { loadTokenizer } from '../../js/load.js'
import { openCheckpoint } from '../../js/quantize/checkpoint.js'
import { folderOfFiles } from '../../js/quantize/folder.js'
import { GgufWriter } from '../../js/quantize/gguf-writer.js'
import { readTokenizer } from '../../js/quantize/hf-tokenizer.js'
import { lookUp, pair } from '../../js/quantize/pairs.js'
import { memorySink } from '../../js/quantize/sinks.js'
import { PRE_TOKENIZERS, tokenizerFiles } from './hf-folder.js'
import { shared } from './shared.js'
import { tinyModel } from './tiny-model.js'

const VOCABULARIES = shared('data/vocab')
const names = existsSync(VOCABULARIES) ? readdirSync(VOCABULARIES).flatMap((file) => /^ggml-vocab-(.*)\.gguf$/.exec(file)?.[1] ?? []).filter((name) => name !== 'bert-bge') : []
const skip = names.length === 0 && `${VOCABULARIES} is not there`

/** @param {Record<string, any>} files */
const folderWith = (files) => folderOfFiles(Object.entries(files).filter(([, file]) => file !== undefined)
  .map(([name, file]) => ({ name, file: file instanceof Uint8Array ? file : new TextEncoder().encode(JSON.stringify(file)) })))

/** @param {Record<string, any>} files @param {number} rows @param {object} [configs] */
async function read(files, rows, configs = {}) {
  /** @type {string[]} */
  const notes = []
  return { pairs: await readTokenizer(folderWith(files), rows, configs, notes), notes }
}

/** A tokenizer that runs, of metadata alone. @param {import('../../js/quantize/pairs.js').Pair[]} pairs */
async function running(pairs) {
  const sink = memorySink()
  await new GgufWriter(sink, { pairs: [pair.string('general.architecture', 'llama'), ...pairs.filter(({ key }) => key.startsWith('tokenizer.'))], tensors: [] }).finish()
  return loadTokenizer(await sink.bytes())
}

/** @param {any} source */
async function pairsOf(source) {
  const checkpoint = await openCheckpoint(source)
  await checkpoint.close()
  return checkpoint.pairs
}

/** llama.cpp's test strings and the tokens that they must give. @param {string} name */
function casesOf(name) {
  const [texts, answers] = ['inp', 'out'].map((end) => join(name, end))
  if (!existsSync(answers)) return []
  const strings = readFileSync(texts, 'utf8').split('\n__ggml_vocab_test__\n'), lines = readFileSync(answers, 'utf8').split('\n')
  return strings.slice(0, lines.length - 1).map((text, i) => ({ text, ids: lines[i].trim() === '' ? [] : lines[i].trim().split(/\s+/).map(Number) }))
}
/** @param {string} name @param {string} end */
const join = (name, end) => `${VOCABULARIES}/ggml-vocab-${name}.gguf.${end}`

/** @param {import('../../js/tokenizer.js').Tokenizer} tokenizer @param {string} name */
function checkCases(tokenizer, name) {
  const cases = casesOf(name)
  for (const { text, ids } of cases) assert.deepEqual(tokenizer.encode(text, { addSpecial: false }), ids, JSON.stringify(text))
  return cases.length
}

const TEXT = 'Es war einmal… 12345 1/2 don\'t DON\'T we\'LL  \n\n\t  x = {a: [1, 2]};\r\n日本語 한국어 Ελληνικά العربية 🦊🏽 naïve cafe\u0301 ﬁ № ½ <s> </s> <|im_end|> <|endoftext|>        eight'

describe('real vocabularies, written as their publishers do', { skip }, () => {
  for (const name of names) {
    test(name, async () => {
      const pairs = await pairsOf(`${VOCABULARIES}/ggml-vocab-${name}.gguf`)
      const tokens = /** @type {string[]} */ (lookUp(pairs, 'tokenizer.ggml.tokens'))
      // Those of which only llama.cpp's name differs split text as their relatives do.
      const relatives = { stablelm2: 'qwen2', default: undefined }, pre = lookUp(pairs, 'tokenizer.ggml.pre')
      const known = pairs.map((p) => (p.key === 'tokenizer.ggml.pre' && typeof pre === 'string' && pre in relatives ? pair.string(p.key, relatives[/** @type {'stablelm2'} */ (pre)] ?? pre) : p))
      const made = await read(tokenizerFiles(known, { pairMerges: name !== 'gpt-2' && name !== 'llama-spm' }), tokens.length)
      if (pre !== 'default') assert.equal(lookUp(made.pairs, 'tokenizer.ggml.pre'), lookUp(known, 'tokenizer.ggml.pre'))
      const [a, b] = [await running(made.pairs), await running(pairs)]
      checkCases(a, name)
      for (const options of [{}, { addSpecial: false }, { parseSpecial: true }]) assert.deepEqual(a.encode(TEXT, options), b.encode(TEXT, options), JSON.stringify(options))
      assert.equal(a.eos, b.eos)
    })
  }
  const real = { gpt2: 'gpt-2', llama2: 'llama-spm' }
  for (const [folder, name] of Object.entries(real)) {
    const file = shared(`data/tokenizers/${folder}/tokenizer.json`)
    test(`the publisher's own tokenizer.json: ${folder}`, { skip: !existsSync(file) && `${file} is not there` }, async () => {
      const original = await pairsOf(`${VOCABULARIES}/ggml-vocab-${name}.gguf`)
      const { pairs } = await read({ 'tokenizer.json': readFileSync(file) }, folder === 'gpt2' ? 50257 : 32000)
      const [a, b] = [await running(pairs), await running(original)]
      assert.ok(checkCases(a, name) >= 40)
      assert.deepEqual(a.encode(TEXT), b.encode(TEXT))
      const book = readFileSync(shared('data/text/wiki.test.raw'), 'utf8').slice(0, 200_000)
      assert.deepEqual(a.encode(book), b.encode(book))
    })
  }
})

describe('ways to split text', () => {
  const tiny = async () => tokenizerFiles(await pairsOf(tinyModel({ n_layers: 1, d_model: 32, d_ff: 32, n_heads: 1, n_kv_heads: 1, head_dim: 32 })))
  /** @param {any} pre_tokenizer @param {object} [model] @param {object} [more] */
  const preOf = async (pre_tokenizer, model = {}, more = {}) => {
    const files = await tiny()
    Object.assign(files['tokenizer.json'], { pre_tokenizer, ...more })
    Object.assign(files['tokenizer.json'].model, model)
    return lookUp((await read(files, 512)).pairs, 'tokenizer.ggml.pre')
  }
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, use_regex: false }
  const sequence = (/** @type {string} */ regex, more = {}) => ({ type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false, ...more }, byteLevel] })
  const qwen2 = PRE_TOKENIZERS.qwen2.steps, regex = /** @type {any} */ (qwen2[0]).pattern.Regex

  test('each has its name', async () => {
    for (const [name, { steps, whole = false }] of Object.entries(PRE_TOKENIZERS)) {
      assert.equal(await preOf(steps.length === 1 ? steps[0] : { type: 'Sequence', pretokenizers: steps }, { ignore_merges: whole }), name)
    }
  })
  test('other spellings of the same expression are recognised', async () => {
    const spellings = [regex.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?i:[sdmt]|ll|ve|re)"), regex.replace(']?', ']?+').replace('\\p{N}]+[', '\\p{N}]++['), regex.replaceAll('\\r\\n', '\r\n'),
      regex.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])")]
    for (const spelling of spellings) {
      assert.notEqual(spelling, regex)
      assert.equal(await preOf(sequence(spelling)), 'qwen2', spelling)
    }
    assert.equal(await preOf(sequence(regex, { behavior: 'Removed', invert: true })), 'qwen2')
  })
  test('ignore_merges counts only where the merges do not make every token', async () => {
    const pre = { type: 'Sequence', pretokenizers: qwen2 }, vocab = { a: 0, b: 1, c: 2, ab: 3, abc: 4 }, merges = [['a', 'b'], ['ab', 'c']]
    assert.equal(await preOf(pre, { ignore_merges: true, vocab, merges }), 'qwen2')
    await assert.rejects(preOf(pre, { ignore_merges: true, vocab: { ...vocab, bc: 5 }, merges: [['b', 'c'], ...merges] }), { code: 'E_UNSUPPORTED', message: /as qwen2 does, but with ignore_merges true/ })
  })
  /** @type {Record<string, [any, object, RegExp]>} */
  const refused = {
    'an unknown expression': [sequence('\\w+|\\s'), {}, /the way it splits text/],
    'an expression that differs a little': [sequence(regex.replace('\\p{N}|', '\\p{N}{1,2}|')), {}, /the way it splits text/],
    'two steps that each are known': [{ type: 'Sequence', pretokenizers: [...qwen2, ...PRE_TOKENIZERS['gpt-2'].steps] }, {}, /the way it splits text/],
    'what lies between matches': [sequence(regex, { invert: true }), {}, /the way it splits text/],
    'another kind of step': [{ type: 'Sequence', pretokenizers: [{ type: 'WhitespaceSplit' }, byteLevel] }, {}, /WhitespaceSplit/],
    'a space in front of bytes': [{ ...byteLevel, add_prefix_space: true }, {}, /add_prefix_space/],
    'text changed before': [{ type: 'Sequence', pretokenizers: qwen2 }, { normalizer: { type: 'Lowercase' } }, /normalizer "Lowercase"/],
    'neither bytes nor a fallback to them': [null, {}, /ByteLevel.*byte_fallback/],
  }
  for (const [what, [pre, more, message]] of Object.entries(refused)) {
    test(`refused: ${what}`, () => assert.rejects(preOf(pre, {}, more), { name: 'NibbleError', code: 'E_UNSUPPORTED', message }))
  }
  test('refused: vocabularies of other kinds', async () => {
    for (const type of ['Unigram', 'WordPiece', 'WordLevel']) await assert.rejects(preOf(byteLevel, { type }), { code: 'E_UNSUPPORTED', message: new RegExp(`of the kind ${type}`) })
    await assert.rejects(preOf(byteLevel, { end_of_word_suffix: '</w>' }), { code: 'E_UNSUPPORTED', message: /end_of_word_suffix/ })
  })
})

describe('SentencePiece', () => {
  const rows = 512
  const spm = () => pairsOf(tinyModel({ vocab: 'spm', n_layers: 1, d_model: 32, d_ff: 32, n_heads: 1, n_kv_heads: 1, head_dim: 32, n_vocab: rows }))
  test('a Metaspace says whether a space is put in front', async () => {
    for (const [scheme, expected] of [['first', true], ['always', true], ['never', false]]) {
      const files = tokenizerFiles(await spm())
      Object.assign(files['tokenizer.json'], { normalizer: null, pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: scheme, split: false } })
      assert.equal(lookUp((await read(files, rows)).pairs, 'tokenizer.ggml.add_space_prefix'), expected)
    }
  })
  test('merges that no scores can stand for are refused', async () => {
    const missing = tokenizerFiles(await spm()), mixed = tokenizerFiles(await spm())
    missing['tokenizer.json'].model.merges.splice(3, 1)
    const list = mixed['tokenizer.json'].model.merges, ways = list.findIndex((/** @type {string[]} */ m, /** @type {number} */ i) => i > 0 && m.join('') === list[i - 1].join(''))
    list.push(...list.splice(ways, 1))
    await assert.rejects(read(missing, rows), { code: 'E_UNSUPPORTED', message: /1 tokens could also be made otherwise, the merges of 0 are mixed/ })
    await assert.rejects(read(mixed, rows), { code: 'E_UNSUPPORTED', message: /0 tokens could also be made otherwise, the merges of [1-9]\d* are mixed/ })
  })
  test('text that is changed before is refused', async () => {
    for (const normalizer of [{ type: 'NFKC' }, { type: 'Precompiled', precompiled_charsmap: 'AA' }, { type: 'Sequence', normalizers: [{ type: 'Strip' }] }]) {
      const files = tokenizerFiles(await spm())
      files['tokenizer.json'].normalizer = normalizer
      await assert.rejects(read(files, rows), { code: 'E_UNSUPPORTED', message: /a step before the vocabulary/ })
    }
  })
  test('tokenizer.model is read where there is no tokenizer.json', async () => {
    for (const source of [EMBEDDED, ...names.includes('llama-spm') ? [`${VOCABULARIES}/ggml-vocab-llama-spm.gguf`] : []]) {
      const pairs = await pairsOf(source), n = /** @type {string[]} */ (lookUp(pairs, 'tokenizer.ggml.tokens')).length
      const made = await read({ 'tokenizer.model': sentencePiece(pairs, {}), 'tokenizer_config.json': { bos_token: '<s>', eos_token: '</s>', add_bos_token: true } }, n)
      for (const key of ['tokens', 'scores', 'token_type']) assert.deepEqual(lookUp(made.pairs, `tokenizer.ggml.${key}`), lookUp(pairs, `tokenizer.ggml.${key}`), key)
      const [a, b] = [await running(made.pairs), await running(pairs)]
      assert.deepEqual(a.encode(TEXT, { parseSpecial: true }), b.encode(TEXT, { parseSpecial: true }))
    }
  })
  test('tokens that were added beside tokenizer.model', async () => {
    const files = { 'tokenizer.model': sentencePiece(await spm(), {}), 'added_tokens.json': { '<tool>': 512 }, 'tokenizer_config.json': { added_tokens_decoder: { 513: { content: '<|end|>', special: true } } } }
    const { pairs } = await read(files, 520)
    const [tokens, types] = ['tokens', 'token_type'].map((key) => /** @type {any[]} */ (lookUp(pairs, `tokenizer.ggml.${key}`)))
    assert.deepEqual([tokens.length, tokens.slice(512, 515), types.slice(512, 515)], [520, ['<tool>', '<|end|>', '[PAD514]'], [4, 3, 5]])
    await assert.rejects(read({ ...files, 'added_tokens.json': { '<tool>': 5 } }, 520), { code: 'E_FORMAT', message: /added token "<tool>" has the id 5/ })
  })
  test('tokenizer.model of other kinds is refused', async () => {
    await assert.rejects(spm().then((pairs) => read({ 'tokenizer.model': sentencePiece(pairs, { kind: 1 }) }, rows)), { code: 'E_UNSUPPORTED', message: /of the kind Unigram/ })
    await assert.rejects(spm().then((pairs) => read({ 'tokenizer.model': sentencePiece(pairs, { squeeze: 1 }) }, rows)), { code: 'E_UNSUPPORTED', message: /remove_extra_whitespaces/ })
  })
})

/** A SentencePiece model as Protocol Buffers. @param {import('../../js/quantize/pairs.js').Pair[]} pairs @param {{kind?: number, squeeze?: number}} options */
function sentencePiece(pairs, { kind = 2, squeeze = 0 }) {
  const get = (/** @type {string} */ key) => /** @type {any} */ (lookUp(pairs, `tokenizer.ggml.${key}`))
  const varint = (/** @type {number} */ n) => { const out = []; for (; n > 127; n = Math.floor(n / 128)) out.push(n % 128 + 128); return Buffer.from([...out, n]) }
  const field = (/** @type {number} */ id, /** @type {Buffer} */ bytes) => Buffer.concat([varint(id * 8 + 2), varint(bytes.length), bytes])
  const number = (/** @type {number} */ id, /** @type {number} */ n) => Buffer.concat([varint(id * 8), varint(n)])
  const [tokens, scores, types] = ['tokens', 'scores', 'token_type'].map(get)
  const pieces = tokens.map((/** @type {string} */ token, /** @type {number} */ i) => {
    const score = Buffer.alloc(5, 21)
    score.writeFloatLE(scores[i], 1)
    return field(1, Buffer.concat([field(1, Buffer.from(token)), score, ...(types[i] === 1 ? [] : [number(3, types[i])])]))
  })
  const normalizer = Buffer.concat([field(1, Buffer.from('identity')), number(3, get('add_space_prefix') === false ? 0 : 1), number(4, squeeze)])
  return new Uint8Array(Buffer.concat([...pieces, field(2, Buffer.concat([number(3, kind), number(35, 1)])), field(3, normalizer)]))
}
