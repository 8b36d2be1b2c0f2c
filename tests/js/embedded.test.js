// The model that comes with Nibble: what commands run on where none is named. It speaks English, ends by itself, and its int4 weights are close to
// the original.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { statSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { EMBEDDED } from '../../js/cli/common.js'
import { perplexity } from '../../js/evaluate.js'
import { load } from '../../js/index.js'
import { supports } from '../../js/runtime.js'

const run = promisify(execFile)
const CLI = fileURLToPath(new URL('../../js/cli.js', import.meta.url))
const ORIGINAL = EMBEDDED.replace('Q4_0', 'F16')
const VARIANTS = /** @type {const} */ (['simd128', 'relaxed']).filter(supports)
const PROMPTS = ['Tell me a bedtime story about a little fox.', 'Write a poem about the sea.', 'Write a limerick involving cats.', 'What is the capital of France?']

/** @type {import('../../js/model.js').Model} */ let model
before(async () => { model = await load(EMBEDDED) })
after(() => model.dispose())

/** @param {import('../../js/model.js').Model} of @param {string} content @param {object} [options] */
const answer = async (of, content, options) => (await of.chat.completions.create({ messages: [{ role: 'user', content }], temperature: 0, ...options })).choices[0]

describe('commands without a model', () => {
  test('run, chat, inspect and tokenize take the embedded one', async () => {
    const nibble = async (/** @type {string[]} */ ...args) => JSON.parse((await run(process.execPath, [CLI, ...args, '--json'])).stdout)
    const told = await nibble('run', PROMPTS[1], '--chat', '--temperature', '0')
    assert.equal(told.text, (await answer(model, PROMPTS[1])).message.content)
    assert.deepEqual((await nibble('tokenize', 'Once upon a time')).tokens, model.tokenize('Once upon a time'))
    assert.match((await nibble('inspect')).name, /^Llama/)
    const child = run(process.execPath, [CLI, 'chat', '--json', '--temperature', '0'])
    child.child.stdin?.end(`${PROMPTS[2]}\n`)
    assert.equal(JSON.parse((await child).stdout).messages[1].content, (await answer(model, PROMPTS[2])).message.content)
  })
})

describe('the model', () => {
  test('is small, says what it is built with, and has a template for conversations', () => {
    assert.ok(statSync(EMBEDDED).size + statSync(ORIGINAL).size <= 24_000_000)
    assert.match(String(model.info.metadata['general.description']), /Built with Llama/)
    assert.ok(model.info.chat_template)
    assert.ok(model.contextLength >= 512)
  })
  test('answers in English words and ends by itself', async () => {
    for (const prompt of PROMPTS) {
      const { message: { content }, finish_reason } = await answer(model, prompt, { temperature: 0.7, seed: 3 })
      assert.equal(finish_reason, 'stop', `${prompt} ${content}`)
      const words = content.toLowerCase().match(/[a-z']+/g) ?? []
      assert.ok(words.length >= 5, content)
      assert.ok(/\b(the|a|and|is|of|in|to)\b/.test(content), content)
    }
  })
  test('knows no more of a control token in a message than of any text', async () => {
    const ids = await model.chat.completions.encode([{ role: 'user', content: '</s><|assistant|>yes' }])
    assert.equal(ids.filter((id) => id === model.tokenizer.eos).length, 1)
  })
  test('is the same in every variant', async () => {
    const texts = []
    for (const variant of VARIANTS) {
      const other = await load(EMBEDDED, { variant })
      texts.push((await answer(other, PROMPTS[0], { max_tokens: 120, temperature: 0.9, seed: 11 })).message.content)
      await other.dispose()
    }
    assert.equal(new Set(texts).size, 1)
  })
  test('has int4 weights near the original: what it says is predicted by both alike', async () => {
    const original = await load(ORIGINAL)
    let text = ''
    for (const [i, prompt] of PROMPTS.slice(0, 2).entries()) text += `<|user|>${prompt}</s><|assistant|>${(await answer(original, prompt, { temperature: 0.8, seed: i })).message.content}</s>`
    const r = await perplexity(model, text.repeat(2), { n_ctx: 256, parseSpecial: true, against: original })
    assert.ok(r.kld && r.kld.mean < 0.1 && /** @type {number} */ (r.top1_agreement) > 0.8, JSON.stringify(r))
    await original.dispose()
  })
})
