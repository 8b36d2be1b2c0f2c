// `nibble serve`: the official client of OpenAI's interface gets what the library gives; hostile and clumsy clients get a status and a sentence,
// and hold up nobody.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import OpenAI from 'openai'
import { load } from '../../js/index.js'
import { serveModel } from '../../js/serve/server.js'
import { tinyModel } from './tiny-model.js'

const CLI = fileURLToPath(new URL('../../js/cli.js', import.meta.url))
const SHAPE = /** @type {any} */ ({ type: 'Q4_0', n_layers: 1, n_vocab: 384, n_ctx: 2048 })
const CHAT = /** @type {any} */ ({ messages: [{ role: 'user', content: 'Hello world' }], max_tokens: 12, seed: 3, ignore_eos: true })
/** More than a test waits for. */
const ENDLESS = { ...CHAT, max_tokens: 100_000, context_overflow: 'slide' }

/** @type {import('../../js/index.js').Model} */ let model
/** @type {Awaited<ReturnType<typeof serveModel>>} */ let server
/** @type {OpenAI} */ let client
before(async () => {
  model = await load(tinyModel(SHAPE), { variant: 'simd128', threads: 1 })
  server = await serveModel(model, { id: 'tiny', queue: 1 })
  client = clientOf(server.url)
})
after(async () => {
  await server.close()
  await model.dispose()
})

/** @param {string} url @param {object} [options] */
const clientOf = (url, options) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0, ...options })

/**
 * A request as bytes would say it.
 * @param {string} method @param {string} path
 * @param {{headers?: http.OutgoingHttpHeaders, body?: string | Buffer, to?: {port: number}}} [options]
 * @returns {Promise<{status: number, headers: http.IncomingHttpHeaders, text: string, json: any}>}
 */
function ask(method, path, { headers = {}, body, to = server } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port: to.port, method, path, headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers } }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (piece) => { text += piece }).on('end', () => {
        let json
        try { json = JSON.parse(text) } catch { /* a stream */ }
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json })
      })
    })
    request.on('error', reject)
    request.end(body)
  })
}

/** @param {any} body @param {string} [path] */
const post = (body, path = '/v1/chat/completions') => ask('POST', path, { body: typeof body === 'string' ? body : JSON.stringify(body) })

