// The quantizer in a worker of a page: the same file as under Node, from a File, with and without threads.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { before, describe, test } from 'node:test'
import { headersFor } from '../../demo/server.mjs'
import { memorySink, quantize } from '../../js/quantize/index.js'
import { tinyModel } from '../js/tiny-model.js'
import { openPage } from './browser.js'

const bytes = /** @type {Uint8Array} */ (tinyModel({ type: 'F16', n_layers: 1, d_ff: 256, n_vocab: 384, n_ctx: 64 }))
const TEXT = readFileSync(new URL('../vectors/text.txt', import.meta.url), 'utf8')
/** @type {Record<string, any>} */
const RUNS = { search: { type: 'Q4_K_M' }, gptq: { type: 'Q4_0', method: 'gptq', calibration: { text: TEXT, samples: 4, ctx: 32 } } }

/** The files of the package at their places in it. */
const packageRoutes = Object.fromEntries(['dist/web/quantize.js', 'dist/web/team.js', 'dist/web/thread.js',
  ...['simd128', 'relaxed', 'simd128-threads', 'relaxed-threads'].map((name) => `dist/nibble-quantize-${name}.wasm`)].map((path) => [`/package/${path}`,
  (/** @type {any} */ _, /** @type {import('node:http').ServerResponse} */ response) => {
    if (path.includes('thread.js')) response.setHeader('content-security-policy', headersFor('/thread.js')['content-security-policy'])
    response.setHeader('content-type', path.endsWith('.js') ? 'text/javascript' : 'application/wasm')
    response.end(readFileSync(new URL(`../../${path}`, import.meta.url)))
  }]))

/** @type {Awaited<ReturnType<typeof openPage>>} */ let opened
before(async () => {
  opened = await openPage({ path: 'empty', routes: {
    '/m.gguf': (_, response) => response.end(bytes),
    ...packageRoutes,
    '/own-worker.js'(_, response) {
      response.setHeader('content-security-policy', "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'")
      response.setHeader('content-type', 'text/javascript')
      response.end(`import { memorySink, quantize } from '/package/dist/web/quantize.js'
        onmessage = async ({ data: options }) => {
          const file = new File([await (await fetch('/m.gguf')).arrayBuffer()], 'picked.gguf')
          try {
            const sink = memorySink(), { threads, input } = await quantize(file, sink, options)
            const digest = await crypto.subtle.digest('SHA-256', await sink.blob().arrayBuffer())
            postMessage({ threads, input, hash: Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, '0')).join('') })
          } catch (error) {
            postMessage({ error: String(error) })
          }
        }`)
    },
  } })
})

describe('in a worker', () => {
  for (const [name, options] of Object.entries(RUNS)) {
    for (const threads of [1, 2]) {
      test(`${name}, ${threads} thread${threads > 1 ? 's' : ''}: the same file as under Node`, async () => {
        const sink = memorySink()
        await quantize(bytes, sink, { ...options, threads: 1 })
        const hash = createHash('sha256').update(await sink.bytes()).digest('hex')
        const result = await opened.page.evaluate((message) => new Promise((resolve, reject) => {
          const worker = new Worker('/own-worker.js', { type: 'module' })
          worker.onmessage = ({ data }) => resolve(data)
          worker.onerror = (event) => reject(new Error(event.message))
          worker.postMessage(message)
        }), { ...options, threads })
        assert.deepEqual(result, { threads, input: 'picked.gguf', hash })
      })
    }
  }
  test('nothing complained', () => assert.deepEqual(opened.complaints, []))
})
