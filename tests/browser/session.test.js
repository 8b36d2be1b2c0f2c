/* global w */
// Sessions over the worker's protocol give what they give in Node, and travel between the two; figures and options of completions are the same; a
// worker that traps, runs out of memory or is ended from outside fails all that waits, and the next load works.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { load } from '../../js/index.js'
import { tinyModel } from '../js/tiny-model.js'
import { trapping } from '../js/trapping-module.js'
import { openPage, until } from './browser.js'

const SHAPE = /** @type {any} */ ({ type: 'Q4_0', n_layers: 2, n_vocab: 384, n_ctx: 2048 })
const bytes = /** @type {Uint8Array} */ (tinyModel(SHAPE))
const SAMPLED = { max_tokens: 12, seed: 5, temperature: 1.1, ignore_eos: true }
const SYSTEM = 'You are the little one.'
const TRAPS = 'nbw_generation_step'

/** @type {Record<string, import('../../demo/server.mjs').Handler>} */
const routes = {
  '/m.gguf': (_, response) => response.end(bytes),
  // Keys and values of 2^20 tokens take 16 GiB.
  '/wide.gguf': (_, response) => response.end(tinyModel({ ...SHAPE, n_kv_heads: 32, n_heads: 32, head_dim: 64 })),
  ...Object.fromEntries(['simd128', 'relaxed', 'simd128-threads', 'relaxed-threads'].map((name) => [`/broken/nibble-${name}.wasm`, (/** @type {any} */ _, /** @type {any} */ response) => {
    response.setHeader('content-type', 'application/wasm')
    response.end(trapping(readFileSync(new URL(`../../dist/nibble-${name}.wasm`, import.meta.url)), TRAPS))
  }])),
}

/** @type {import('../../js/model.js').Model} */ let model
/** @type {Awaited<ReturnType<typeof openPage>>} */ let opened
/** @type {import('playwright-core').Page} */ let page
before(async () => {
  model = await load(bytes, { variant: 'simd128' })
  opened = await openPage({ path: 'empty', routes })
  page = opened.page
  await page.evaluate(async (sampled) => {
    const nibble = await import('/client.js')
    const w = window.w = window // the tests below call these helpers there
    w.SAMPLED = sampled
    w.load = (source, options) => nibble.load(source, { wasm: '/', ...options })
    w.said = (r) => r.choices[0].message.content
    w.failure = (promise) => promise.then(() => ({ code: 'none', message: 'it did not fail' }), (error) => ({ code: error.code, message: error.message }))
    w.read = async (stream) => {
      const chunks = []
      for await (const chunk of await stream) chunks.push(chunk)
      return chunks
    }
    /** Everything that may wait for a worker. */
    w.everything = (model, session) => {
      const long = { prompt: [5, 77, 300], ignore_eos: true, max_tokens: 1500 }, messages = [{ role: 'user', content: 'Hello' }]
      return [
        model.completions.create(long), w.read(model.completions.create({ ...long, stream: true })), model.chat.completions.create({ messages, max_tokens: 1500, ignore_eos: true }),
        session.append('x').then(() => session.generate({ max_tokens: 1500, ignore_eos: true })), w.read(model.session({ messages }).generate({ max_tokens: 1500, ignore_eos: true, stream: true })),
      ].map(w.failure)
    }
  }, SAMPLED)
})
after(() => model.dispose())

/** @param {import('../../js/index.js').ChatCompletion} r */
const said = (r) => r.choices[0].message.content

