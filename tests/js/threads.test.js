// Threads: the same tokens for any number of them, no thread left behind, and plain words where they cannot be had.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { load } from '../../js/index.js'
import { supports } from '../../js/runtime.js'
import { tinyModel } from './tiny-model.js'

const run = promisify(execFile)
const VARIANTS = /** @type {const} */ (['simd128', 'relaxed']).filter(supports)
const bytes = /** @type {Uint8Array} */ (tinyModel({ type: 'Q4_0', n_layers: 3, n_ctx: 512 }))

/** @param {import('../../js/model.js').Model} model @param {object} [options] */
const answer = async (model, options) => {
  const { choices } = await model.completions.create({ prompt: 'Once upon a time there was a word, '.repeat(4), max_tokens: 60, ignore_eos: true, seed: 3, ...options })
  return choices[0].tokens
}

describe('the same tokens', () => {
  for (const type of /** @type {const} */ (['Q4_0', 'Q4_K', 'Q8_0', 'F16'])) {
    test(`of ${type} on 1, 2, 3 and 5 threads, in every variant`, async () => {
      const file = /** @type {Uint8Array} */ (tinyModel({ type, n_layers: 2, n_ctx: 512 }))
      let want
      for (const variant of VARIANTS) {
        for (const threads of [1, 2, 3, 5]) {
          const model = await load(file, { variant, threads })
          assert.equal(model.info.threads, threads)
          const got = [await answer(model, { temperature: 0 }), await answer(model, { temperature: 1.3 })]
          want ??= got
          assert.deepEqual(got, want, `${variant}, ${threads} threads`)
          await model.dispose()
        }
      }
    })
  }
  test('with two models at work at once, one of them larger than the memory it began with', async () => {
    const [a, b] = await Promise.all([load(bytes, { threads: 2 }), load(/** @type {Uint8Array} */ (tinyModel({ type: 'F32', n_layers: 4, n_vocab: 4000 })), { threads: 3 })])
    const alone = await answer(a)
    const [again, other] = await Promise.all([answer(a), answer(b, { max_tokens: 20 })])
    assert.deepEqual(again, alone)
    assert.equal(other.length, 20)
    await a.dispose()
    await b.dispose()
  })
  test('after work was cancelled in the middle', async () => {
    const model = await load(bytes, { threads: 2 })
    const want = await answer(model)
    const controller = new AbortController()
    await assert.rejects(async () => {
      for await (const _ of await model.completions.create({ prompt: 'x', max_tokens: 400, ignore_eos: true, stream: true, signal: controller.signal })) controller.abort()
    }, { code: 'E_ABORTED' })
    assert.deepEqual(await answer(model), want)
    await model.dispose()
  })
})

describe('how many', () => {
  test('auto finds a number, and one is enough for a tiny model', async () => {
    const model = await load(bytes)
    assert.ok(Number.isInteger(model.info.threads) && model.info.threads >= 1)
    assert.equal((await answer(model)).length, 60)
    await model.dispose()
  })
  test('odd numbers of them are refused', async () => {
    for (const threads of [0, -1, 1.5, 65, NaN, '2']) await assert.rejects(load(bytes, { threads: /** @type {any} */ (threads) }), { code: 'E_ARGUMENT', message: /threads must be/ })
  })
})

describe('the end', () => {
  test('a process ends by itself, disposed of or not', async () => {
    for (const end of ['await model.dispose()', '']) {
      const code = `const { load } = await import(${JSON.stringify(new URL('../../js/index.js', import.meta.url).href)})
        const { tinyModel } = await import(${JSON.stringify(new URL('./tiny-model.js', import.meta.url).href)})
        const model = await load(tinyModel({ n_layers: 1 }), { threads: 3 }); ${end}; console.log('done')`
      const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], { timeout: 30_000 })
      assert.equal(stdout, 'done\n')
    }
  })
  test('a thread that traps stops the engine with a typed error', async () => {
    const model = await load(bytes, { threads: 2 })
    model.engine.call('nb_team_abandon', model.engine.team)
    await assert.rejects(answer(model), { code: 'E_INTERNAL' })
    await model.dispose()
  })
})