/** @param {() => boolean} holds @param {string} what */
async function until(holds, what) {
  const end = Date.now() + 10_000
  while (!holds()) {
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
const free = () => model.turns.line.length === 0

describe("OpenAI's client", () => {
  test('gets the answer that the library gives', async () => {
    const expected = await model.chat.completions.create(CHAT)
    const got = await client.chat.completions.create({ ...CHAT, model: 'tiny' })
    assert.deepEqual(got.choices, expected.choices)
    // The second is asked the same, and has most of it evaluated already.
    assert.deepEqual([got.model, got.object, { ...got.usage, prompt_tokens_details: undefined }], ['tiny', 'chat.completion', { ...expected.usage, prompt_tokens_details: undefined }])
    assert.ok((got.usage?.prompt_tokens_details?.cached_tokens ?? 0) > 0)
  })

  test('streams the same text, with the usage behind it only where asked for', async () => {
    const expected = await model.chat.completions.create(CHAT)
    for (const stream_options of [undefined, { include_usage: true }]) {
      const chunks = []
      for await (const chunk of await client.chat.completions.create({ ...CHAT, model: 'tiny', stream: true, stream_options })) chunks.push(chunk)
      assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join(''), expected.choices[0].message.content)
      assert.equal(chunks[0].choices[0].delta.role, 'assistant')
      const last = /** @type {any} */ (chunks.at(-1)), finished = chunks.filter((chunk) => chunk.choices[0]?.finish_reason)
      assert.deepEqual(finished.map((chunk) => chunk.choices[0].finish_reason), ['length'])
      if (stream_options) {
        assert.deepEqual([last.choices, last.usage], [[], expected.usage])
        assert.ok(chunks.slice(0, -1).every((chunk) => chunk.usage === null))
      } else assert.ok(chunks.every((chunk) => !('usage' in chunk) && chunk.choices.length === 1))
    }
  })

  test('reads text in parts, developers, max_completion_tokens and fields that ask for nothing', async () => {
    const plain = await client.chat.completions.create({ ...CHAT, model: 'tiny', messages: [{ role: 'system', content: 'ab' }, CHAT.messages[0]] })
    const { max_tokens, ...rest } = CHAT
    const same = await client.chat.completions.create({
      ...rest, model: 'tiny', messages: [{ role: 'developer', content: [{ type: 'text', text: 'a' }, { type: 'text', text: 'b' }] }, CHAT.messages[0]], max_completion_tokens: max_tokens,
      n: 1, tools: [], response_format: { type: 'text' }, user: 'me', store: false, metadata: {}, temperature: null,
    })
    assert.deepEqual(same.choices, plain.choices)
  })

  test('has log-probabilities of chats and, in their older form, of completions', async () => {
    const chat = await client.chat.completions.create({ ...CHAT, model: 'tiny', logprobs: true, top_logprobs: 2 })
    const content = chat.choices[0].logprobs?.content ?? []
    assert.deepEqual([content.length, content[0].top_logprobs.length], [12, 2])
    const completion = await client.completions.create(/** @type {any} */ ({ model: 'tiny', prompt: 'Hello', max_tokens: 4, logprobs: 2, seed: 1, ignore_eos: true }))
    const logprobs = /** @type {any} */ (completion.choices[0].logprobs)
    assert.deepEqual(['tokens', 'token_logprobs', 'top_logprobs', 'text_offset'].map((name) => logprobs[name].length), [4, 4, 4, 4])
  })

  test('completes text, whole and streamed', async () => {
    const options = /** @type {any} */ ({ model: 'tiny', prompt: 'Hello', max_tokens: 8, seed: 1, ignore_eos: true })
    const whole = await client.completions.create(options)
    let text = ''
    for await (const chunk of /** @type {any} */ (await client.completions.create({ ...options, stream: true }))) text += chunk.choices[0].text
    assert.equal(text, whole.choices[0].text)
    assert.equal(whole.usage?.completion_tokens, 8)
    assert.equal((await client.completions.create({ ...options, prompt: ['Hello'] })).choices[0].text, text)
  })

  test('gets embeddings, as numbers and in base64, which it asks for by itself', async () => {
    const expected = await model.embeddings.create({ input: ['Hello', 'world'] })
    for (const encoding_format of /** @type {const} */ ([undefined, 'float'])) {
      const got = await client.embeddings.create({ model: 'tiny', input: ['Hello', 'world'], encoding_format })
      assert.deepEqual(got.data.map(({ embedding }) => Array.from(embedding)), expected.data.map(({ embedding }) => embedding))
      assert.deepEqual([got.usage, got.model], [expected.usage, 'tiny'])
    }
  })

  test('lists the model and retrieves it', async () => {
    assert.deepEqual((await client.models.list()).data.map(({ id }) => id), ['tiny'])
    assert.equal((await client.models.retrieve('tiny')).object, 'model')
    await assert.rejects(client.models.retrieve('other'), (/** @type {any} */ error) => error instanceof OpenAI.NotFoundError && error.code === 'model_not_found')
  })

  for (const [what, more, status, param, code] of /** @type {[string, any, number, string | null, string | null][]} */ ([
    ['a model that is not here', { model: 'gpt-4o' }, 404, 'model', 'model_not_found'],
    ['tools', { tools: [{ type: 'function', function: { name: 'f' } }] }, 400, 'tools', 'unsupported_parameter'],
    ['a response_format', { response_format: { type: 'json_object' } }, 400, 'response_format', 'unsupported_parameter'],
    ['n above 1', { n: 2 }, 400, 'n', 'unsupported_value'],
    ['an image', { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] }, 400, 'messages', 'unsupported_value'],
    ['a misspelt field', { temprature: 1 }, 400, 'temprature', null],
    ['a temperature that is none', { temperature: 'hot' }, 400, 'temperature', null],
    ['max_completion_tokens below 0', { max_completion_tokens: -1, max_tokens: undefined }, 400, 'max_completion_tokens', null],
    ['no messages', { messages: [] }, 400, 'messages', null],
    ['a message without a role', { messages: [{ content: 'a' }] }, 400, 'messages', null],
    ['a prompt beyond the context', { messages: [{ role: 'user', content: 'Hello world '.repeat(2000) }] }, 400, 'messages', 'context_length_exceeded'],
    ['stream_options without a stream', { stream_options: { include_usage: true } }, 400, 'stream_options', null],
    ['an option of the library alone', { signal: {} }, 400, 'signal', null],
  ])) {
    for (const stream of [false, true]) {
      if (stream && more.stream_options) continue
      test(`is told by name of ${what}${stream ? ', in a stream' : ''}`, async () => {
        await assert.rejects(client.chat.completions.create({ model: 'tiny', ...CHAT, ...more, stream }), (/** @type {any} */ error) => {
          assert.ok(error instanceof OpenAI.APIError)
          assert.deepEqual([error.status, error.param, error.code, error.type], [status, param, code, 'invalid_request_error'])
          return true
        })
      })
    }
  }

  test('that aborts a stream, leaves it, or aborts while it waits frees the model at once', async () => {
    const controller = new AbortController()
    const stream = await client.chat.completions.create({ ...ENDLESS, model: 'tiny', stream: true }, { signal: controller.signal })
    const waiting = client.chat.completions.create({ ...CHAT, model: 'tiny' }, { signal: AbortSignal.timeout(50) })
    await assert.rejects(waiting, OpenAI.APIUserAbortError)
    let chunks = 0
    for await (const _ of /** @type {any} */ (stream)) if (++chunks === 3) controller.abort()
    await until(free, 'the aborted stream ends')
    for await (const _ of /** @type {any} */ (await client.chat.completions.create({ ...ENDLESS, model: 'tiny', stream: true }))) break
    await until(free, 'the stream that was left ends')
    await assert.rejects(client.chat.completions.create({ ...ENDLESS, model: 'tiny' }, { signal: AbortSignal.timeout(100) }), OpenAI.APIUserAbortError)
    await until(free, 'the answer that nobody waits for ends')
  })

  test('that comes while the line is full is told to come again', async () => {
    const holding = /** @type {any} */ (await client.chat.completions.create({ ...ENDLESS, model: 'tiny', stream: true }))
    const waiting = client.chat.completions.create({ ...CHAT, model: 'tiny' })
    await until(() => model.turns.line.length === 2, 'the second waits')
    const r = await post(CHAT)
    assert.deepEqual([r.status, r.json.error.code, r.headers['retry-after']], [429, 'queue_full', '1'])
    await assert.rejects(client.chat.completions.create({ ...CHAT, model: 'tiny' }), OpenAI.RateLimitError)
    holding.controller.abort()
    assert.equal((await waiting).choices.length, 1)
  })

  test('with an API key gets in, without it does not', async () => {
    const guarded = await serveModel(model, { id: 'tiny', apiKey: 'open sesame' })
    try {
      assert.equal((await clientOf(guarded.url, { apiKey: 'open sesame' }).models.list()).data.length, 1)
      await assert.rejects(clientOf(guarded.url, { apiKey: 'wrong' }).chat.completions.create({ ...CHAT, model: 'tiny' }), OpenAI.AuthenticationError)
      assert.equal((await ask('GET', '/v1/models', { to: guarded })).status, 401)
      assert.equal((await ask('GET', '/health', { to: guarded })).status, 200)
    } finally {
      await guarded.close()
    }
  })
})