describe('a session', () => {
  test('says in a page what it says in Node, with the same counts', async () => {
    const here = model.session({ system: SYSTEM })
    const want = []
    for (const text of ['Hello world', 'She said that']) {
      await here.append(text)
      const { choices, usage } = await here.generate(SAMPLED)
      want.push({ choices, usage, length: here.length })
    }
    const got = await page.evaluate(async (system) => {
      const model = await w.load('/m.gguf'), session = model.session({ system })
      const answers = []
      for (const text of ['Hello world', 'She said that']) {
        await session.append(text)
        const { choices, usage } = await session.generate(w.SAMPLED)
        answers.push({ choices, usage, length: session.length })
      }
      const { messages, contextLength } = session
      const result = { answers, messages, contextLength, tokens: await session.tokens, measure: await session.measure('x') }
      await session.dispose()
      const after = [await w.failure(session.append('x')), session.length]
      await model.dispose()
      return { ...result, after: [after[0].code, after[1]] }
    }, SYSTEM)
    assert.deepEqual(got, {
      answers: want, messages: here.messages, contextLength: 2048, tokens: here.tokens, measure: await here.measure('x'), after: ['E_DISPOSED', 0],
    })
    await here.dispose()
  })
  test('is saved in a page and goes on in Node, and the other way', async () => {
    const here = model.session({ system: SYSTEM })
    await here.append('Hello world')
    await here.generate(SAMPLED)
    await here.append('and then')
    const saved = await here.save(), want = said(await here.generate(SAMPLED))
    const { text, there, refused } = await page.evaluate(async (saved) => {
      const model = await w.load('/m.gguf', { contextLength: 300 }), session = model.session()
      const bytes = new Uint8Array([0, ...saved]).subarray(1)
      await session.append('something else')
      const refused = await w.failure(session.restore(bytes.slice(0, -1)))
      const kept = session.messages.length
      await session.restore(bytes)
      const again = await session.save()
      const clone = await session.clone()
      const text = [w.said(await session.generate(w.SAMPLED)), w.said(await clone.generate(w.SAMPLED))]
      await model.dispose()
      return { text, there: Array.from(again), refused: [refused.code, kept] }
    }, Array.from(saved))
    assert.deepEqual(refused, ['E_TRUNCATED', 1])
    assert.deepEqual(text, [want, want])
    const back = model.session()
    await back.restore(Uint8Array.from(there))
    assert.equal(said(await back.generate(SAMPLED)), want)
    await Promise.all([here.dispose(), back.dispose()])
  })
  test('keeps what was said of a cancelled answer, and is usable', async () => {
    const r = await page.evaluate(async () => {
      const model = await w.load('/m.gguf'), session = model.session()
      await session.append('Hello')
      const controller = new AbortController()
      let text = '', n = 0
      const failed = await w.failure((async () => {
        for await (const { choices } of await session.generate({ ...w.SAMPLED, max_tokens: 1500, stream: true, signal: controller.signal })) {
          text += choices[0].delta.content
          if (++n === 8) controller.abort()
        }
      })())
      const after = session.messages.at(-1)
      await session.truncate(1)
      n = 0
      for await (const _ of await session.generate({ ...w.SAMPLED, max_tokens: 1500, stream: true })) if (++n === 8) break
      const left = session.messages.length
      await session.truncate(1)
      const answers = [w.said(await session.generate(w.SAMPLED)), w.said(await model.chat.completions.create({ ...w.SAMPLED, messages: [{ role: 'user', content: 'Hello' }] }))]
      await model.dispose()
      return { failed, text, after, left, answers }
    })
    assert.equal(r.failed.code, 'E_ABORTED')
    assert.deepEqual(r.after, { role: 'assistant', content: r.text })
    assert.equal(r.left, 2)
    assert.equal(r.answers[0], r.answers[1])
  })
  test('that cannot be is told by its first call', async () => {
    const r = await page.evaluate(async () => {
      const model = await w.load('/m.gguf')
      const failures = [await w.failure(model.session({ sytem: 'x' }).append('x')), await w.failure(model.session().generate({ n: 2 })), await w.failure(model.session().generate())]
      const sessions = []
      for (let failed; failed?.code !== 'E_NOMEM';) {
        const session = model.session({ contextLength: 2 ** 20 })
        failed = await w.failure(session.measure('x'))
        if (failed.code === 'none') sessions.push(session)
        if (sessions.length > 64) throw new Error('memory never ends')
      }
      await sessions[0].append('Hello')
      const text = w.said(await sessions[0].generate(w.SAMPLED))
      await model.dispose()
      return { failures: failures.map((f) => f.code), text, n: sessions.length }
    })
    assert.deepEqual(r.failures, ['E_ARGUMENT', 'E_UNSUPPORTED', 'E_ARGUMENT'])
    assert.ok(r.text && r.n >= 1)
  })
})

