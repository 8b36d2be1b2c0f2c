// The server of `npm start`: its headers, ranges and refusals; and the command itself.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { serve } from '../../demo/server.mjs'

const bytes = Uint8Array.from({ length: 1000 }, (_, i) => (i < 4 ? 'GGUF'.charCodeAt(i) : i & 255))

/** @type {string} */ let folder
/** @type {string} */ let file
/** @type {Awaited<ReturnType<typeof serve>>} */ let server
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-start-'))
  file = join(folder, 'a model.gguf')
  await writeFile(file, bytes)
  await writeFile(join(folder, 'index.html'), '<!doctype html><meta name="nibble-model" content="embedded.gguf">')
  for (const name of ['worker.js', 'style.css', 'nibble-simd128.wasm', 'empty.txt']) await writeFile(join(folder, name), name === 'empty.txt' ? '' : name)
  server = await serve({ model: file, folder })
})
after(async () => {
  await server.close()
  await rm(folder, { recursive: true })
})

/** A request as it is, without what fetch does to paths and headers. @param {string} path @param {{method?: string, headers?: Record<string, string>}} [options] */
const ask = (path, { method = 'GET', headers = {} } = {}) => new Promise((resolve, reject) => {
  http.request({ port: server.port, host: '127.0.0.1', path, method, headers }, (response) => {
    /** @type {Buffer[]} */
    const chunks = []
    response.on('data', (chunk) => chunks.push(chunk)).on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) }))
  }).on('error', reject).end()
})

