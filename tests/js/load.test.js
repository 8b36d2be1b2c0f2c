// Loading from every kind of source, what goes wrong on the way, and what is left when it does.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { estimate, load, loadTokenizer } from '../../js/index.js'
import { serve, sendSlowly, pieces } from './server.js'
import { tinyModel } from './tiny-model.js'

const bytes = /** @type {Uint8Array} */ (tinyModel({ type: 'Q4_0', n_layers: 2, n_vocab: 384 }))
const parts = /** @type {Uint8Array[]} */ (tinyModel({ type: 'Q4_0', n_layers: 2, n_vocab: 384, split: 3 }))
const sha256 = createHash('sha256').update(bytes).digest()
const PROMPT = [5, 77, 300, 12, 201, 66]

/** @type {string} */ let folder
/** @type {number[]} */ let expected
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-load-'))
  await writeFile(join(folder, 'model #1 %41.gguf'), bytes)
  await Promise.all(parts.map((part, i) => writeFile(join(folder, `split-0000${i + 1}-of-00003.gguf`), part)))
  expected = await greedy(bytes)
})
after(() => rm(folder, { recursive: true }))

/** @param {any} source @param {import('../../js/load.js').LoadOptions} [options] */
async function greedy(source, options) {
  const model = await load(source, options)
  const r = await model.completions.create({ prompt: PROMPT, max_tokens: 12, temperature: 0, ignore_eos: true })
  await model.dispose()
  return r.choices[0].tokens
}

/** A stream that gives its bytes in pieces of odd sizes. @param {Uint8Array} all */
function oddStream(all) {
  let at = 0, size = 1
  return new ReadableStream({
    pull(controller) {
      if (at >= all.length) return controller.close()
      controller.enqueue(all.slice(at, at + size))
      at += size
      size = (size * 7 + 3) % 100_003
    },
  })
}

/** @param {string} code @param {RegExp} message */
const fails = (code, message) => (/** @type {any} */ error) => {
  assert.equal(error.name, 'NibbleError')
  assert.equal(error.code, code, error.message)
  assert.match(error.message, message)
  return true
}

describe('sources', () => {
  test('a path, also with characters that mean something in URLs', async () => {
    assert.deepEqual(await greedy(join(folder, 'model #1 %41.gguf')), expected)
    assert.deepEqual(await greedy(pathToFileURL(join(folder, 'model #1 %41.gguf'))), expected)
  })
  test('ArrayBuffer, view, Blob, File, Response', async () => {
    const copy = bytes.slice()
    assert.deepEqual(await greedy(copy.buffer), expected)
    const shifted = new Uint8Array(bytes.length + 3)
    shifted.set(bytes, 3)
    assert.deepEqual(await greedy(shifted.subarray(3)), expected)
    assert.deepEqual(await greedy(new Blob([bytes])), expected)
    assert.deepEqual(await greedy(new Response(bytes)), expected)
    assert.deepEqual(await greedy(new (await import('node:buffer')).File([bytes], 'm.gguf')), expected)
  })
  test('a stream in pieces of any size', async () => assert.deepEqual(await greedy(oddStream(bytes)), expected))
  test('a URL, with progress', async () => {
    const server = await serve((_, response) => {
      response.writeHead(200, { 'content-length': bytes.length })
      sendSlowly(response, pieces(bytes, 50_000), 1e9)
    })
    /** @type {import('../../js/load.js').Progress[]} */
    const seen = []
    try {
      assert.deepEqual(await greedy(server.url, { onProgress: (p) => seen.push({ ...p }) }), expected)
    } finally {
      await server.close()
    }
    assert.ok(seen.length > 3)
    assert.ok(seen.every((p, i) => p.total === bytes.length && p.loaded <= bytes.length && (i === 0 || p.loaded >= seen[i - 1].loaded)))
    assert.equal(seen[seen.length - 1].loaded, bytes.length)
  })
  test('a split model: by its first part, or by all parts', async () => {
    assert.deepEqual(await greedy(join(folder, 'split-00001-of-00003.gguf')), expected)
    assert.deepEqual(await greedy(parts), expected)
    await assert.rejects(load(parts.slice(0, 2)), fails('E_ARGUMENT', /more than the 2 parts/))
    await assert.rejects(load(parts[0]), fails('E_ARGUMENT', /one part of a split model/))
    await assert.rejects(load([parts[0], parts[2], parts[1]]), fails('E_FORMAT', /part 3 of 3 .* where part 2 of 3/))
    const e = await estimate(parts)
    assert.equal(e.tensors.length, (await estimate(bytes)).tensors.length)
  })
  test('a source that was used before', async () => {
    const read = new Response(bytes)
    await read.arrayBuffer()
    await assert.rejects(load(read), fails('E_ARGUMENT', /was read before/))
    const locked = new Response(bytes)
    locked.body?.getReader()
    await assert.rejects(load(locked), fails('E_ARGUMENT', /read by somebody else/))
  })
  test('a source that gets shorter while it is read', async () => {
    const blob = new Blob([bytes])
    blob.stream = () => blob.slice(0, 70_000).stream()
    await assert.rejects(load(blob), fails('E_NETWORK', /ended after 70000 of/))
    const buffer = bytes.slice().buffer
    const loading = load(buffer, { onProgress: () => { if (buffer.byteLength) structuredClone(buffer, { transfer: [buffer] }) } })
    await assert.rejects(loading, fails('E_TRUNCATED', /ends after/))
  })
  test('addresses that cannot be fetched', async () => {
    await assert.rejects(load('https://'), fails('E_ARGUMENT', /not a URL/))
    await assert.rejects(load(new URL('file:///a%2Fb.gguf')), fails('E_NETWORK', /cannot be read/))
    await assert.rejects(load('https://ann:secret@localhost/model.gguf'), (/** @type {any} */ error) => fails('E_ARGUMENT', /headers/)(error) && !error.message.includes('secret'))
    await assert.rejects(load(bytes, { wasm: 'nowhere' }), fails('E_ARGUMENT', /URL of a folder/))
  })
  test('what is no source', async () => {
    await assert.rejects(load(/** @type {any} */ (17)), fails('E_ARGUMENT', /a path, a URL/))
    await assert.rejects(load(join(folder, 'missing.gguf')), fails('E_ARGUMENT', /there is no file/))
    await assert.rejects(load(folder), fails('E_ARGUMENT', /is a folder/))
  })
})