describe('completions', () => {
  test('tell of cached tokens, stop, seed and log-probabilities as in Node', async () => {
    const messages = [{ role: 'user', content: 'once upon a time there was a little word and '.repeat(60) }]
    const options = { ...SAMPLED, logprobs: true, top_logprobs: 2, stop: ['zzz', 'q'], stream_options: { include_usage: true } }
    const more = [...messages, { role: 'assistant', content: 'a' }, { role: 'user', content: 'Hello' }]
    /** Runs here and there. */
    const run = async (/** @type {any} */ { load, source, loadOptions, messages, more, options }) => {
      const model = await load(source, loadOptions)
      const whole = [await model.chat.completions.create({ messages, ...options }), await model.chat.completions.create({ messages: more, ...options })]
      const chunks = []
      for await (const chunk of await model.chat.completions.create({ messages: more, ...options, stream: true })) chunks.push(chunk)
      await model.dispose()
      return JSON.stringify([...whole, ...chunks].map(({ choices, usage, seed, timings }) => ({ choices, usage, seed, prompt_n: timings?.prompt_n })))
    }
    const want = JSON.parse(await run({ load, source: bytes, messages, more, options }))
    await page.context().route('**/run.js', (route) => route.fulfill({ body: `export const run = ${run}`, contentType: 'text/javascript' }))
    const got = JSON.parse(await page.evaluate(async (given) => {
      const { run } = await import(String('/run.js'))
      return run({ ...given, load: w.load, source: '/m.gguf' })
    }, { messages, more, options }))
    assert.deepEqual(got, want)
    assert.ok(want[0].usage.prompt_tokens > 1000 && want[1].prompt_n < 40, 'the second turn evaluates only what is new')
    assert.equal(want[1].usage.prompt_tokens_details.cached_tokens, want[1].usage.prompt_tokens - want[1].prompt_n)
    assert.deepEqual(want.at(-1).choices, [])
  })
  test('refuse what means nothing by name', async () => {
    const codes = await page.evaluate(async () => {
      const model = await w.load('/m.gguf'), messages = [{ role: 'user', content: 'x' }]
      const all = []
      for (const stream of [false, true]) {
        for (const options of [{ n: 2 }, { temprature: 1 }, { stop: [''] }, { seed: 0.5 }, { stream_options: { include_usage: 'yes' } }, { tools: [] }, { top_logprobs: 99 }]) {
          all.push((await w.failure(model.chat.completions.create({ messages, stream, ...options }))).code)
        }
      }
      await model.dispose()
      return all
    })
    const each = ['E_UNSUPPORTED', 'E_ARGUMENT', 'E_ARGUMENT', 'E_ARGUMENT', 'E_ARGUMENT', 'E_UNSUPPORTED', 'E_ARGUMENT']
    assert.deepEqual(codes, [...each, ...each])
  })
})

describe('the end of an engine, with much that waits', () => {
  /** A model loaded now works. */
  const works = () => page.evaluate(async () => {
    const model = await w.load('/m.gguf')
    const r = await model.completions.create({ prompt: 'Hello', max_tokens: 4, ignore_eos: true })
    await model.dispose()
    return r.usage.completion_tokens
  })

  test('a trap in WebAssembly', async () => {
    const failures = await page.evaluate(async () => {
      const model = await w.load('/m.gguf', { wasm: '/broken/' }), session = model.session()
      const failures = await Promise.all(w.everything(model, session))
      failures.push(await w.failure(model.tokenize('x')), await w.failure(session.save()), await w.failure(model.session().append('x')))
      await model.dispose()
      return failures
    })
    for (const { code, message } of failures) {
      assert.equal(code, 'E_INTERNAL', message)
      assert.match(message, new RegExp(`the engine stopped in ${TRAPS}; load the model again`))
    }
    assert.equal(await works(), 4)
  })
  test('a context for which there is no memory', async () => {
    const r = await page.evaluate(async () => [await w.failure(w.load('/wide.gguf', { contextLength: 2 ** 20 })), await w.failure(w.load('/wide.gguf', { contextLength: 2 ** 21 }))])
    assert.deepEqual(r.map(({ code }) => code), ['E_NOMEM', 'E_ARGUMENT'])
    assert.match(r[0].message, /ask for a shorter contextLength/)
    await until(() => page.workers().length === 0, 'the workers are gone')
    assert.equal(await works(), 4)
  })
  for (const [how, end] of /** @type {[string, () => Promise<unknown>][]} */ ([
    ['by the debugger', () => page.workers()[0].evaluate(() => self.close())],
    ['at once, whatever it does', () => page.evaluate(() => w.worker.terminate())],
  ])) test(`a worker that is ended from outside, ${how}`, async () => {
    await until(() => page.workers().length === 0, 'those of the tests before are gone')
    await page.evaluate(async () => {
      const { Worker } = window
      window.Worker = class extends Worker {
        constructor(url, options) {
          super(url, options)
          if (/\/worker\.js$/.test(String(url))) w.worker = this // not the one that fetches
        }
      }
      w.model = await w.load('/m.gguf', { threads: 1 })
      window.Worker = Worker
      w.session = w.model.session()
      w.pending = Promise.all(w.everything(w.model, w.session))
      await w.model.tokenize('x') // the worker is at work
    })
    assert.equal(page.workers().length, 1)
    await end()
    const failures = await page.evaluate(async () => {
      const failures = await w.pending
      failures.push(await w.failure(w.model.tokenize('x')), await w.failure(w.session.save()))
      await w.model.dispose()
      return failures
    })
    for (const { code, message } of failures) {
      assert.equal(code, 'E_INTERNAL', message)
      assert.match(message, /the browser ended the worker.*load the model again/)
    }
    assert.equal(await works(), 4)
  })
})

test('nothing was left, nothing complained', async () => {
  await until(() => page.workers().length === 0, 'every worker ended')
  assert.deepEqual(opened.complaints, [])
})