describe('the server', () => {
  test('sends the headers that keep the page apart from all others, with everything', async () => {
    for (const path of ['/', '/worker.js', '/nibble-simd128.wasm', '/model.gguf', '/nothing']) {
      const { headers } = await ask(path)
      assert.equal(headers['cross-origin-opener-policy'], 'same-origin', path)
      assert.equal(headers['cross-origin-embedder-policy'], 'require-corp')
      assert.equal(headers['cross-origin-resource-policy'], 'same-origin')
      assert.equal(headers['referrer-policy'], 'no-referrer')
      assert.equal(headers['x-content-type-options'], 'nosniff')
      assert.match(headers['permissions-policy'], /camera=\(\), microphone=\(\)/)
      assert.match(headers['content-security-policy'], /^default-src 'none'; /)
    }
  })
  test('lets the page and the worker with the engine connect to nobody, and the one that fetches to the hosts of models', async () => {
    const page = (await ask('/')).headers['content-security-policy']
    assert.match(page, /connect-src 'none'/)
    assert.match(page, /require-trusted-types-for 'script'/)
    assert.doesNotMatch(page, /unsafe|blob:|data:|https:/)
    const worker = (await ask('/worker.js')).headers['content-security-policy']
    assert.match(worker, /connect-src 'none'/)
    assert.doesNotMatch(worker, /https?:/)
    const fetcher = (await ask('/fetch-worker.js')).headers['content-security-policy']
    assert.match(fetcher, /connect-src 'self' https:/)
    for (const policy of [worker, fetcher]) {
      assert.match(policy, /'wasm-unsafe-eval'/)
      assert.doesNotMatch(policy, /'unsafe-|blob:|data:/)
    }
  })
  test('knows the types of its files', async () => {
    for (const [path, type] of [['/', 'text/html; charset=utf-8'], ['/worker.js', 'text/javascript; charset=utf-8'], ['/style.css', 'text/css; charset=utf-8'],
      ['/nibble-simd128.wasm', 'application/wasm'], ['/model.gguf', 'application/octet-stream']]) {
      assert.equal((await ask(path)).headers['content-type'], type)
    }
  })
  test('names the model in the page', async () => {
    assert.match(String((await ask('/')).body), /<meta name="nibble-model" content="model.gguf" data-kept="no">/)
    const asking = await serve({ folder, model: null }), plain = await serve({ folder })
    try {
      assert.match(await (await fetch(asking.url)).text(), /<meta name="nibble-model" content="" data-kept="no">/)
      assert.match(await (await fetch(plain.url)).text(), /<meta name="nibble-model" content="embedded.gguf">/)
      assert.equal((await fetch(`${plain.url}model.gguf`)).status, 404)
    } finally {
      await asking.close()
      await plain.close()
    }
  })
  test('serves the parts of a split model, found by its first part', async () => {
    for (const i of [1, 2]) await writeFile(join(folder, `big-0000${i}-of-00002.gguf`), `part ${i}`)
    const split = await serve({ folder, model: join(folder, 'big-00001-of-00002.gguf') })
    assert.match(await (await fetch(split.url)).text(), /content="model-00001-of-00002.gguf"/)
    assert.equal(await (await fetch(`${split.url}model-00002-of-00002.gguf`)).text(), 'part 2')
    await split.close()
  })
  test('sends ranges of bytes', async () => {
    /** @type {[string, number, string | undefined, Uint8Array][]} */
    const cases = [
      ['bytes=0-0', 206, 'bytes 0-0/1000', bytes.subarray(0, 1)],
      ['bytes=10-19', 206, 'bytes 10-19/1000', bytes.subarray(10, 20)],
      ['bytes=990-', 206, 'bytes 990-999/1000', bytes.subarray(990)],
      ['bytes=990-5000', 206, 'bytes 990-999/1000', bytes.subarray(990)],
      ['bytes=-7', 206, 'bytes 993-999/1000', bytes.subarray(993)],
      ['bytes=-7000', 206, 'bytes 0-999/1000', bytes],
      ['bytes=1000-', 416, 'bytes */1000', bytes.subarray(0, 0)],
      ['bytes=-0', 416, 'bytes */1000', bytes.subarray(0, 0)],
      ['bytes=5-3', 416, 'bytes */1000', bytes.subarray(0, 0)],
      ['bytes=0-1,5-6', 200, undefined, bytes],
      ['lines=1-2', 200, undefined, bytes],
    ]
    for (const [range, status, contentRange, body] of cases) {
      const r = await ask('/model.gguf', { headers: { range } })
      assert.deepEqual([r.status, r.headers['content-range'], [...r.body]], [status, contentRange, [...body]], range)
    }
  })
  test('sends the whole where the range was of another file', async () => {
    const { etag } = (await ask('/model.gguf')).headers
    assert.equal((await ask('/model.gguf', { headers: { range: 'bytes=5-9', 'if-range': etag } })).status, 206)
    assert.equal((await ask('/model.gguf', { headers: { range: 'bytes=5-9', 'if-range': '"another"' } })).status, 200)
  })
  test('sends nothing again that the browser has', async () => {
    for (const path of ['/', '/worker.js', '/model.gguf']) {
      const { etag } = (await ask(path)).headers
      for (const held of [etag, `W/${etag}`, `"another", ${etag}`, '*']) {
        const r = await ask(path, { headers: { 'if-none-match': held } })
        assert.deepEqual([r.status, r.body.length, r.headers.etag], [304, 0, etag], `${path} ${held}`)
        assert.match(r.headers['content-security-policy'], /^default-src 'none'; /)
      }
      assert.equal((await ask(path, { headers: { 'if-none-match': '"another"' } })).status, 200)
    }
  })
  test('answers HEAD, and refuses to be written to', async () => {
    const r = await ask('/model.gguf', { method: 'HEAD' })
    assert.deepEqual([r.status, r.headers['content-length'], r.body.length], [200, '1000', 0])
    assert.equal((await ask('/', { method: 'HEAD' })).body.length, 0)
    const post = await ask('/', { method: 'POST' })
    assert.deepEqual([post.status, post.headers.allow], [405, 'GET, HEAD'])
    assert.equal((await ask('/empty.txt')).status, 200)
  })
  test('gives no other file', async () => {
    for (const path of ['/../package.json', '/%2e%2e/package.json', '/a%20model.gguf/../index.html', '//etc/passwd', '/nothing', '/toString', '/__proto__', '*']) {
      assert.equal((await ask(path)).status, 404, path)
    }
  })
  test('answers to the names of this machine only', async () => {
    assert.equal((await ask('/', { headers: { host: `localhost:${server.port}` } })).status, 200)
    assert.equal((await ask('/model.gguf', { headers: { host: 'evil.example' } })).status, 421)
  })
  test('takes the next port where one is in use', async () => {
    const next = await serve({ folder, port: server.port })
    assert.ok(next.port > server.port)
    await next.close()
  })
})

describe('npm start', () => {
  const script = fileURLToPath(new URL('../../demo/start.mjs', import.meta.url))
  /** @param {...string} args */
  const start = (...args) => spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  /** @param {...string} args @returns {Promise<{status: number, error: string}>} */
  const failure = (...args) => new Promise((resolve) => {
    const child = start(...args)
    let error = ''
    child.stderr.setEncoding('utf8').on('data', (text) => { error += text })
    child.on('close', (status) => resolve({ status: Number(status), error: error.trim() }))
  })

  test('says in a sentence what is wrong', async () => {
    const text = join(folder, 'index.html')
    for (const [args, sentence] of /** @type {[string[], RegExp][]} */ ([
      [[join(folder, 'missing.gguf')], /^✗ there is no file .*missing\.gguf$/],
      [[folder], /^✗ .* is a folder; name a \.gguf file$/],
      [[text], /^✗ .*index\.html is not a GGUF file$/],
      [['--port', 'many'], /^✗ --port must be a number up to 65535, not many/],
      [['--colour', 'red'], /^✗ Unknown option '--colour'/],
      [[file, file], /^✗ one model file at most, not 2/],
      [[file, '--choose'], /^✗ a model file or --choose, not both/],
    ])) {
      const { status, error } = await failure(...args)
      assert.equal(status, 1)
      assert.match(error, sentence)
    }
  })
  test('serves the page and the model; its last line is the address; it stops when told', async () => {
    const child = start(file, '--port', '0')
    let output = '', told = ''
    child.stderr.setEncoding('utf8').on('data', (text) => { told += text })
    await new Promise((resolve, reject) => {
      child.stdout.setEncoding('utf8').on('data', (text) => {
        output += text
        if (output.endsWith('/\n')) resolve(undefined)
      })
      child.on('close', () => reject(new Error(told)))
    })
    const url = output.trim().split('\n').pop() ?? ''
    assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/$/)
    assert.match(told, /serving a model\.gguf/)
    assert.match(told, /Ctrl\+C/)
    assert.match(await (await fetch(url)).text(), /<title>Nibble/)
    assert.equal((await (await fetch(`${url}model.gguf`)).arrayBuffer()).byteLength, 1000)
    const ended = new Promise((resolve) => child.on('close', resolve))
    child.kill('SIGTERM')
    assert.equal(await ended, 0)
  })
})
