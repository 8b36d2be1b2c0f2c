/* global w */
// Downloads that are kept, in Chromium: what tests/js/download.test.js claims of servers, of the private file system and of the Cache API; and the two
// workers as pages use them.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { before, describe, test } from 'node:test'
import { headersFor } from '../../demo/server.mjs'
import { BEHAVIOURS, flipped, misbehave } from '../js/misbehaving-server.js'
import { tinyModel } from '../js/tiny-model.js'
import { openPage, until } from './browser.js'
import { LARGE, killed, slowly } from './kills.mjs'

const bytes = /** @type {Uint8Array} */ (tinyModel({ type: 'Q4_0', n_layers: 2, n_vocab: 384, n_ctx: 512 }))
const sha256 = createHash('sha256').update(bytes).digest('hex')
const OTHER = createHash('sha256').update(flipped(bytes)).digest('hex')
const integrity = `sha256-${createHash('sha256').update(bytes).digest('base64')}`
const { handler, heal, served } = misbehave(bytes, sha256)

/** A worker of the caller's own, with the library in it and small chunks: see js/download.js. */
const WORKER = `
import { cache, load } from '/index.js'
import { open } from '/download.js'
const limits = { chunk: 32 << 10, segment: 2, streams: 3, tries: 4, delay: 2, patience: 500, stall: 500 }
const absolute = (url) => new URL(url, location.href)
/** The library's own way, with the limits. */
async function part(url, key, integrity) {
  const chunks = await open(absolute(url), key ?? true, 0, { limits, integrity })
  let rest = new Uint8Array(0)
  return {
    name: chunks.name, get size() { return chunks.size }, get from() { return chunks.from }, accept: chunks.accept, close: chunks.close,
    async read(view) {
      if (rest.length === 0) rest = await chunks.next() ?? rest
      const n = Math.min(rest.length, view.length)
      view.set(rest.subarray(0, n))
      rest = rest.subarray(n)
      return n
    },
  }
}
const operations = {
  async attempt(url, key, integrity) {
    try {
      const model = await load({ open: () => part(url, key, integrity) }, { wasm: location.origin, threads: 1, contextLength: 32 })
      await model.dispose()
      return 'right'
    } catch (error) {
      self.why = error.message; return error.name === 'NibbleError' ? error.code : String(error.stack)
    }
  },
  async fetchSome(url, key) {
    const chunks = await open(absolute(url), key, 0, { limits })
    for (let i = 0; i < 5; i++) await chunks.next()
    await chunks.close()
  },
  async kept(key) {
    const file = await cache.file(key)
    if (!file) return null
    return Array.from(new Uint8Array(await crypto.subtle.digest('SHA-256', await file.arrayBuffer())), (b) => b.toString(16).padStart(2, '0')).join('')
  },
  why: async () => self.why,
  list: () => cache.list(),
  delete: (key) => cache.delete(key),
}
onmessage = async ({ data: { id, op, args } }) => postMessage({ id, result: await operations[op](...args).catch((error) => String(error.stack)) })
`
/** Where there is no private file system. */
const WITHOUT_FILES = `delete FileSystemFileHandle.prototype.createSyncAccessHandle\nawait import('/own-worker.js')\npostMessage({ id: 0 })`

/** @param {string} text */
const script = (text) => (/** @type {any} */ _, /** @type {import('node:http').ServerResponse} */ response) => {
  response.setHeader('content-security-policy', headersFor('/fetch-worker.js')['content-security-policy'])
  response.setHeader('content-type', 'text/javascript')
  response.end(text)
}

const PLACES = [['files', '/own-worker.js'], ['the Cache API', '/without-files.js']]
/** @param {string} name @param {string} what */
const path = (name, what) => `/bad/${encodeURIComponent(`${name}~${what}`)}/file.gguf`
/** @type {Record<string, import('../../demo/server.mjs').Handler>} */
const routes = { '/own-worker.js': script(WORKER), '/without-files.js': script(WITHOUT_FILES), '/plain.gguf': handler }
for (const name of Object.keys(BEHAVIOURS)) for (const what of ['cold', 'resumed']) routes[path(name, what)] = routes[path('nothing wrong', name)] = handler
for (const [where] of PLACES) routes[path('nothing wrong', where)] = handler

const large = slowly(/** @type {Uint8Array} */ (tinyModel(/** @type {any} */ (LARGE))), '/large.gguf', 1e6)