describe('integrity', () => {
  test('the right hash loads and is reported', async () => {
    const model = await load(bytes, { integrity: `sha256-${sha256.toString('base64')}` })
    assert.deepEqual(model.info.sha256, [sha256.toString('hex')])
    await model.dispose()
  })
  test('a flipped bit is found', async () => {
    const damaged = bytes.slice()
    damaged[bytes.length - 1000] ^= 1
    await assert.rejects(load(damaged, { integrity: `sha256-${sha256.toString('base64')}` }), fails('E_INTEGRITY', /damaged or another file/))
  })
  test('a malformed one is refused before anything is read', async () => {
    const source = new ReadableStream({ pull() { throw new Error('read') } }, { highWaterMark: 0 })
    await assert.rejects(load(source, { integrity: 'md5-abc' }), fails('E_ARGUMENT', /sha256-<base64>/))
  })
  test('no part of a split model goes unchecked', async () => {
    const hashes = parts.map((part) => `sha256-${createHash('sha256').update(part).digest('base64')}`)
    const model = await load(parts, { integrity: hashes })
    assert.equal(model.info.sha256?.length, 3)
    await model.dispose()
    await assert.rejects(load(parts, { integrity: hashes[0] }), fails('E_ARGUMENT', /one for each part/))
    await assert.rejects(load(parts, { integrity: hashes.slice(0, 2) }), fails('E_ARGUMENT', /one for each part/))
    await assert.rejects(load(parts, { integrity: [hashes[0], hashes[2], hashes[1]] }), fails('E_INTEGRITY', /instead of/))
  })
})

