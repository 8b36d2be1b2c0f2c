/* global w */
// nibble-llm/web in Chromium, Firefox and WebKitGTK: the essential part of client.test.js, which is more thorough and for Chromium alone. Every kind of source,
// what is said, stopping, keeping, and what goes wrong give the same in each of them.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { headersFor, serve } from '../../demo/server.mjs'
import { load } from '../../js/index.js'
import { memorySink, quantize } from '../../js/quantize/index.js'
import { pieces, sendSlowly } from '../js/server.js'
import { tinyModel } from '../js/tiny-model.js'
import { EMPTY_PAGE, EMPTY_POLICY, until } from './browser.js'
import { engines } from './engines.js'

const MODEL = /** @type {any} */ ({ type: 'Q4_0', n_layers: 2, n_vocab: 384, n_ctx: 2048 })
const bytes = /** @type {Uint8Array} */ (tinyModel(MODEL)), floats = /** @type {Uint8Array} */ (tinyModel({ type: 'F16', n_layers: 1, d_ff: 256, n_vocab: 384 }))
const parts = /** @type {Uint8Array[]} */ (tinyModel({ ...MODEL, split: 3 }))
const SAMPLED = { prompt: [5, 77, 300, 12, 201, 66], max_tokens: 24, seed: 7, temperature: 0.9, ignore_eos: true }
const CHAT = { messages: [{ role: 'user', content: 'Hello world' }], max_tokens: 16, seed: 11, ignore_eos: true }

/** What an engine lets the library use. */
const ABILITIES = {
  Chromium: { relaxed: true, threads: true, files: true },
  Firefox: { relaxed: true, threads: true, files: true },
  WebKitGTK: { relaxed: false, threads: false, files: false },
}

/**
 * What the page has for the functions below. It is the page's own script: Firefox runs what comes from outside in a place from which nothing can be imported.
 * @param {any} w  window @param {typeof import('../../web/client.js')} nibble @param {typeof SAMPLED} sampled @param {(path: string) => Promise<any>} importing
 */
async function setUp(w, nibble, sampled, importing) {
  Object.assign(w, { w, nibble, importing })
  w.load = (/** @type {any} */ source, /** @type {any} */ options) => nibble.load(source, { wasm: '/', ...options })
  w.bytes = new Uint8Array(await (await fetch('/m.gguf')).arrayBuffer())
  /** What a model says that is loaded from a source. @param {any} source @param {any} options */
  w.tokens = async (source, options) => {
    const model = await w.load(source, options), { choices } = await model.completions.create(sampled)
    await model.dispose()
    return choices[0].tokens
  }
  /** What a promise rejects with, as plain data. @param {Promise<unknown>} promise */
  w.failure = async (promise) => {
    try {
      await promise
    } catch (/** @type {any} */ error) {
      return { typed: error instanceof nibble.NibbleError, code: error.code, message: error.message, cause: error.cause?.message ?? error.cause }
    }
    return { code: 'none', message: 'it did not fail' }
  }
}

/** @param {Uint8Array} body @returns {import('../../demo/server.mjs').Handler} */
const gives = (body) => (_, response) => response.setHeader('content-length', body.length).end(body)
let slowClosed = 0
/** @type {Record<string, import('../../demo/server.mjs').Handler>} */
const routes = {
  '/start': (_, response) => response.setHeader('content-security-policy', EMPTY_POLICY).setHeader('content-type', 'text/html').end(`${EMPTY_PAGE}<script type="module" src="/start.js"></script>`),
  '/start.js': (_, response) => response.setHeader('content-type', 'text/javascript').end(`import * as nibble from '/client.js'
    ${setUp}
    await setUp(window, nibble, ${JSON.stringify(SAMPLED)}, (path) => import(path))
    document.title = 'ready'`),
  '/m.gguf': gives(bytes),
  '/f16.gguf': gives(floats),
  '/cut.gguf': gives(bytes.subarray(0, 300_000)),
  '/page.gguf': (_, response) => response.end('<!doctype html><html lang="en"><title>not found</title></html>'),
  '/slow.gguf'(_, response) {
    response.on('close', () => slowClosed++)
    response.writeHead(200, { 'content-length': bytes.length })
    void sendSlowly(response, pieces(bytes, 10_000), 300_000)
  },
  ...Object.fromEntries(parts.map((part, i) => [`/split-0000${i + 1}-of-00003.gguf`, gives(part)])),
  // The first function of the engine that a generation calls traps.
  '/traps.js'(_, response) {
    response.setHeader('content-security-policy', headersFor('/worker.js')['content-security-policy'])
    response.setHeader('content-type', 'text/javascript')
    response.end(`import '/worker.js'
      const { instantiate } = WebAssembly
      WebAssembly.instantiate = async (...args) => {
        const { exports } = await instantiate(...args)
        return { exports: { ...exports, nbw_generation_new() { throw new WebAssembly.RuntimeError('unreachable') } } }
      }`)
  },
}