/** @type {Awaited<ReturnType<typeof openPage>>} */ let opened
/** @type {import('playwright-core').Page} */ let page
/** Asks the worker. @param {string} op @param {...unknown} args @returns {Promise<any>} */
const ask = (op, ...args) => page.evaluate(([op, args]) => w.ask(op, args), /** @type {const} */ ([op, args]))

before(async () => {
  opened = await openPage({ path: 'empty', routes })
  page = opened.page
  await page.evaluate(() => {
    const w = window.w = window
    w.start = async (url) => {
      w.worker?.terminate()
      w.worker = new Worker(url, { type: 'module' })
      w.waiting = new Map()
      w.last = 0
      const ready = url === '/own-worker.js' ? undefined : new Promise((resolve) => w.waiting.set(0, resolve))
      w.worker.onmessage = ({ data: { id, result } }) => { w.waiting.get(id)?.(result); w.waiting.delete(id) }
      w.worker.onerror = (event) => console.error(`worker: ${event.message}`)
      await ready
    }
    w.ask = (op, args) => new Promise((resolve) => {
      w.waiting.set(++w.last, resolve)
      w.worker.postMessage({ id: w.last, op, args })
    })
  })
})

describe('whatever a server does', () => {
  before(() => page.evaluate(() => w.start('/own-worker.js')))
  // The short part takes every third: all are tried under Node.
  const some = Object.entries(BEHAVIOURS).filter((_, i) => process.env.NIBBLE_SHORT !== '1' || i % 3 === 0)
  for (const [name, { gives, resumed = gives, integrity: wants }] of some) {
    for (const [state, expected] of /** @type {const} */ ([['cold', gives], ['resumed', [...resumed, ...gives]]])) {
      test(`${name}: ${state}`, async () => {
        const url = path(name, state), key = `${name}, ${state}`
        if (state === 'resumed') assert.equal(await ask('fetchSome', path('nothing wrong', name), key), undefined)
        let got = await ask('attempt', url, key, wants ? integrity : undefined)
        if (got === 'right' && await ask('kept', key) === OTHER) {
          got = 'other'
          await ask('delete', key)
        }
        assert.ok(expected.includes(got), `${got} instead of ${expected}: ${await ask('why')}`)
        assert.equal(await ask('kept', key), got === 'right' ? sha256 : null)
        heal(`${name}~${state}`)
        let again = await ask('attempt', url, key)
        if (again === 'E_CHANGED') again = await ask('attempt', url, key)
        assert.equal(again, 'right')
        assert.equal(await ask('kept', key), sha256)
      })
    }
  }
})

for (const [where, url] of PLACES) {
  test(`${where} go on where they were, are listed, read without a request, and deleted`, async () => {
    await page.evaluate((url) => w.start(url), url)
    const file = path('nothing wrong', where), name = `nothing wrong~${where}`
    await ask('fetchSome', file, where)
    const [partly] = (await ask('list')).filter((/** @type {any} */ { key }) => key === where), requests = Number(served.get(name))
    assert.ok(!partly.complete && partly.bytes >= 5 * (32 << 10) && partly.total === bytes.length, JSON.stringify(partly))
    assert.equal(await ask('attempt', file, where), 'right')
    const fetched = Number(served.get(name))
    assert.ok(fetched - requests <= Math.ceil((bytes.length - partly.bytes) / (32 << 10)))
    assert.equal(await ask('attempt', file, where), 'right')
    assert.equal(served.get(name), fetched)
    assert.equal(await ask('kept', where), sha256)
    assert.equal(await ask('delete', where), true)
    assert.equal(await ask('delete', where), false)
  })
}