describe('what goes wrong', () => {
  test('truncated and prolonged files', async () => {
    await assert.rejects(load(bytes.subarray(0, 0)), fails('E_TRUNCATED', /empty/))
    await assert.rejects(load(bytes.subarray(0, 100)), fails('E_TRUNCATED', /inside of its header/))
    await assert.rejects(load(bytes.subarray(0, bytes.length - 100)), fails('E_TRUNCATED', /ends after \d+ of \d+ bytes/))
    const longer = new Uint8Array(bytes.length + 100)
    longer.set(bytes)
    await assert.rejects(load(longer), fails('E_FORMAT', /its header describes/))
  })
  test('not a model, or not one that runs here', async () => {
    await assert.rejects(load(new TextEncoder().encode('<!doctype html><html>…')), fails('E_FORMAT', /not a GGUF file/))
    const other = tinyModel({ n_layers: 1, metadata: [] })
    const at = Buffer.from(/** @type {Uint8Array} */ (other)).indexOf('llama', 40)
    const renamed = /** @type {Uint8Array} */ (other).slice()
    renamed.set(new TextEncoder().encode('ll4m4'), at)
    await assert.rejects(load(renamed), fails('E_UNSUPPORTED', /architecture 'll4m4' is not supported; this version runs llama/))
  })
  test('the network', async () => {
    const server = await serve((request, response) => {
      if (request.url === '/404') return response.writeHead(404).end()
      if (request.url === '/cut') {
        response.writeHead(200, { 'content-length': bytes.length })
        return response.write(bytes.subarray(0, 200_000), () => response.destroy())
      }
      // a chunked body that ends early: nothing but the header's own sizes tells that it is cut
      response.writeHead(200)
      response.end(bytes.subarray(0, 200_000))
    })
    try {
      await assert.rejects(load(`${server.url}404`), fails('E_NETWORK', /HTTP 404/))
      await assert.rejects(load(`${server.url}cut`), fails('E_NETWORK', /cannot be read|cut on the way/))
      await assert.rejects(load(`${server.url}chunked`), fails('E_TRUNCATED', /ends after 200000 of/))
    } finally {
      await server.close()
    }
    await assert.rejects(load(server.url), fails('E_NETWORK', /cannot be read/))
  })
  test('a context that does not fit fails before the data is read', async () => {
    const huge = /** @type {Uint8Array} */ (tinyModel({ n_layers: 24, n_kv_heads: 16, n_heads: 16, n_vocab: 384, type: 'Q4_0', n_ctx: 1 << 20 }))
    let read = 0
    const source = new ReadableStream({
      pull(controller) {
        controller.enqueue(huge.slice(read, read + 65536))
        read += 65536
      },
    }, { highWaterMark: 0 })
    await assert.rejects(load(source, { contextLength: 1 << 20 }), fails('E_NOMEM', /shorter contextLength/))
    assert.ok(read <= 3 * 65536, `${read} of ${huge.length} bytes were read first`)
  })
  test('a tokenizer or an option that does not run here fails before the data is read', async () => {
    const other = bytes.slice()
    other.set(new TextEncoder().encode('gpt9'), Buffer.from(bytes).indexOf('gpt2'))
    for (const [of, options, code, message] of /** @type {[Uint8Array, object, string, RegExp][]} */ ([
      [other, {}, 'E_UNSUPPORTED', /tokenizer/], [bytes, { batchSize: 513, contextLength: 1000 }, 'E_ARGUMENT', /batch of 513 tokens is more than the limit of 512/]])) {
      let read = 0
      const source = new ReadableStream({
        pull(controller) {
          if (read >= of.length) return controller.close()
          controller.enqueue(of.slice(read, read + 65536))
          read += 65536
        },
      }, { highWaterMark: 0 })
      await assert.rejects(load(source, options), fails(code, message))
      assert.ok(read <= 2 * 65536, `${read} of ${of.length} bytes were read first`)
    }
  })
  test('progress never passes its total, also where padding ends the file', async () => {
    const odd = /** @type {Uint8Array} */ (tinyModel({ type: 'F32', n_layers: 1, n_vocab: 384, d_model: 63, head_dim: 14, n_heads: 1, n_kv_heads: 1, d_ff: 30, n_ctx: 32, ropeFactors: true }))
    /** @type {import('../../js/load.js').Progress[]} */
    const seen = []
    await (await load(oddStream(odd), { onProgress: (p) => seen.push(p) })).dispose()
    assert.ok(seen.every(({ loaded, total }) => total === undefined || loaded <= total))
    assert.deepEqual([seen.at(-1)?.loaded, seen.at(-1)?.total], [odd.length, odd.length])
  })
  test('what onProgress throws ends the load', async () => {
    const mine = new RangeError('enough')
    await assert.rejects(load(bytes, { onProgress() { throw mine } }), (error) => error === mine)
  })
  test('options that mean nothing here', async () => {
    await assert.rejects(load(bytes, /** @type {any} */ ({ onprogress() {} })), fails('E_ARGUMENT', /no option 'onprogress'/))
    await assert.rejects(load(bytes, { cache: 'https://example.com/' }), fails('E_ARGUMENT', /cache must be/))
    await (await load(bytes, { threads: 'auto', cache: false })).dispose()
  })
  test('options of the wrong kind', async () => {
    await assert.rejects(load(bytes, { contextLength: 1.5 }), fails('E_ARGUMENT', /contextLength/))
    await assert.rejects(load(bytes, { variant: /** @type {any} */ ('avx') }), fails('E_ARGUMENT', /there is no variant/))
  })
})

