/* global w */
// nibble-llm/web: the engine in a worker gives what js/index.js gives in Node, from every kind of source, and nothing goes wrong quietly.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { before, describe, test } from 'node:test'
import * as nibble from '../../js/index.js'
import { headersFor } from '../../demo/server.mjs'
import { shared } from '../js/shared.js'
import { pieces, sendSlowly } from '../js/server.js'
import { tinyModel } from '../js/tiny-model.js'
import { openPage, until } from './browser.js'

const MODEL = /** @type {any} */ ({ type: 'Q4_0', n_layers: 2, n_vocab: 384, n_ctx: 2048 })
const bytes = /** @type {Uint8Array} */ (tinyModel(MODEL))
const parts = /** @type {Uint8Array[]} */ (tinyModel({ ...MODEL, split: 3 }))
const { estimate, load, loadTokenizer } = nibble
const STORIES = shared('data/models/stories260K.gguf')
const SAMPLED = { prompt: [5, 77, 300, 12, 201, 66], max_tokens: 24, seed: 7, temperature: 0.9, ignore_eos: true }
const CHAT = { messages: [{ role: 'user', content: 'Hello world' }], max_tokens: 16, seed: 11, ignore_eos: true }

/** @param {string} script */
const workerScript = (script) => (/** @type {any} */ _, /** @type {import('node:http').ServerResponse} */ response) => {
  response.setHeader('content-security-policy', headersFor('/worker.js')['content-security-policy'])
  response.setHeader('content-type', 'text/javascript')
  response.end(script)
}
/** The worker, with something that happens when a completion is asked for. @param {string} what */
const faultyWorker = (what) => workerScript(`import '/worker.js'\naddEventListener('message', ({ data }) => { if (data.op === 'completions') { ${what} } })`)

let slowClosed = 0
/** @type {Record<string, import('../../demo/server.mjs').Handler>} */
const routes = {
  '/m.gguf': (_, response) => response.setHeader('content-length', bytes.length).end(bytes),
  '/stories.gguf': (_, response) => response.end(readFileSync(STORIES)),
  '/slow.gguf'(_, response) {
    response.on('close', () => slowClosed++)
    response.writeHead(200, { 'content-length': bytes.length })
    void sendSlowly(response, pieces(bytes, 10_000), 300_000)
  },
  '/page.gguf': (_, response) => response.end('<!doctype html><html lang="en"><title>not found</title></html>'),
  ...Object.fromEntries(parts.map((part, i) => [`/split-0000${i + 1}-of-00003.gguf`, (/** @type {any} */ _, /** @type {any} */ response) => response.end(part)])),
  '/throws.js': faultyWorker("setTimeout(() => { throw new Error('boom') }, 20)"),
  '/closes.js': faultyWorker('close()'),
  // The first function of the engine that a generation calls traps.
  '/traps.js': workerScript(`import '/worker.js'
    const { instantiate } = WebAssembly
    WebAssembly.instantiate = async (...args) => {
      const { exports } = await instantiate(...args)
      return { exports: { ...exports, nbw_generation_new() { throw new WebAssembly.RuntimeError('unreachable') } } }
    }`),
  '/old.js': workerScript('postMessage({ hello: 0 })'),
}

