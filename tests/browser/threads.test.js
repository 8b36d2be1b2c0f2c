// Threads in a page: nested workers over shared memory, where the page is isolated from others; one thread elsewhere.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { load } from '../../js/index.js'
import { tinyModel } from '../js/tiny-model.js'
import { openPage, until } from './browser.js'

const bytes = /** @type {Uint8Array} */ (tinyModel({ type: 'Q4_0', n_layers: 2, n_vocab: 384, n_ctx: 2048 }))
const SAMPLED = { prompt: [5, 77, 300, 12, 201, 66], max_tokens: 80, seed: 7, temperature: 0.9, ignore_eos: true }
const PLAIN = ['cross-origin-opener-policy', 'cross-origin-embedder-policy']
/** @type {Record<string, import('../../demo/server.mjs').Handler>} */
const routes = {
  '/m.gguf': (_, response) => response.end(bytes),
  // As an ordinary host would send it, without the headers that isolate.
  '/plain': (_, response) => {
    for (const name of [...PLAIN, 'content-security-policy']) response.removeHeader(name)
    response.setHeader('content-type', 'text/html')
    response.end('<!doctype html><html lang="en"><title>plain</title><link rel="icon" href="data:,">')
  },
}

/** @param {import('playwright-core').Page} page @param {object} options */
const tokens = (page, options) => page.evaluate(async ([options, sampled]) => {
  const { load } = await import(String('/client.js'))
  try {
    const model = await load('/m.gguf', { wasm: '/', ...options })
    const { choices } = await model.completions.create(sampled)
    const { threads } = model.info
    await model.dispose()
    return { threads, tokens: choices[0].tokens }
  } catch (/** @type {any} */ error) {
    return { code: error.code, message: error.message }
  }
}, /** @type {const} */ ([options, SAMPLED]))

const expected = async () => {
  const model = await load(bytes, { threads: 1 })
  const { choices } = await model.completions.create(SAMPLED)
  await model.dispose()
  return choices[0].tokens
}

test('the same tokens on 1, 2 and 4 threads, and as many as the page chooses', async () => {
  const { page, complaints, close } = await openPage({ path: 'empty', routes })
  const want = await expected()
  for (const threads of [1, 2, 4]) assert.deepEqual(await tokens(page, { threads }), { threads, tokens: want })
  const chosen = await tokens(page, {})
  assert.ok(/** @type {any} */ (chosen).threads >= 1)
  assert.deepEqual(/** @type {any} */ (chosen).tokens, want)
  await until(() => page.workers().length === 0, 'the workers and their threads are gone')
  assert.deepEqual(complaints, [])
  await close()
})

test('a page that is not isolated has one thread, the same tokens, and says why it has no more', async () => {
  const { page, close } = await openPage({ path: 'plain', routes })
  assert.equal(await page.evaluate(() => crossOriginIsolated), false)
  assert.deepEqual(await tokens(page, {}), { threads: 1, tokens: await expected() })
  const refused = /** @type {any} */ (await tokens(page, { threads: 2 }))
  assert.equal(refused.code, 'E_UNSUPPORTED')
  assert.match(refused.message, /COOP and COEP/)
  await close()
})