describe('cancelling', () => {
  test('waits for no answer, neither of a host nor of the place of the engine', async () => {
    const never = new Promise(() => {})
    const controller = new AbortController()
    const deaf = load('http://localhost/model.gguf', { fetch: /** @type {any} */ (() => never), signal: controller.signal })
    const server = await serve(() => {})
    const starting = load(bytes, { wasm: `${server.url}engine`, signal: controller.signal })
    setTimeout(() => controller.abort(), 30)
    await assert.rejects(deaf, fails('E_ABORTED', /cancelled/))
    await assert.rejects(starting, fails('E_ABORTED', /cancelled/))
    await server.close()
  })
  test('before, at every stage of a download, and during generation', async () => {
    const reason = new Error('enough')
    await assert.rejects(load(bytes, { signal: AbortSignal.abort(reason) }), fails('E_ABORTED', /cancelled/))
    for (const at of [0, 1000, 60_000, 300_000, bytes.length - 40_000]) {
      const controller = new AbortController()
      let closed
      const gone = new Promise((resolve) => { closed = resolve })
      const server = await serve(async (_, response) => {
        response.on('close', closed)
        response.writeHead(200, { 'content-length': bytes.length })
        for (const piece of pieces(bytes, 20_000)) {
          if (response.destroyed) return
          response.write(piece)
          await new Promise((resolve) => setTimeout(resolve, 3))
        }
        response.end()
      })
      try {
        const loading = load(server.url, { signal: controller.signal, onProgress: ({ loaded }) => { if (loaded >= at) controller.abort(reason) } })
        await assert.rejects(loading, (/** @type {any} */ error) => error.code === 'E_ABORTED' && error.cause === reason)
        await gone // the connection was given up
      } finally {
        await server.close()
      }
    }
    const model = await load(bytes)
    const controller = new AbortController()
    const stream = await model.completions.create({ prompt: PROMPT, temperature: 0, ignore_eos: true, stream: true, signal: controller.signal })
    let steps = 0
    await assert.rejects(async () => {
      for await (const _ of stream) if (++steps === 5) controller.abort()
    }, fails('E_ABORTED', /cancelled/))
    assert.equal(steps, 5)
    // The model goes on as if nothing had happened.
    const r = await model.completions.create({ prompt: PROMPT, max_tokens: 12, temperature: 0, ignore_eos: true })
    assert.deepEqual(r.choices[0].tokens, expected)
    await model.dispose()
    await assert.rejects(model.completions.create({ prompt: PROMPT }), fails('E_DISPOSED', /disposed/))
  })
})

test('a tokenizer, or an estimate, reads the header only', async () => {
  let given = 0
  const counted = () => {
    given = 0
    return new ReadableStream({
      pull(controller) {
        controller.enqueue(bytes.slice(given, given + 4096))
        given += 4096
      },
    }, { highWaterMark: 0 })
  }
  const tokenizer = await loadTokenizer(counted())
  assert.ok(given < 40_000, `${given} bytes were read`)
  assert.equal(tokenizer.decode(tokenizer.encode('Hello world')), 'Hello world')
  const e = await estimate(counted(), { contextLength: 128 })
  assert.ok(given < 40_000)
  assert.equal(e.architecture, 'llama')
  assert.equal(e.memory_estimate.n_ctx, 128)
  const model = await load(bytes, { contextLength: 128 })
  const used = model.info.memory().wasm_bytes
  assert.ok(e.memory_estimate.total <= used * 1.2 && e.memory_estimate.total >= used * 0.6, `${e.memory_estimate.total} estimated, ${used} used`)
  await model.dispose()
})

test('metadata is data, whatever its names are', async () => {
  const { metadata } = await estimate(/** @type {Uint8Array} */ (tinyModel({ n_layers: 1, metadata: [['__proto__', [9, 4], [1, 2]]] })))
  assert.deepEqual(Object.getOwnPropertyDescriptor(metadata, '__proto__')?.value, [1, 2])
  assert.equal(Object.getPrototypeOf(metadata), Object.prototype)
})

test('a factor of rope scaling counts with and without its type', async () => {
  for (const [metadata, scale] of /** @type {[[string, number, any][], number][]} */ ([
    [[], 1], [[['llama.rope.scaling.factor', 6, 4]], 0.25], [[['llama.rope.scale_linear', 6, 2]], 0.5],
    [[['llama.rope.scaling.type', 8, 'linear'], ['llama.rope.scaling.factor', 6, 8]], 0.125], [[['llama.rope.scaling.type', 8, 'none'], ['llama.rope.scaling.factor', 6, 8]], 1]])) {
    assert.equal((await estimate(/** @type {Uint8Array} */ (tinyModel({ n_layers: 1, metadata })))).config.rope_scale, scale)
  }
})