/** What Node says. @type {import('../../js/index.js').Completion} */ let expected
/** @type {import('../../js/index.js').ChatCompletion} */ let expectedChat
/** @type {import('../../js/index.js').EmbeddingResult} */ let expectedEmbeddings
/** @type {string} */ let expectedHash
before(async () => {
  const model = await load(bytes, { variant: 'simd128', threads: 1 }), sink = memorySink()
  expected = await model.completions.create(SAMPLED)
  expectedChat = await model.chat.completions.create(CHAT)
  expectedEmbeddings = await model.embeddings.create({ input: ['Hello world', 'once upon a time'] })
  await model.dispose()
  await quantize(floats, sink, { type: 'Q4_K_M' })
  expectedHash = [...createHash('sha256').update(await sink.bytes()).digest()].join()
})

/** @type {any} */

for (const { name, skip, open } of engines) {
  describe(`the library in ${name}`, { skip }, () => {
    const can = ABILITIES[name]
    /** @type {import('./engines.js').Browser} */ let browser
    /** @type {Awaited<ReturnType<typeof serve>>} */ let server
    before(async () => {
      server = await serve({ model: null, routes })
      browser = await open()
      await browser.go(`${server.url}start`)
      await until(() => browser.evaluate(() => document.title === 'ready'), 'the page is ready')
    })
    after(async () => {
      await browser?.close()
      await server?.close()
    })

    test('the same tokens from every kind of source', async () => {
      const got = await browser.evaluate(async () => {
        const { bytes } = w
        let at = 0, size = 1
        const odd = new ReadableStream({
          pull(controller) {
            if (at >= bytes.length) return controller.close()
            controller.enqueue(bytes.slice(at, at += size))
            size = (size * 7 + 3) % 100_003
          },
        })
        const part = (/** @type {number} */ i) => `/split-0000${i}-of-00003.gguf`
        return {
          address: await w.tokens('m.gguf'), url: await w.tokens(new URL('/m.gguf', location.href)), file: await w.tokens(new File([bytes], 'm.gguf')),
          blob: await w.tokens(new Blob([bytes.subarray(0, 1000), bytes.subarray(1000)])), buffer: await w.tokens(bytes.buffer), response: await w.tokens(await fetch('/m.gguf')),
          stream: await w.tokens(odd), split: await w.tokens(part(1)), mixed: await w.tokens([part(1), await fetch(part(2)), await (await fetch(part(3))).blob()]),
        }
      })
      for (const [source, tokens] of Object.entries(got)) assert.deepEqual(tokens, expected.choices[0].tokens, source)
    })
    test('the same tokens from every variant that the engine has', async () => {
      const ran = await browser.evaluate(() => Promise.all(['simd128', 'relaxed'].map((variant) => w.tokens('/m.gguf', { variant }).catch((/** @type {any} */ error) => error.code))))
      assert.deepEqual(ran, [expected.choices[0].tokens, can.relaxed ? expected.choices[0].tokens : 'E_UNSUPPORTED'])
      assert.equal(await browser.evaluate(() => w.nibble.chooseVariant('auto')), can.relaxed ? 'relaxed' : 'simd128')
    })
    test('the same tokens from two threads, or one where there are none', async () => {
      const ran = await browser.evaluate(async (sampled) => {
        const model = await w.load('/m.gguf'), asked = await w.load('/m.gguf', { threads: 2 }).catch((/** @type {any} */ error) => error.code)
        const result = { auto: (await model.completions.create(sampled)).choices[0].tokens, threads: asked.info?.threads ?? asked, tokens: asked.info ? (await asked.completions.create(sampled)).choices[0].tokens : null }
        await Promise.all([model.dispose(), asked.dispose?.()])
        return result
      }, SAMPLED)
      const { tokens } = expected.choices[0]
      assert.deepEqual(ran, can.threads ? { auto: tokens, threads: 2, tokens } : { auto: tokens, threads: 'E_UNSUPPORTED', tokens: null })
    })
    test('a chat, whole, as a stream, and in a session that is saved and goes on', async () => {
      const got = await browser.evaluate(async (chat) => {
        const model = await w.load('/m.gguf'), whole = await model.chat.completions.create(chat)
        let streamed = ''
        for await (const chunk of await model.chat.completions.create({ ...chat, stream: true })) streamed += chunk.choices[0].delta.content ?? ''
        const { messages, ...options } = chat
        const session = model.session(), again = model.session()
        await session.append(messages)
        await again.restore(await session.save())
        const restored = await again.generate(options)
        await model.dispose()
        return { whole: whole.choices[0], streamed, restored: restored.choices[0].message.content }
      }, CHAT)
      const [choice] = expectedChat.choices
      assert.deepEqual(got, { whole: choice, streamed: choice.message.content, restored: choice.message.content })
    })
    test('the same vectors', async () => {
      const got = await browser.evaluate(async (input) => {
        const model = await w.load('/m.gguf', { variant: 'simd128' }), result = await model.embeddings.create({ input })
        await model.dispose()
        return result
      }, ['Hello world', 'once upon a time'])
      assert.deepEqual(got, expectedEmbeddings)
    })
    test('stopping: by the signal, and by leaving the loop; then it goes on as ever', async () => {
      const r = await browser.evaluate(async (sampled) => {
        const model = await w.load('/m.gguf'), long = { prompt: [5, 77, 300], ignore_eos: true, temperature: 0.9, seed: 3 }, controller = new AbortController()
        const stream = await model.completions.create({ ...long, stream: true, signal: controller.signal })
        let seen = 0
        const failed = await w.failure((async () => {
          for await (const _ of stream) if (++seen === 5) controller.abort(new Error('stop it'))
        })())
        for await (const _ of await model.completions.create({ ...long, stream: true })) if (++seen >= 40) break
        const { choices } = await model.completions.create(sampled)
        await model.dispose()
        return { failed, tokens: choices[0].tokens }
      }, SAMPLED)
      assert.deepEqual([r.failed.typed, r.failed.code, r.failed.cause], [true, 'E_ABORTED', 'stop it'])
      assert.deepEqual(r.tokens, expected.choices[0].tokens)
    })
    test('a cancelled download closes its connection', async () => {
      const before = slowClosed
      const r = await browser.evaluate(() => {
        const controller = new AbortController()
        return w.failure(w.load('/slow.gguf', { signal: controller.signal, onProgress: ({ loaded }) => { if (loaded > 100_000) controller.abort(new Error('enough')) } }))
      })
      assert.deepEqual([r.typed, r.code, r.cause], [true, 'E_ABORTED', 'enough'])
      const end = Date.now() + 10_000
      while (slowClosed === before && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 50))
      assert.equal(slowClosed, before + 1)
    })
    test('a model is kept, found, handed out and deleted', async () => {
      const r = await browser.evaluate(async () => {
        const from = async () => {
          const seen = new Set(), tokens = await w.tokens('/m.gguf', { cache: true, onProgress: (/** @type {any} */ { from }) => seen.add(from) })
          return { tokens, from: [...seen].join() }
        }
        const { cache } = w.nibble
        w.held = await caches.open('nibble-cache') // WebKitGTK, when it is driven, has caches in memory, and only while somebody has them open
        const loads = [await from(), await from()], listed = await cache.list(), [{ key }] = listed
        const put = await cache.put(new File([w.bytes], 'mine.gguf')), file = await cache.file(put.key)
        return {
          loads, listed: listed.map(({ name, bytes, complete }) => ({ name, bytes, complete })), exported: (await cache.export(key)).size, put: put.key, fromFile: await w.tokens(file),
          deleted: [await cache.delete(key), await cache.delete(put.key), await cache.delete(key)], left: (await cache.list()).length,
        }
      })
      const { tokens } = expected.choices[0]
      assert.deepEqual(r, {
        loads: [{ tokens, from: 'network' }, { tokens, from: 'cache' }], listed: [{ name: 'm.gguf', bytes: bytes.length, complete: true }], exported: bytes.length, put: 'local:mine.gguf',
        fromFile: tokens, deleted: [true, true, false], left: 0,
      })
    })
    test('the quantizer writes the same bytes as under Node, to a file where there are some', async () => {
      const { hash, kept } = await browser.evaluate(async () => {
        const { openQuantizer, deleteKept } = await w.importing('/quantize-client.js')
        const quantizer = await openQuantizer(await (await fetch('/f16.gguf')).blob(), { wasm: '/' }), { file, kept } = await quantizer.quantize({ type: 'Q4_K_M' }, { name: 'tiny.gguf' })
        const hash = [...new Uint8Array(await crypto.subtle.digest('SHA-256', await file.arrayBuffer()))].join()
        quantizer.close()
        if (kept) await deleteKept('tiny.gguf')
        return { hash, kept }
      })
      assert.deepEqual({ hash, kept }, { hash: expectedHash, kept: can.files })
    })
    test('the engine on the page\'s own thread', async () => {
      const tokens = await browser.evaluate(async (sampled) => {
        const { load } = await w.importing('/index.js'), model = await load('/m.gguf', { wasm: location.origin }), { choices } = await model.completions.create(sampled)
        await model.dispose()
        return choices[0].tokens
      }, SAMPLED)
      assert.deepEqual(tokens, expected.choices[0].tokens)
    })
    test('what goes wrong has a type and a sentence', async () => {
      const r = await browser.evaluate(async () => {
        const model = await w.load('/m.gguf'), long = { prompt: [5, 77, 300], ignore_eos: true }
        const failures = {
          missing: await w.failure(w.load('/nothing.gguf')),
          response: await w.failure(w.load(await fetch('/nothing.gguf'))),
          none: await w.failure(w.load('/page.gguf')),
          cut: await w.failure(w.load('/cut.gguf')),
          stream: await w.failure(w.load(new ReadableStream({ pull() { throw new Error('the tape tore') } }))),
          engine: await w.failure(w.load('/m.gguf', { wasm: '/elsewhere/' })),
          worker: await w.failure(w.load('/m.gguf', { workerUrl: '/missing.js' })),
          foreign: await w.failure(w.load('/m.gguf', { workerUrl: 'https://example.org/worker.js' })),
          aborted: await w.failure(w.load('/m.gguf', { signal: AbortSignal.abort(new Error('no')) })),
          option: await w.failure(model.completions.create({ prompt: [5], temprature: 1 })),
          unsendable: await w.failure(model.completions.create({ prompt: [5], stop: () => {} })),
          long: await w.failure(model.completions.create({ prompt: new Array(3000).fill(5) })),
        }
        const pending = [w.failure(model.completions.create(long)), w.failure(model.tokenize('x'))]
        await model.dispose()
        const [running, waiting] = await Promise.all(pending), disposed = await w.failure(model.completions.create(long))
        const broken = await w.load('/m.gguf', { workerUrl: '/traps.js' }), trap = await w.failure(broken.completions.create(long)), later = await w.failure(broken.tokenize('x'))
        await broken.dispose()
        return { ...failures, running, waiting, disposed, trap, later }
      })
      const wanted = {
        missing: ['E_NETWORK', /HTTP 404/], response: ['E_NETWORK', /HTTP 404/], none: ['E_FORMAT', /not a GGUF file/], cut: ['E_TRUNCATED', /ends after/], stream: ['E_NETWORK', /the tape tore/],
        engine: ['E_NETWORK', /elsewhere/], worker: ['E_NETWORK', /worker cannot be started/], foreign: ['E_NETWORK', /worker cannot be started/], aborted: ['E_ABORTED', /./],
        option: ['E_ARGUMENT', /temprature/], unsendable: ['E_ARGUMENT', /cannot be sent to the worker/], long: ['E_CONTEXT', /./], running: ['E_DISPOSED', /./], waiting: ['E_DISPOSED', /./],
        disposed: ['E_DISPOSED', /./], trap: ['E_INTERNAL', /the engine stopped in nbw_generation_new/], later: ['E_INTERNAL', /load the model again/],
      }
      for (const [what, [code, message]] of /** @type {[keyof typeof wanted, [string, RegExp]][]} */ (Object.entries(wanted))) {
        assert.deepEqual([what, r[what].typed, r[what].code], [what, true, code], r[what].message)
        assert.match(r[what].message, message, what)
      }
    })
  })
}