test('a page keeps a model, reads it without a request, and its worker with the engine reaches nobody', async () => {
  await page.evaluate(() => w.worker.terminate())
  const r = await page.evaluate(async () => {
    const { cache, load } = await import('/client.js')
    const once = async (/** @type {any} */ options) => {
      /** @type {Set<unknown>} */
      const from = new Set()
      const model = await load('/plain.gguf', { wasm: '/', threads: 1, cache: true, onProgress: (/** @type {any} */ p) => from.add(p.from), ...options })
      const text = (await model.completions.create({ prompt: [5, 77], max_tokens: 4, seed: 1 })).choices[0].tokens
      await model.dispose()
      return { from: [...from], text }
    }
    const key = `${location.origin}/plain.gguf`
    const first = await once({}), second = await once({}), named = await once({ cache: 'mine' })
    const listed = (await cache.list()).filter((/** @type {any} */ entry) => [key, 'mine'].includes(entry.key))
    const file = await cache.file(key), put = await cache.put(new File([file], 'put.gguf'))
    const fromFile = await once.call(null, {}).then(async () => {
      const model = await load(await cache.file('local:put.gguf'), { wasm: '/', threads: 1 })
      const text = (await model.completions.create({ prompt: [5, 77], max_tokens: 4, seed: 1 })).choices[0].tokens
      await model.dispose()
      return text
    })
    const usage = await cache.usage()
    const gone = [await cache.delete(key), await cache.delete('mine'), await cache.delete('local:put.gguf')]
    return { first, second, named, listed, put, fromFile, usage, gone, name: file.name }
  })
  assert.deepEqual([r.first.from, r.second.from, r.named.from], [['network'], ['cache'], ['network']])
  for (const text of [r.second.text, r.named.text, r.fromFile]) assert.deepEqual(text, r.first.text)
  assert.deepEqual(r.listed.map((/** @type {any} */ e) => [e.complete, e.sha256, e.total]), [[true, sha256, bytes.length], [true, sha256, bytes.length]])
  assert.deepEqual([r.put.key, r.put.sha256, r.name], ['local:put.gguf', sha256, 'plain.gguf'])
  assert.ok(r.usage.usage > 3 * bytes.length)
  assert.deepEqual(r.gone, [true, true, true])
  await until(() => page.workers().length === 0, 'the workers are gone')
})

test('tabs that load the same file fetch it once, also when the one that began is closed', async () => {
  const { context, server, complaints, close } = await openPage({ path: 'empty', routes: large.routes })
  const url = `${server.url}large.gguf`
  /** @param {string} name */
  const tab = async (name) => {
    const page = await context.newPage()
    page.on('pageerror', (error) => complaints.push(`${name}: ${error}`))
    await page.goto(`${server.url}empty`)
    await page.evaluate((url) => {
      const seen = window.seen = { loaded: 0, from: /** @type {Record<string, number>} */ ({}), text: /** @type {unknown} */ (undefined) }
      void import('/client.js').then(async ({ load }) => {
        const model = await load(url, { wasm: '/', threads: 1, contextLength: 32, cache: true, onProgress: (/** @type {any} */ { loaded, from }) => {
          seen.loaded = loaded
          seen.from[from] = (seen.from[from] ?? 0) + 1
        } })
        seen.text = (await model.completions.create({ prompt: [5, 77], max_tokens: 4, seed: 1 })).choices[0].tokens
        await model.dispose()
      }).catch((error) => { seen.text = String(error) })
    }, url)
    return page
  }
  const seen = (/** @type {import('playwright-core').Page} */ page) => page.evaluate(() => window.seen)
  const first = await tab('first')
  await until(async () => (await seen(first)).loaded > 2 << 20, 'the first tab loads')
  const others = [await tab('second'), await tab('third')]
  await until(async () => (await seen(first)).loaded > 6 << 20, 'the first tab goes on')
  assert.deepEqual((await Promise.all(others.map(seen))).map(({ loaded }) => loaded), [0, 0]) // they wait for it
  await first.close()
  large.speed = 20e6
  await until(async () => (await Promise.all(others.map(seen))).every(({ text }) => text !== undefined), 'the other tabs load', 60_000)
  const [second, third] = await Promise.all(others.map(seen))
  assert.ok(Array.isArray(second.text), String(second.text))
  assert.deepEqual(second.text, third.text)
  // One goes on where the closed one was, the other finds all of it.
  const networks = [second, third].filter(({ from }) => 'network' in from)
  assert.equal(networks.length, 1)
  assert.ok(networks[0].from.cache >= 1)
  assert.ok(large.sent() <= large.bytes.length + (8 << 20), `${large.sent()} bytes of ${large.bytes.length} were sent`)
  assert.deepEqual(complaints, [])
  await close()
})

test('killed in the middle, the file is right in the end, and no life costs more than 8 MiB', async (t) => {
  const { sha256, expected, worst, complaints } = await killed(5)
  t.diagnostic(`at most ${worst} bytes were fetched again`)
  assert.equal(sha256, expected)
  assert.ok(worst <= 8 << 20, `${worst}`)
  assert.deepEqual(complaints, [])
})
