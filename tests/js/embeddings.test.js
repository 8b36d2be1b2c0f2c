// model.embeddings: the numbers of a plain reference in numpy (tests/vectors/embeddings.json), the shape of OpenAI's, and what is refused.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { load } from '../../js/index.js'
import { tinyModel } from './tiny-model.js'

const { tokens, cases } = JSON.parse(readFileSync(new URL('../vectors/embeddings.json', import.meta.url), 'utf8'))

/** @param {ArrayLike<number>} a @param {ArrayLike<number>} b */
const dot = (a, b) => Array.from(a).reduce((sum, x, i) => sum + x * b[i], 0)

for (const { model: shape, embedding: expected } of cases) {
  test(`${shape.arch}, ${JSON.stringify(shape.metadata)}: the vector of the reference`, async () => {
    const model = await load(tinyModel(shape), { floatActivations: true })
    const { data, usage } = await model.embeddings.create({ input: tokens })
    await model.dispose()
    const embedding = /** @type {number[]} */ (data[0].embedding)
    assert.equal(embedding.length, expected.length)
    const worst = Math.max(...embedding.map((x, i) => Math.abs(x - expected[i])))
    assert.ok(worst < 2e-4, `${worst}`)
    assert.ok(Math.abs(dot(embedding, embedding) - 1) < 1e-6)
    assert.deepEqual(usage, { prompt_tokens: tokens.length, total_tokens: tokens.length })
  })
}

/** @type {import('../../js/index.js').Model} */
let model
before(async () => { model = await load(tinyModel({ n_layers: 1, n_vocab: 384, type: 'Q4_0', n_ctx: 256 })) })
after(() => model.dispose())

test('texts have the vectors of their tokens, each at its index', async () => {
  const texts = ['Hello world', 'once upon a time']
  const { object, data, model: name } = await model.embeddings.create({ input: texts })
  assert.deepEqual([object, name, data.map(({ index }) => index)], ['list', model.info.name, [0, 1]])
  const ids = await model.embeddings.create({ input: texts.map((text) => model.tokenize(text)) })
  assert.deepEqual(ids.data, data)
  assert.notDeepEqual(data[0].embedding, data[1].embedding)
})

test("base64 holds the same numbers as 'float'", async () => {
  const [float, base64] = await Promise.all(/** @type {const} */ (['float', 'base64']).map((encoding_format) => model.embeddings.create({ input: 'Hello', encoding_format })))
  const bytes = Buffer.from(/** @type {string} */ (base64.data[0].embedding), 'base64')
  const numbers = Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(i * 4))
  assert.deepEqual(numbers, float.data[0].embedding)
})

test('dimensions: the first ones, of length 1 again', async () => {
  const whole = /** @type {number[]} */ ((await model.embeddings.create({ input: 'Hello' })).data[0].embedding)
  const part = /** @type {number[]} */ ((await model.embeddings.create({ input: 'Hello', dimensions: 16 })).data[0].embedding)
  assert.equal(part.length, 16)
  assert.ok(Math.abs(dot(part, part) - 1) < 1e-6)
  assert.ok(Math.abs(dot(part, whole.slice(0, 16)) / Math.sqrt(dot(whole.slice(0, 16), whole.slice(0, 16))) - 1) < 1e-6)
})

for (const [what, options, code] of /** @type {[string, any, string][]} */ ([
  ['no input', {}, 'E_ARGUMENT'], ['an empty text', { input: '' }, 'E_ARGUMENT'], ['an empty array', { input: [] }, 'E_ARGUMENT'], ['an empty text among others', { input: ['a', ''] }, 'E_ARGUMENT'],
  ['a number', { input: 5 }, 'E_ARGUMENT'], ['a token outside of the vocabulary', { input: [1, 384] }, 'E_ARGUMENT'], ['2049 texts', { input: Array(2049).fill('a') }, 'E_ARGUMENT'],
  ['an odd encoding_format', { input: 'a', encoding_format: 'hex' }, 'E_ARGUMENT'], ['too many dimensions', { input: 'a', dimensions: 1e4 }, 'E_ARGUMENT'],
  ['a misspelt option', { input: 'a', dimension: 4 }, 'E_ARGUMENT'], ['more than the context holds', { input: Array(257).fill(1) }, 'E_CONTEXT'],
  ['a signal that has fired', { input: 'a', signal: AbortSignal.abort() }, 'E_ABORTED'],
])) test(`refuses ${what}`, () => assert.rejects(model.embeddings.create(options), { code }))

test('refuses a model whose pooling makes no vector of a text', async () => {
  const ranker = await load(tinyModel({ n_layers: 1, n_vocab: 384, metadata: [['llama.pooling_type', 4, 4]] }))
  await assert.rejects(ranker.embeddings.create({ input: 'a' }), { code: 'E_UNSUPPORTED' })
  await ranker.dispose()
})