/** @type {Awaited<ReturnType<typeof openPage>>} */ let opened
/** @type {import('playwright-core').Page} */ let page
/** @type {import('../../js/index.js').Completion} */ let expected
/** @type {import('../../js/index.js').ChatCompletion} */ let expectedChat
before(async () => {
  const model = await load(bytes, { variant: 'simd128' })
  expected = await model.completions.create(SAMPLED)
  expectedChat = await model.chat.completions.create(CHAT)
  await model.dispose()
  opened = await openPage({ path: 'empty', routes })
  page = opened.page
  await page.evaluate(async (sampled) => {
    const nibble = await import('/client.js')
    const w = window.w = window // the tests below call these helpers there
    w.SAMPLED = sampled
    w.load = (source, options) => nibble.load(source, { wasm: '/', ...options })
    w.estimate = (source, options) => nibble.estimate(source, { wasm: '/', ...options })
    w.loadTokenizer = (source) => nibble.loadTokenizer(source, { wasm: '/' })
    w.fetchBytes = async () => new Uint8Array(await (await fetch('/m.gguf')).arrayBuffer())
    w.tokens = async (source, options) => {
      const model = await w.load(source, options)
      const r = await model.completions.create(sampled)
      await model.dispose()
      return r.choices[0].tokens
    }
    /** What a promise rejects with, as plain data. */
    w.failure = async (promise) => {
      try {
        await promise
      } catch (error) {
        return { typed: error instanceof nibble.NibbleError, code: error.code, message: error.message, cause: error.cause?.message ?? error.cause }
      }
      return { code: 'none', message: 'it did not fail' }
    }
  }, SAMPLED)
})
describe('the same text as in Node', () => {
  for (const variant of ['simd128', 'relaxed']) {
    test(`with a seed, ${variant}`, async () => {
      const got = await page.evaluate(async (variant) => {
        const model = await w.load('/m.gguf', { variant })
        const r = await model.completions.create(w.SAMPLED)
        await model.dispose()
        return { r, variant: model.info.variant }
      }, variant)
      assert.equal(got.variant, variant)
      assert.deepEqual(got.r.choices, expected.choices)
      assert.deepEqual(got.r.usage, expected.usage)
      assert.equal(got.r.seed, 7)
    })
  }
  test('a chat, whole and as a stream', async () => {
    const got = await page.evaluate(async (chat) => {
      const model = await w.load('/m.gguf')
      const whole = await model.chat.completions.create(chat)
      const chunks = []
      for await (const chunk of await model.chat.completions.create({ ...chat, stream: true })) chunks.push(chunk)
      await model.dispose()
      return { whole, chunks }
    }, CHAT)
    assert.deepEqual(got.whole.choices, expectedChat.choices)
    const deltas = got.chunks
    assert.equal(deltas.length, CHAT.max_tokens)
    assert.equal(deltas.map((c) => c.choices[0].delta.content).join(''), expectedChat.choices[0].message.content)
    assert.equal(deltas[0].choices[0].delta.role, 'assistant')
    // Asked the second time, the conversation is there but for its last two tokens.
    const { prompt_tokens } = expectedChat.usage
    assert.deepEqual(got.chunks[got.chunks.length - 1].usage, { ...expectedChat.usage, prompt_tokens_details: { cached_tokens: prompt_tokens - 2 } })
  })
  test('embeddings', async () => {
    const input = ['Hello world', 'once upon a time']
    const model = await load(bytes, { variant: 'simd128', threads: 1 })
    const here = await model.embeddings.create({ input })
    await model.dispose()
    const there = await page.evaluate(async (input) => {
      const model = await w.load('/m.gguf', { variant: 'simd128' })
      const got = await model.embeddings.create({ input })
      await model.dispose()
      return got
    }, input)
    assert.deepEqual(there, here)
  })
  test('the story of a trained model, to the letter', { skip: existsSync(STORIES) ? false : `${STORIES} is missing` }, async () => {
    const story = /-t 0\.0\n([^`]*)\n```/.exec(readFileSync(shared('data/models/stories260K.md'), 'utf8'))?.[1]
    assert.ok(story && story.length > 500)
    for (const variant of ['simd128', 'relaxed']) {
      const text = await page.evaluate(async (variant) => {
        const model = await w.load('/stories.gguf', { variant })
        const r = await model.completions.create({ prompt: '', max_tokens: 256, temperature: 0 })
        await model.dispose()
        return r.choices[0].text
      }, variant)
      assert.equal(text.trim(), story)
    }
  })
})

describe('sources', () => {
  test('an address: from the page or absolute, and a URL', async () => {
    const got = await page.evaluate(async () => [await w.tokens('m.gguf'), await w.tokens(`${location.origin}/m.gguf`), await w.tokens(new URL('/m.gguf', location.href))])
    for (const tokens of got) assert.deepEqual(tokens, expected.choices[0].tokens)
  })
  test('File and Blob', async () => {
    const got = await page.evaluate(async () => {
      const bytes = await w.fetchBytes()
      return [await w.tokens(new File([bytes], 'm.gguf')), await w.tokens(new Blob([bytes.subarray(0, 1000), bytes.subarray(1000)]))]
    })
    for (const tokens of got) assert.deepEqual(tokens, expected.choices[0].tokens)
  })
  test('ArrayBuffer and view, which stay usable', async () => {
    const got = await page.evaluate(async () => {
      const bytes = await w.fetchBytes()
      const shifted = new Uint8Array(bytes.length + 3)
      shifted.set(bytes, 3)
      return [await w.tokens(bytes.buffer), await w.tokens(bytes.buffer), await w.tokens(shifted.subarray(3)), bytes.length]
    })
    assert.equal(got.pop(), bytes.length)
    for (const tokens of got) assert.deepEqual(tokens, expected.choices[0].tokens)
  })
  test('a Response, and a stream in pieces of odd sizes that share a buffer', async () => {
    const got = await page.evaluate(async () => {
      const bytes = await w.fetchBytes()
      let at = 0, size = 1
      const odd = new ReadableStream({
        pull(controller) {
          if (at >= bytes.length) return controller.close()
          controller.enqueue(bytes.subarray(at, at + size))
          at += size
          size = (size * 7 + 3) % 100_003
        },
      })
      return [await w.tokens(await fetch('/m.gguf')), await w.tokens(odd)]
    })
    for (const tokens of got) assert.deepEqual(tokens, expected.choices[0].tokens)
  })
  test('a split model: by the address of its first part, or all parts of different kinds', async () => {
    const got = await page.evaluate(async () => {
      const part = (i) => `/split-0000${i}-of-00003.gguf`
      return [await w.tokens(part(1)), await w.tokens([part(1), await fetch(part(2)), await (await fetch(part(3))).blob()])]
    })
    for (const tokens of got) assert.deepEqual(tokens, expected.choices[0].tokens)
  })
  test('progress ends at the whole, for the worker\'s sources and the page\'s', async () => {
    const all = await page.evaluate(async () => {
      const lists = []
      for (const source of ['/m.gguf', (await w.fetchBytes()).buffer]) {
        const seen = []
        const model = await w.load(source, { onProgress: (p) => seen.push(p) })
        await model.dispose()
        lists.push(seen)
      }
      return lists
    })
    for (const seen of all) {
      assert.ok(seen.length >= 1)
      assert.ok(seen.every((p, i) => p.loaded <= bytes.length && (i === 0 || p.loaded >= seen[i - 1].loaded)))
      assert.deepEqual([seen[seen.length - 1].loaded, seen[seen.length - 1].total], [bytes.length, bytes.length])
    }
  })
})

test('what onProgress throws ends the load, and the worker', async () => {
  const r = await page.evaluate(async () => {
    const mine = new RangeError('enough')
    return [await w.load('/m.gguf', { onProgress() { throw mine } }).catch((/** @type {any} */ error) => error === mine),
      await w.load(new ReadableStream({ pull: async (c) => c.enqueue((await w.fetchBytes()).subarray(0, 300_000)) }), { onProgress() { throw mine } }).catch((/** @type {any} */ error) => error === mine)]
  })
  assert.deepEqual(r, [true, true])
  await until(() => page.workers().length === 0, 'the workers are gone')
})

test('the same names as in js/index.js', async () => {
  const names = await page.evaluate(async () => Object.keys(await import('/client.js')))
  assert.deepEqual(names.sort(), Object.keys(nibble).sort())
})

test('everything else of the interface', async () => {
  const model = await load(bytes)
  const text = 'Hello world, said the little one.'
  const ids = model.tokenize(text)
  const tokenizer = await loadTokenizer(bytes)
  const wanted = {
    ids,
    bare: model.tokenize('a<|im_end|>', { parseSpecial: true }),
    text: model.detokenize(ids),
    logits: Array.from(await model.logits(ids)),
    score: await model.score(text),
    chat: await model.chat.completions.encode(CHAT.messages),
    prompt: model.tokenizer.encodePrompt(text),
    piece: tokenizer.piece(ids[0]),
    bytes: Array.from(tokenizer.bytes(ids[0])),
    kind: tokenizer.kind(tokenizer.eos),
    eog: [tokenizer.isEog(tokenizer.eos), tokenizer.isEog(ids[0])],
    specials: tokenizer.specials(),
    n_vocab: tokenizer.n_vocab,
    info: JSON.parse(JSON.stringify({ ...model.info, variant: '', sums: 0, threads: 0 })), // all three depend on the machine
    contextLength: model.contextLength,
  }
  const { memory_estimate, ...header } = await estimate(bytes, { contextLength: 128 })
  const got = await page.evaluate(async ({ text, messages }) => {
    const model = await w.load('/m.gguf')
    const tokenizer = await w.loadTokenizer('/m.gguf')
    const ids = await model.tokenize(text)
    const { memory_estimate, ...header } = await w.estimate('/m.gguf', { contextLength: 128 })
    const result = {
      ids,
      bare: await model.tokenize('a<|im_end|>', { parseSpecial: true }),
      text: await model.detokenize(ids),
      logits: Array.from(await model.logits(ids)),
      score: await model.score(text),
      chat: await model.chat.completions.encode(messages),
      prompt: await model.tokenizer.encodePrompt(text),
      piece: await tokenizer.piece(ids[0]),
      bytes: Array.from(await tokenizer.bytes(ids[0])),
      kind: await tokenizer.kind(tokenizer.eos),
      eog: [await tokenizer.isEog(tokenizer.eos), await tokenizer.isEog(ids[0])],
      specials: await tokenizer.specials(),
      n_vocab: tokenizer.n_vocab,
      info: JSON.parse(JSON.stringify({ ...model.info, variant: '', sums: 0, threads: 0 })), // all three depend on the machine
      contextLength: model.contextLength,
    }
    const memory = model.info.memory().wasm_bytes
    await model.dispose()
    tokenizer.dispose()
    return { result, header, memory_estimate, memory }
  }, { text, messages: CHAT.messages })
  assert.deepEqual(got.result, wanted)
  assert.deepEqual(got.header, JSON.parse(JSON.stringify(header)))
  assert.deepEqual(got.memory_estimate, memory_estimate)
  assert.equal(got.memory, model.info.memory().wasm_bytes)
  await model.dispose()
})

describe('cancelling', () => {
  test('a download: the connection is closed and the worker gone', async () => {
    for (const part of [0, 0.05, 0.5]) {
      const before = slowClosed
      const r = await page.evaluate(async (part) => {
        const controller = new AbortController()
        const reason = new Error('enough')
        const loading = w.load('/slow.gguf', { signal: controller.signal, onProgress: ({ loaded, total }) => { if (loaded >= part * total) controller.abort(reason) } })
        return w.failure(loading)
      }, part)
      assert.deepEqual({ typed: r.typed, code: r.code, cause: r.cause }, { typed: true, code: 'E_ABORTED', cause: 'enough' })
      await until(() => slowClosed === before + 1 && page.workers().length === 0, 'the connection and the worker are closed')
    }
  })
  test('before it begins, no worker starts', async () => {
    const r = await page.evaluate(() => w.failure(w.load('/m.gguf', { signal: AbortSignal.abort(new Error('no')) })))
    assert.deepEqual([r.code, r.cause], ['E_ABORTED', 'no'])
    assert.equal(page.workers().length, 0)
  })
  test('a stream of the page is cancelled', async () => {
    const r = await page.evaluate(async () => {
      const bytes = await w.fetchBytes()
      const controller = new AbortController()
      let given = 0, cancelled
      const gone = new Promise((resolve) => { cancelled = resolve })
      const source = new ReadableStream({
        async pull(c) {
          await new Promise((resolve) => setTimeout(resolve, 5))
          c.enqueue(bytes.slice(given, given += 20_000))
        },
        cancel: () => cancelled(true),
      })
      const failed = await w.failure(w.load(source, { signal: controller.signal, onProgress: ({ loaded }) => { if (loaded > 200_000) controller.abort() } }))
      return { failed, gone: await gone, given, size: bytes.length }
    })
    assert.equal(r.failed.code, 'E_ABORTED')
    assert.ok(r.gone && r.given < r.size)
  })
  test('a generation: by the signal, or by leaving the loop; then it goes on as ever', async () => {
    const r = await page.evaluate(async () => {
      const model = await w.load('/m.gguf')
      const long = { prompt: [5, 77, 300], ignore_eos: true, temperature: 0.9, seed: 3 }
      const controller = new AbortController()
      const stream = await model.completions.create({ ...long, stream: true, signal: controller.signal })
      let seen = 0
      const failed = await w.failure((async () => {
        for await (const _ of stream) if (++seen === 5) controller.abort(new Error('stop it'))
      })())
      const whole = new AbortController()
      setTimeout(() => whole.abort(), 30)
      const failedWhole = await w.failure(model.completions.create({ ...long, signal: whole.signal }))
      for await (const _ of await model.completions.create({ ...long, stream: true })) if (++seen >= 40) break
      const after = await model.completions.create(w.SAMPLED)
      await model.dispose()
      return { failed, failedWhole, seen, tokens: after.choices[0].tokens }
    })
    assert.deepEqual([r.failed.code, r.failed.cause, r.failedWhole.code], ['E_ABORTED', 'stop it', 'E_ABORTED'])
    assert.ok(r.seen < 400, `${r.seen} chunks were read`)
    assert.deepEqual(r.tokens, expected.choices[0].tokens)
  })
  test('the worker waits for a slow reader, who gets every chunk', async () => {
    const r = await page.evaluate(async () => {
      const model = await w.load('/m.gguf')
      const options = { prompt: [5, 77, 300], ignore_eos: true, temperature: 0.9, seed: 3, max_tokens: 700 }
      const whole = await model.completions.create(options)
      const stream = await model.completions.create({ ...options, stream: true })
      const tokens = []
      // While nobody reads on, the stream holds the model, as in js/: another request has to wait.
      for (let i = 0; i < 3; i++) tokens.push(...(await stream.next()).value.choices[0].tokens)
      let answered = false
      const other = model.completions.create(w.SAMPLED).then((r) => { answered = true; return r })
      await new Promise((resolve) => setTimeout(resolve, 1000))
      const early = answered
      for await (const chunk of stream) if (chunk.choices[0]) tokens.push(...chunk.choices[0].tokens)
      const last = await other
      await model.dispose()
      return { whole: whole.choices[0].tokens, tokens, early, last: last.choices[0].tokens }
    })
    assert.equal(r.early, false)
    assert.equal(r.tokens.length, 700)
    assert.deepEqual(r.tokens, r.whole)
    assert.deepEqual(r.last, expected.choices[0].tokens)
  })
})

describe('what goes wrong has a type and a sentence', () => {
  /** @param {string} name @param {() => Promise<any>} run @param {string} code @param {RegExp} message */
  const fails = (name, run, code, message) => test(name, async () => {
    const r = await page.evaluate(run)
    assert.equal(r.code, code, r.message)
    assert.match(r.message, message)
    assert.equal(r.typed, true)
  })
  fails('an address without a file', () => w.failure(w.load('/nothing.gguf')), 'E_NETWORK', /nothing\.gguf cannot be fetched: HTTP 404/)
  fails('a failed Response', async () => w.failure(w.load(await fetch('/nothing.gguf'))), 'E_NETWORK', /HTTP 404/)
  fails('no address', () => w.failure(w.load('http://')), 'E_ARGUMENT', /is not a URL/)
  fails('no model', () => w.failure(w.load('/page.gguf')), 'E_FORMAT', /not a GGUF file/)
  fails('headers that are none', () => w.failure(w.load('/m.gguf', { headers: { 'no name': 'x' } })), 'E_ARGUMENT', /headers/)
  fails('a misspelt option', () => w.failure(w.load('/m.gguf', { onprogress: true })), 'E_ARGUMENT', /no option 'onprogress'/)
  fails('no source', () => w.failure(w.load(17)), 'E_ARGUMENT', /a model is loaded from/)
  fails('a file cut short', async () => w.failure(w.load((await w.fetchBytes()).subarray(0, 300_000))), 'E_TRUNCATED', /ends after/)
  fails('a stream that breaks', () => w.failure(w.load(new ReadableStream({ pull() { throw new Error('the tape tore') } }))), 'E_NETWORK', /the tape tore/)
  fails('a fetch of the caller\'s own', () => w.failure(w.load('/m.gguf', { fetch })), 'E_ARGUMENT', /pass the Response/)
  fails('a missing engine', () => w.failure(w.load('/m.gguf', { wasm: '/elsewhere/' })), 'E_NETWORK', /engine .*elsewhere/)
  fails('a missing worker', () => w.failure(w.load('/m.gguf', { workerUrl: '/missing.js' })), 'E_NETWORK', /worker cannot be started.*workerUrl/)
  fails('a worker of another site', () => w.failure(w.load('/m.gguf', { workerUrl: 'https://example.org/worker.js' })), 'E_NETWORK', /worker cannot be started/)
  fails('a worker of another version', () => w.failure(w.load('/m.gguf', { workerUrl: '/old.js' })), 'E_UNSUPPORTED', /different versions/)
  test('of calls, which leave the model usable', async () => {
    const r = await page.evaluate(async () => {
      const model = await w.load('/m.gguf')
      const prompt = [5, 77, 300]
      const failures = [
        await w.failure(model.completions.create({ prompt, temprature: 1 })),
        await w.failure(model.completions.create({ prompt, stop: () => {} })),
        await w.failure(model.completions.create({ prompt: new Array(3000).fill(5) })),
        await w.failure(model.completions.create()),
        await w.failure(model.completions.create({ prompt: [99999], stream: true }).then((stream) => stream.next())),
        await w.failure(model.chat.completions.create({ messages: [], stream: true })),
        await w.failure(model.tokenize(5)),
        await w.failure(model.logits([])),
      ]
      const after = await model.completions.create(w.SAMPLED)
      await model.dispose()
      return { failures, tokens: after.choices[0].tokens }
    })
    assert.deepEqual(r.failures.map((f) => f.code), ['E_ARGUMENT', 'E_ARGUMENT', 'E_CONTEXT', 'E_ARGUMENT', 'E_ARGUMENT', 'E_ARGUMENT', 'E_ARGUMENT', 'E_ARGUMENT'])
    assert.match(r.failures[0].message, /temprature/)
    assert.match(r.failures[1].message, /cannot be sent to the worker/)
    assert.deepEqual(r.tokens, expected.choices[0].tokens)
  })
})

describe('the end of a worker', () => {
  test('dispose ends everything asked before and after, and the worker', async () => {
    const r = await page.evaluate(async () => {
      const model = await w.load('/m.gguf')
      const long = { prompt: [5, 77, 300], ignore_eos: true }
      const stream = await model.completions.create({ ...long, stream: true })
      await stream.next()
      const pending = [w.failure((async () => { for await (const _ of stream); })()), w.failure(model.completions.create(long)), w.failure(model.tokenize('x'))]
      await model.dispose()
      await model.dispose()
      return [...await Promise.all(pending), await w.failure(model.completions.create(long)), await w.failure(model.tokenize('x'))]
    })
    assert.deepEqual(r.map((f) => f.code), new Array(5).fill('E_DISPOSED'))
    await until(() => page.workers().length === 0, 'the worker is gone')
  })
  for (const [name, workerUrl, message] of /** @type {[string, string, RegExp][]} */ ([
    ['fails in its code', '/throws.js', /the worker failed: .*boom/],
    ['is ended by the browser', '/closes.js', /browser ended the worker/],
    ['traps in WebAssembly', '/traps.js', /the engine stopped in nbw_generation_new/],
  ])) {
    test(`a worker that ${name} rejects everything, at once and later`, async () => {
      const r = await page.evaluate(async (workerUrl) => {
        const model = await w.load('/m.gguf', { workerUrl })
        const long = { prompt: [5, 77, 300], ignore_eos: true }
        const failures = await Promise.all([
          w.failure(model.completions.create(long)),
          w.failure((async () => { for await (const _ of await model.completions.create({ ...long, stream: true })); })()),
          w.failure(model.score([5, 77, 300])),
        ])
        failures.push(await w.failure(model.tokenize('x')))
        await model.dispose()
        return failures
      }, workerUrl)
      for (const failure of r) {
        assert.equal(failure.code, 'E_INTERNAL', failure.message)
        assert.match(failure.message, message)
        assert.match(failure.message, /load the model again/)
      }
    })
  }
})

test('nothing was left, nothing complained', async () => {
  await until(() => page.workers().length === 0, 'every worker ended')
  // What the tests above provoke is on the console, too.
  assert.deepEqual(opened.complaints.filter((text) => !/\/(nothing\.gguf|elsewhere\/\S*|missing\.js|throws\.js)\)/.test(text)), [])
})
