// nibble-llm for browsers (dist/web/index.js): the engine on the thread that imports it, the page's or a worker's; and the quantizer (dist/web/quantize*.js).
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { before, describe, test } from 'node:test'
import { headersFor } from '../../demo/server.mjs'
import { load } from '../../js/index.js'
import { memorySink, quantize } from '../../js/quantize/index.js'
import { tinyModel } from '../js/tiny-model.js'
import { openPage } from './browser.js'

const bytes = /** @type {Uint8Array} */ (tinyModel({ type: 'Q4_0', n_vocab: 384 }))
const OPTIONS = { prompt: [5, 77, 300, 12], max_tokens: 16, seed: 7, ignore_eos: true }

/** The files of the package at their places in it. @type {Record<string, import('../../demo/server.mjs').Handler>} */
const packageRoutes = Object.fromEntries(['dist/web/client.js', 'dist/web/worker.js', 'dist/web/fetch-worker.js', 'dist/web/index.js', 'dist/web/download.js', 'dist/web/template.js', 'dist/web/team.js', 'dist/web/thread.js',
  'dist/web/quantize.js', 'dist/web/quantize-client.js', 'dist/web/quantize-worker.js',
  ...['simd128', 'relaxed', 'simd128-threads', 'relaxed-threads'].flatMap((name) => [`dist/nibble-${name}.wasm`, `dist/nibble-quantize-${name}.wasm`])].map((path) => [`/package/${path}`, (_, response) => {
  if (/worker|thread/.test(path)) response.setHeader('content-security-policy', headersFor(path.replace(/.*\//, '/'))['content-security-policy'])
  response.setHeader('content-type', path.endsWith('.js') ? 'text/javascript' : 'application/wasm')
  response.end(readFileSync(new URL(`../../${path}`, import.meta.url)))
}]))

/** @type {Awaited<ReturnType<typeof openPage>>} */ let opened
/** @type {number[]} */ let expected
/** @type {number[]} */ let expectedChat
before(async () => {
  const model = await load(bytes)
  expected = (await model.completions.create(OPTIONS)).choices[0].tokens
  expectedChat = await model.chat.completions.encode([{ role: 'user', content: 'Hello' }])
  await model.dispose()
  opened = await openPage({ path: 'empty', routes: {
    '/m.gguf': (_, response) => response.end(bytes),
    ...packageRoutes,
    '/own-worker.js'(_, response) {
      // It fetches by itself, as that of the quantizer does.
      response.setHeader('content-security-policy', headersFor('/quantize-worker.js')['content-security-policy'])
      response.setHeader('content-type', 'text/javascript')
      response.end(`import { load } from '/index.js'
        onmessage = async ({ data }) => {
          const model = await load('/m.gguf', { wasm: location.origin })
          const r = await model.completions.create(data)
          await model.dispose()
          postMessage(r.choices[0].tokens)
        }`)
    },
  } })
})

describe('the engine without a worker of its own', () => {
  test('on the page\'s thread', async () => {
    const tokens = await opened.page.evaluate(async (options) => {
      const { load } = await import('/index.js')
      const model = await load('/m.gguf', { wasm: location.origin })
      const r = await model.completions.create(options)
      await model.dispose()
      return r.choices[0].tokens
    }, OPTIONS)
    assert.deepEqual(tokens, expected)
  })
  test('in a worker of the page', async () => {
    const tokens = await opened.page.evaluate((options) => new Promise((resolve, reject) => {
      const worker = new Worker('/own-worker.js', { type: 'module' })
      worker.onmessage = ({ data }) => resolve(data)
      worker.onerror = (event) => reject(new Error(event.message))
      worker.postMessage(options)
    }), OPTIONS)
    assert.deepEqual(tokens, expected)
  })
  for (const entry of ['client.js', 'index.js']) {
    test(`the package as it is, without a bundler and without options: ${entry}`, async () => {
      const tokens = await opened.page.evaluate(async ({ options, entry }) => {
        const { load } = await import(`/package/dist/web/${entry}`)
        const model = await load('/m.gguf')
        const r = await model.completions.create(options)
        const chat = await model.chat.completions.encode([{ role: 'user', content: 'Hello' }])
        await model.dispose()
        return [r.choices[0].tokens, chat]
      }, { options: OPTIONS, entry })
      assert.deepEqual(tokens, [expected, expectedChat])
    })
  }
  test('the quantizer of the package, in its worker and on the page\'s thread, as under Node', async () => {
    const floats = /** @type {Uint8Array} */ (tinyModel({ type: 'F16', n_layers: 1, d_ff: 256, n_vocab: 384 })), sink = memorySink()
    await quantize(floats, sink, { type: 'Q4_K_M' })
    await opened.page.context().route('**/f16.gguf', (route) => route.fulfill({ body: Buffer.from(floats), contentType: 'application/octet-stream' }))
    const { inWorker, onPage, ...rest } = await opened.page.evaluate(async () => {
      const source = await (await fetch('/f16.gguf')).blob(), hash = async (/** @type {ArrayBuffer | Uint8Array<ArrayBuffer>} */ bytes) => [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))].join()
      const { openQuantizer, keptFiles, deleteKept } = await import('/package/dist/web/quantize-client.js')
      const quantizer = await openQuantizer(source)
      const { type, floats, threads } = quantizer.model
      const { file, kept } = await quantizer.quantize({ type: 'Q4_K_M' }, { name: 'tiny.gguf' })
      const inWorker = await hash(await file.arrayBuffer()), names = (await keptFiles()).map((/** @type {File} */ f) => f.name)
      await deleteKept('tiny.gguf')
      const refused = await quantizer.quantize({ type: 'Q4_K_M' }, { name: '../tiny.gguf' }).catch((/** @type {any} */ error) => error.code)
      quantizer.close()
      const library = await import('/package/dist/web/quantize.js'), sink = library.memorySink()
      await library.quantize(source, sink, { type: 'Q4_K_M' })
      return { type, floats, threads, kept, names, refused, inWorker, onPage: await hash(await sink.bytes()) }
    })
    const expected = [...createHash('sha256').update(await sink.bytes()).digest()].join()
    assert.deepEqual({ inWorker, onPage }, { inWorker: expected, onPage: expected })
    assert.deepEqual(rest, { type: 'F16', floats: true, threads: rest.threads, kept: true, names: ['tiny.gguf'], refused: 'E_ARGUMENT' })
    assert.ok(rest.threads >= 1)
  })
  test('nothing complained', () => assert.deepEqual(opened.complaints, []))
})