describe('plain requests', () => {
  test('have no chance of being misread: statuses and sentences', async () => {
    for (const [method, path, status, more] of /** @type {[string, string, number, any?][]} */ ([
      ['GET', '/', 404], ['GET', '/v1/nothing', 404], ['GET', '/__proto__', 404], ['POST', '/v1/constructor', 404, { body: '{}' }], ['GET', '/v1/models/%E0%A4%A', 404],
      ['GET', '/v1/chat/completions', 405], ['DELETE', '/v1/models', 405], ['PUT', '/v1/embeddings', 405, { body: '{}' }],
      ['POST', '/v1/completions', 415, { body: 'prompt=a', headers: { 'content-type': 'application/x-www-form-urlencoded' } }],
      ['POST', '/v1/completions', 415, { body: '{}', headers: { 'content-type': 'text/plain' } }],
      ['POST', '/v1/completions', 415, { body: '{}', headers: { 'content-encoding': 'gzip' } }],
      ['POST', '/v1/completions', 400, { body: '' }], ['POST', '/v1/completions', 400, { body: '{' }], ['POST', '/v1/completions', 400, { body: '[]' }], ['POST', '/v1/completions', 400, { body: 'null' }],
      ['POST', '/v1/completions', 400, { body: Buffer.from([0x22, 0xff, 0x22]) }], ['POST', '/v1/completions', 400, { body: '{"__proto__":{"x":1}}' }],
      ['POST', '/v1/completions', 400, { body: '['.repeat(1e6) }], ['POST', '/v1/completions', 400, { body: `{"prompt":${'['.repeat(500)}${']'.repeat(500)}}` }],
      ['POST', '/v1/completions', 400, { body: '{"prompt":["a","b"]}' }], ['POST', '/v1/completions', 400, { body: '{"prompt":[1,9999]}' }], ['POST', '/v1/embeddings', 400, { body: '{"input":""}' }],
      ['POST', '/v1/completions', 400, { body: '{"prompt":"a","stream":"yes"}' }],
      ['POST', '/v1/completions', 413, { body: `"${'x'.repeat(5 << 20)}"` }], ['GET', '/health', 200], ['HEAD', '/v1/models', 200],
    ])) {
      const r = await ask(method, path, more)
      assert.equal(r.status, status, `${method} ${path} ${String(more?.body).slice(0, 40)}: ${r.text.slice(0, 200)}`)
      if (status === 405) assert.ok(r.headers.allow)
      if (status >= 400) assert.deepEqual(Object.keys(r.json.error), ['message', 'type', 'param', 'code'])
      assert.equal(r.headers['access-control-allow-origin'], undefined)
    }
  })

  test('a chunked body beyond the limit is cut off', async () => {
    const { status, closed } = await new Promise((resolve, reject) => {
      const request = http.request({ host: '127.0.0.1', port: server.port, method: 'POST', path: '/v1/completions', headers: { 'content-type': 'application/json' } })
      let status = 0
      request.on('response', (response) => { status = response.statusCode ?? 0; response.resume() })
      const piece = Buffer.alloc(1 << 20, 'x')
      const more = setInterval(() => request.write(piece), 5)
      request.on('error', () => {}).on('close', () => { clearInterval(more); resolve({ status, closed: true }) })
      setTimeout(() => reject(new Error('it goes on')), 8000).unref()
    })
    assert.deepEqual([status, closed], [413, true])
  })

  test('ends with [DONE] as server-sent events', async () => {
    const r = await post({ ...CHAT, stream: true })
    assert.match(r.headers['content-type'] ?? '', /^text\/event-stream/)
    assert.match(r.text, /^data: \{[^\n]*\}\n\n(data: \{[^\n]*\}\n\n)*data: \[DONE\]\n\n$/)
  })

  test('under a name that is not of this machine are refused: a page may have pointed it here', async () => {
    for (const host of ['evil.example', 'evil.example:8080', 'localhost.evil.example', '127.0.0.1.evil.example', '192.168.0.1']) assert.equal((await ask('GET', '/v1/models', { headers: { host } })).status, 421, host)
    for (const host of ['localhost', `localhost:${server.port}`, `127.0.0.1:${server.port}`, '[::1]:80', 'LOCALHOST']) assert.equal((await ask('GET', '/v1/models', { headers: { host } })).status, 200, host)
  })

  test('of pages are refused but for those of the origins that were named', async () => {
    const origin = 'http://localhost:3000'
    assert.equal((await ask('GET', '/v1/models', { headers: { origin } })).status, 403)
    assert.equal((await ask('OPTIONS', '/v1/chat/completions', { headers: { origin, 'access-control-request-method': 'POST' } })).status, 403)
    const open = await serveModel(model, { id: 'tiny', origins: [origin] })
    try {
      const preflight = await ask('OPTIONS', '/v1/chat/completions', { to: open, headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' } })
      assert.deepEqual([preflight.status, preflight.headers['access-control-allow-origin'], preflight.headers['access-control-allow-headers']], [204, origin, 'content-type'])
      assert.equal((await ask('GET', '/v1/models', { to: open, headers: { origin } })).headers['access-control-allow-origin'], origin)
      assert.equal((await ask('GET', '/v1/models', { to: open, headers: { origin: 'http://localhost:3001' } })).status, 403)
      assert.equal((await ask('GET', '/v1/models', { to: open, headers: { origin: 'null' } })).status, 403)
    } finally {
      await open.close()
    }
  })

  test('that are no HTTP get 400, and the server lives on', async () => {
    const text = await new Promise((resolve) => {
      const socket = net.connect(server.port, '127.0.0.1', () => socket.write('\x16\x03\x01 nonsense\r\n\r\n'))
      let got = ''
      socket.on('data', (piece) => { got += piece }).on('close', () => resolve(got)).on('error', () => {})
    })
    assert.match(text, /^HTTP\/1\.1 400 /)
    assert.equal((await ask('GET', '/health')).status, 200)
  })

  test('whose answer nobody reads lose their connection, and the model goes on to the next', async () => {
    const hasty = await serveModel(model, { id: 'tiny', patience: 100 })
    const body = JSON.stringify({ ...ENDLESS, stream: true, logprobs: true, top_logprobs: 20 }) // fills the buffers of the system soon
    const socket = net.connect(hasty.port, '127.0.0.1').on('error', () => {})
    try {
      socket.pause().write(`POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
      await until(() => !free(), 'it runs')
      assert.equal((await ask('POST', '/v1/chat/completions', { to: hasty, body: JSON.stringify(CHAT) })).status, 200)
    } finally {
      socket.destroy()
      await hasty.close()
    }
  })

  test('that a fault meets are told 500, and /health tells of an engine that has stopped', async () => {
    const broken = await load(tinyModel(SHAPE), { variant: 'simd128', threads: 1 })
    const faults = /** @type {unknown[]} */ ([])
    const it = await serveModel(broken, { id: 'tiny', onFault: (error) => faults.push(error) })
    try {
      broken.engine.exports = { ...broken.engine.exports, nbw_generation_step() { throw new WebAssembly.RuntimeError('unreachable') } }
      const r = await ask('POST', '/v1/chat/completions', { to: it, body: JSON.stringify({ ...CHAT, stream: true }) })
      assert.deepEqual([r.status, r.json.error.type, r.json.error.code, faults.length], [500, 'server_error', 'E_INTERNAL', 1])
      assert.equal((await ask('GET', '/health', { to: it })).status, 503)
    } finally {
      await it.close()
      await broken.dispose()
    }
  })
})

test('close() tells those who wait, and ends', async () => {
  const other = await serveModel(model, { id: 'tiny' })
  const streaming = ask('POST', '/v1/chat/completions', { to: other, body: JSON.stringify({ ...ENDLESS, stream: true }) })
  await until(() => model.turns.line.length === 1, 'it runs')
  const waiting = ask('POST', '/v1/chat/completions', { to: other, body: JSON.stringify(CHAT) })
  await until(() => model.turns.line.length === 2, 'the other waits')
  await other.close()
  assert.match((await streaming).text, /shutting down/)
  assert.equal((await waiting).status, 503)
  await assert.rejects(ask('GET', '/health', { to: other }), { code: /^ECONN(REFUSED|RESET)$/ })
  assert.ok(free())
})

describe('the command', () => {
  /** @type {string} */ let folder
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'nibble-serve-'))
    await writeFile(join(folder, 'small.gguf'), /** @type {Uint8Array} */ (tinyModel(SHAPE)))
  })
  after(() => rm(folder, { recursive: true }))

  /** @param {string[]} args */
  function start(args) {
    const child = spawn(process.execPath, [CLI, 'serve', join(folder, 'small.gguf'), '--threads', '1', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    const out = { text: '', errors: '' }
    child.stdout.on('data', (piece) => { out.text += piece })
    child.stderr.on('data', (piece) => { out.errors += piece })
    const status = new Promise((resolve) => child.on('exit', resolve))
    return { child, out, status }
  }

  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) {
    test(`prints the port that it chose, serves, and ends with status 0 on ${signal} in the middle of an answer`, async () => {
      const { child, out, status } = start(['--port', '0', '--json'])
      await until(() => out.text.endsWith('\n') || child.exitCode !== null, 'the server starts')
      const { url, port, model: id } = JSON.parse(out.text)
      assert.deepEqual([url, id], [`http://127.0.0.1:${port}`, 'small'])
      const stream = /** @type {any} */ (await clientOf(url).chat.completions.create({ ...ENDLESS, model: 'small', stream: true }))
      let chunks = 0
      const read = (async () => { for await (const _ of stream) if (++chunks === 2) child.kill(signal) })()
      await assert.rejects(read, /shutting down/)
      assert.equal(await status, 0, out.errors)
    })
  }

  test('says that a port is taken', async () => {
    const { out, status } = start(['--port', String(server.port)])
    assert.equal(await status, 1)
    assert.match(out.errors, /port \d+ is taken.*E_ARGUMENT/)
  })

  test('warns where other machines can reach it', async () => {
    const { child, out, status } = start(['--port', '0', '--host', '0.0.0.0'])
    await until(() => /Ctrl-C/.test(out.errors), 'the server starts')
    assert.match(out.errors, /reached from other machines; anybody there may use the model: set --api-key/)
    child.kill('SIGTERM')
    assert.equal(await status, 0)
  })
})
