// Downloads that are kept: whatever a server does, what comes is right or a typed error, and what is kept is right.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { mkdtemp, open as openFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { isNibbleError } from '../../js/errors.js'
import { LIMITS } from '../../js/download/download.js'
import { findEntries } from '../../js/download/entry.js'
import { makeCache, openKept } from '../../js/download/index.js'
import { firstLine, line, parseJournal } from '../../js/download/journal.js'
import { nodeStore } from '../../js/download/node-store.js'
import { Sha256, digest } from '../../js/download/sha256.js'
import { load } from '../../js/index.js'
import { asPart } from '../../js/source.js'
import { BEHAVIOURS, flipped, misbehave } from './misbehaving-server.js'
import { pieces, sendSlowly, serve } from './server.js'
import { tinyModel } from './tiny-model.js'

const bytes = /** @type {Uint8Array} */ (tinyModel({ type: 'Q4_0', n_layers: 2, n_vocab: 384, n_ctx: 512 }))
const sha256 = createHash('sha256').update(bytes).digest('hex')
const OTHER = createHash('sha256').update(flipped(bytes)).digest('hex')
const integrity = `sha256-${createHash('sha256').update(bytes).digest('base64')}`
const SMALL = { chunk: 32 << 10, segment: 2, streams: 3, tries: 4, delay: 2, patience: 500, stall: 250 }

/** @type {string} */ let folder
/** @type {import('../../js/download/entry.js').Store} */ let store
/** @type {ReturnType<typeof makeCache>} */ let cache
/** @type {Awaited<ReturnType<typeof serve>>} */ let server
const { handler, heal, served } = misbehave(bytes, sha256)
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-cache-'))
  store = nodeStore(folder)
  cache = makeCache(async () => store)
  server = await serve(handler)
})
after(async () => {
  await server?.close()
  await rm(folder, { recursive: true, force: true })
})

/** @param {string} name @param {string} [what] */
const address = (name, what = '') => new URL(`${encodeURIComponent(name + what)}/file.gguf`, server.url)

/** Opens what load() would. @param {URL} url @param {Partial<import('../../js/download/index.js').KeptOptions>} [options] */
const open = async (url, options) => /** @type {NonNullable<Awaited<ReturnType<typeof openKept>>>} */ (await openKept(url, { store, key: url.href, fetch, conditional: true, limits: SMALL, ...options }))

/** Loads a model through the cache: 'right', or the code of what it failed with. @param {URL} url @param {Partial<import('../../js/download/index.js').KeptOptions>} [options] */
async function attempt(url, options = {}) {
  const { key = url.href } = options
  try {
    const model = await load(/** @type {any} */ ({ open: async () => asPart(await open(url, options)) }), { threads: 1, contextLength: 32 })
    await model.dispose()
    if (await keptHash(key) !== OTHER) return 'right'
    await cache.delete(key)
    return 'other'
  } catch (error) {
    assert.ok(isNibbleError(error), `${/** @type {any} */ (error).stack}`)
    return error.code
  }
}

/** The bytes that are kept, if all are. @param {URL | string} url */
async function keptHash(url) {
  const file = await cache.file(String(url))
  return file && createHash('sha256').update(new Uint8Array(await file.arrayBuffer())).digest('hex')
}

/** Begins to fetch, and gives up after some chunks. @param {URL} url @param {number} chunks */
async function fetchSome(url, chunks) {
  const part = await open(url)
  for (let i = 0; i < chunks; i++) await part.next()
  await part.close()
}

describe('whatever a server does', () => {
  for (const [name, { gives, resumed = gives, integrity: wants }] of Object.entries(BEHAVIOURS)) {
    for (const [state, expected] of /** @type {const} */ ([['cold', gives], ['resumed', resumed]])) {
      test(`${name}: ${state}`, async () => {
        const url = address(name, `~${state}`), options = wants ? { integrity } : {}
        if (state === 'resumed') {
          // What came before came from a good server, and was the same file.
          const before = address('nothing wrong', `~${name}`)
          await fetchSome(before, 5)
          const key = before.href
          const got = await attempt(url, { ...options, key })
          assert.ok([...expected, ...gives].includes(got), `${got} instead of ${expected}`)
          if (got === 'right') assert.equal(await keptHash(key), sha256)
          heal(`${name}~${state}`)
          let again = await attempt(url, { key })
          if (again === 'E_CHANGED') again = await attempt(url, { key })
          assert.equal(again, 'right')
          assert.equal(await keptHash(key), sha256)
          return
        }
        const got = await attempt(url, options)
        assert.ok(expected.includes(got), `${got} instead of ${expected}`)
        if (got === 'right') assert.equal(await keptHash(url), sha256)
        else assert.equal(await keptHash(url), undefined)
        heal(`${name}~${state}`)
        let again = await attempt(url)
        if (again === 'E_CHANGED') again = await attempt(url)
        assert.equal(again, 'right')
        assert.equal(await keptHash(url), sha256)
      })
    }
  }
})

/** A server that counts the bytes it sends, slowly enough that few are on their way. @param {Uint8Array} bytes @param {number} bytesPerSecond */
async function countingServer(bytes, bytesPerSecond) {
  const counts = { sent: 0, open: 0 }
  const { url, close } = await serve((request, response) => {
    response.socket?.setNoDelay(true)
    counts.open++
    response.on('close', () => counts.open--)
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
    const start = Number(from ?? 0), end = Math.min(Number(to ?? bytes.length - 1) + 1, bytes.length)
    response.writeHead(from ? 206 : 200, { etag: '"x"', 'content-length': end - start, ...(from && { 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` }) })
    void sendSlowly(response, (function* () {
      for (const piece of pieces(bytes.subarray(start, end), 4096)) {
        counts.sent += piece.length
        yield piece
      }
    })(), bytesPerSecond)
  })
  return { url: new URL('kill.gguf', url), close, counts }
}

/** Bytes that no pattern has. @param {number} n */
function noise(n) {
  const out = new Uint8Array(n)
  for (let i = 0, x = 12345; i < n; i++) {
    x = x * 1103515245 + 12345 >>> 0
    out[i] = x >>> 16
  }
  return out
}

test('killed at 50 random moments, the file is right, and what was lost is at most a chunk for each stream', async () => {
  const place = await mkdtemp(join(tmpdir(), 'nibble-kill-')), chunk = 16 << 10, n = 50
  const data = noise(3_000_017), { url, close, counts } = await countingServer(data, 1_000_000)
  const child = () => spawn(process.execPath, [fileURLToPath(new URL('download-child.js', import.meta.url)), place, url.href, String(chunk), '4'], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    let kills = 0, text = ''
    const onDisk = () => findEntries(nodeStore(place)).then(([found]) => found?.journal.hashes.filter(Boolean).length ?? 0)
    for (let before = 0; kills < n;) {
      const running = child(), ended = new Promise((resolve) => running.on('exit', resolve)), sent = counts.sent
      running.stdout.on('data', (more) => { text += more })
      // The moment counts from the first byte, so that each life gets somewhere.
      while (counts.sent === sent && running.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 2))
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, Math.random() * 60))])
      running.kill('SIGKILL')
      await ended
      assert.equal(text, '', 'it was killed before its end')
      kills++
      const now = await onDisk()
      assert.ok(now >= before, 'what is in the journal stays')
      before = now
      // Sent, but not in the journal: one chunk for each of the three streams, and what was between the two processes.
      const lost = counts.sent - sent - (now - before) * chunk
      assert.ok(lost >= 0)
    }
    const last = child()
    last.stdout.on('data', (more) => { text += more })
    await new Promise((resolve) => last.on('exit', resolve))
    assert.equal(text, 'done\n')
    const [{ id, journal }] = await findEntries(nodeStore(place))
    assert.equal(journal.complete, true)
    assert.equal(createHash('sha256').update(readFileSync(join(place, `${id}.data`))).digest('hex'), createHash('sha256').update(data).digest('hex'))
    const again = counts.sent - data.length
    assert.ok(again <= kills * 4 * chunk, `${again} bytes were sent again in ${kills} lives, ${Math.round(again / kills / chunk * 10) / 10} chunks in each`)
    assert.deepEqual(readdirSync(place).sort(), [`${id}.data`, `${id}.journal`], 'nothing is left behind')
  } finally {
    await close()
    await rm(place, { recursive: true, force: true })
  }
})

test('with chunks of the real size at most 8 MiB are fetched again', async () => {
  assert.ok((LIMITS.streams + 1) * LIMITS.chunk <= 8 << 20)
  const data = noise(40_000_003), { url, close, counts } = await countingServer(data, 10e6)
  try {
    const options = { limits: { delay: 5 } }
    const part = await open(url, options)
    for (let i = 0; i < 8; i++) await part.next()
    await part.close()
    while (counts.open > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    const [{ bytes: had }] = (await cache.list()).filter(({ key }) => key === url.href), sent = counts.sent
    assert.ok(had >= 8 * LIMITS.chunk && had < data.length)
    assert.ok(sent - had <= 8 << 20, `${sent - had}`)
    const rest = await open(url, options), whole = createHash('sha256')
    for (let chunk; (chunk = await rest.next());) whole.update(chunk)
    await rest.accept()
    await rest.close()
    assert.equal(counts.sent - sent, data.length - had, 'nothing that was kept is fetched again')
    assert.equal(whole.digest('hex'), createHash('sha256').update(data).digest('hex'))
    assert.equal(await keptHash(url), createHash('sha256').update(data).digest('hex'))
  } finally {
    await close()
  }
})

describe('what is kept', () => {
  test('is read without a request, and progress says from where', async () => {
    const url = address('kept')
    /** @type {Set<unknown>} */
    const from = new Set()
    const once = async () => {
      const model = await load(/** @type {any} */ ({ open: async () => asPart(await open(url)) }), { threads: 1, onProgress: (p) => from.add(p.from) })
      await model.dispose()
    }
    await once()
    const requests = served.get('kept')
    assert.deepEqual([...from], ['network'])
    from.clear()
    await once()
    assert.deepEqual([...from], ['cache'])
    assert.equal(served.get('kept'), requests)
  })

  test('is listed, put, handed out and deleted', async () => {
    const file = new File([/** @type {any} */ (bytes)], 'mine.gguf')
    /** @type {number[]} */
    const seen = []
    const put = await cache.put(file, { onProgress: ({ loaded }) => seen.push(loaded) })
    assert.deepEqual({ ...put, created: 0, used: 0 }, { key: 'local:mine.gguf', name: 'mine.gguf', bytes: bytes.length, total: bytes.length, complete: true, sha256, created: 0, used: 0 })
    assert.equal(seen.at(-1), bytes.length)
    assert.ok((await cache.list()).some(({ key }) => key === 'local:mine.gguf'))
    const out = await cache.export('local:mine.gguf')
    assert.deepEqual([out.name, out.size, await keptHash('local:mine.gguf')], ['mine.gguf', bytes.length, sha256])
    assert.equal(await cache.delete('local:mine.gguf'), true)
    assert.equal(await cache.delete('local:mine.gguf'), false)
    assert.equal(await cache.file('local:mine.gguf'), undefined)
    await assert.rejects(cache.export('local:mine.gguf'), (/** @type {any} */ error) => error.code === 'E_ARGUMENT')
  })

  test('is mended where the disk has damaged it, with one request', async () => {
    const url = address('damaged')
    assert.equal(await attempt(url), 'right')
    const [{ id }] = (await findEntries(store)).filter(({ journal }) => journal.key === url.href)
    const handle = await openFile(join(folder, `${id}.data`), 'r+')
    await handle.write(new Uint8Array(100), 0, 100, 3 * SMALL.chunk + 500)
    await handle.close()
    const requests = Number(served.get('damaged'))
    assert.equal(await attempt(url), 'right')
    assert.equal(served.get('damaged'), requests + 1)
    assert.equal(await keptHash(url), sha256)
  })

  test('is fetched anew where it is not what integrity asks for, and stays until the new one is there', async () => {
    const url = address('flipped bits', '~old')
    const part = await open(url)
    while (await part.next());
    await part.accept()
    await part.close()
    const old = await keptHash(url)
    assert.notEqual(old, sha256)
    assert.equal(await attempt(url, { integrity }), 'E_INTEGRITY')
    assert.equal(await keptHash(url), old)
    heal('flipped bits~old')
    assert.equal(await attempt(url, { integrity }), 'right')
    assert.equal(await keptHash(url), sha256)
  })

  test('a part of it is enough to go on: nothing of that is asked for again', async () => {
    const url = address('parts')
    await fetchSome(url, 10)
    const [entry] = (await cache.list()).filter(({ key }) => key === url.href)
    assert.ok(!entry.complete && entry.bytes >= 10 * SMALL.chunk && entry.total === bytes.length)
    assert.equal(await attempt(url), 'right')
    assert.equal(await keptHash(url), sha256)
  })

  test('where there is no room, the load goes on, says E_QUOTA, and what there was stays', async () => {
    const url = address('no room')
    let writes = 0
    /** @type {import('../../js/download/entry.js').Store} */
    const small = {
      ...store,
      async open(name) {
        const handle = await store.open(name)
        return { ...handle, write: async (bytes, position) => { if (name.endsWith('.data') && ++writes > 3) throw Object.assign(new Error('full'), { code: 'ENOSPC' }); return handle.write(bytes, position) } }
      },
    }
    /** @type {Set<string | undefined>} */
    const warnings = new Set()
    const model = await load(/** @type {any} */ ({ open: async () => asPart(await open(url, { store: small })) }), { threads: 1, onProgress: (p) => warnings.add(p.warning?.code) })
    await model.dispose()
    assert.ok(warnings.has('E_QUOTA'))
    const [entry] = (await cache.list()).filter(({ key }) => key === url.href)
    assert.deepEqual([entry.complete, entry.bytes], [false, 3 * SMALL.chunk])
    assert.equal(await attempt(url), 'right')
    assert.equal(await keptHash(url), sha256)
  })

  test('two who want the same file fetch it once', async () => {
    const url = address('shared')
    assert.deepEqual(await Promise.all([attempt(url), attempt(url), attempt(url)]), ['right', 'right', 'right'])
    assert.equal(served.get('shared'), Math.ceil(bytes.length / SMALL.chunk / SMALL.segment))
  })

  test('cancelled, it ends at once with E_ABORTED and keeps what it has', async () => {
    const url = address('a stall in each body', '~abort'), controller = new AbortController()
    setTimeout(() => controller.abort(new Error('enough')), 50)
    assert.equal(await attempt(url, { signal: controller.signal }), 'E_ABORTED')
    heal('a stall in each body~abort')
    assert.equal(await attempt(url), 'right')
  })

  test('a lock that a dead process has left is taken over; that of a living one is waited for', async () => {
    const path = join(folder, 'abc.lock')
    await writeFile(path, `${await deadPid()}\n${(await import('node:os')).hostname()}\n`)
    const release = await store.lock('abc', 'exclusive')
    const waiting = store.lock('abc', 'exclusive', AbortSignal.timeout(100))
    await assert.rejects(waiting, (/** @type {any} */ error) => error.code === 'E_ABORTED')
    release()
    assert.equal(existsSync(path), false)
  })
})

test('on the command line, what a URL gives is kept, listed and deleted; with --no-cache it is not', async () => {
  const place = await mkdtemp(join(tmpdir(), 'nibble-cli-')), url = address('command').href
  /** @param {...string} args */
  const nibble = async (...args) => JSON.parse((await promisify(execFile)(process.execPath, [fileURLToPath(new URL('../../js/cli.js', import.meta.url)), ...args, '--json'],
    { env: { ...process.env, NIBBLE_CACHE: place } })).stdout)
  const run = (/** @type {string[]} */ ...more) => nibble('run', url, 'x', '--max-tokens', '2', '--seed', '1', '--ctx', '32', ...more)
  try {
    assert.deepEqual(await nibble('cache', 'path'), { path: place })
    await run('--no-cache')
    assert.deepEqual(await nibble('cache'), { entries: [] })
    const { tokens } = await run(), requests = served.get('command')
    assert.deepEqual((await run()).tokens, tokens)
    await nibble('inspect', url)
    assert.equal(served.get('command'), requests, 'it was read from the disk')
    const { entries } = await nibble('cache')
    assert.deepEqual(entries.map((/** @type {any} */ e) => [e.key, e.complete, e.sha256]), [[url, true, sha256]])
    assert.deepEqual(await nibble('cache', 'delete', url), { deleted: [url] })
    assert.deepEqual(readdirSync(place), [])
  } finally {
    await rm(place, { recursive: true, force: true })
  }
})

/** The number of a process that has ended. @returns {Promise<number>} */
async function deadPid() {
  const child = spawn(process.execPath, ['-e', ''])
  await new Promise((resolve) => child.on('exit', resolve))
  return /** @type {number} */ (child.pid)
}

describe('journals', () => {
  const header = { key: 'https://example.com/a', url: 'https://example.com/a', name: 'a', size: 100_000, chunk: 32768, etag: '"x"', modified: null, created: 5 }
  const hash = 'ab'.repeat(32)
  const join2 = (/** @type {Uint8Array[]} */ ...lines) => new Uint8Array(Buffer.concat(lines))
  const full = join2(firstLine(header), ...[0, 1, 2, 3].map((chunk) => line({ chunk, sha256: hash })), line({ complete: 100_000, sha256: hash }), line({ used: 9 }))

  test('are read as they were written', () => {
    assert.deepEqual(parseJournal(full), { ...header, hashes: [hash, hash, hash, hash], complete: true, sha256: hash, used: 9, valid: full.length })
  })

  test('cut anywhere, they hold what was written whole before', () => {
    for (let n = 0; n < full.length; n++) {
      const journal = parseJournal(full.subarray(0, n))
      assert.equal(journal?.complete ?? false, n >= full.length - line({ used: 9 }).length)
      assert.ok((journal?.valid ?? 0) <= n)
    }
  })

  test('lines that no journal has end it: they are never believed', () => {
    for (const bad of [{ chunk: 4, sha256: hash }, { chunk: -1, sha256: hash }, { chunk: 1.5, sha256: hash }, { chunk: 1, sha256: 'x' }, { chunk: 2 ** 40, sha256: hash }, { complete: 100_000, sha256: hash }, { drop: 99 }, { used: -1 }, [], 7, null]) {
      assert.equal(parseJournal(join2(firstLine(header), line(/** @type {any} */ (bad)), line({ chunk: 0, sha256: hash })))?.hashes.length, 0, JSON.stringify(bad))
    }
    for (const wrong of [{ size: -1 }, { size: 2 ** 60 }, { chunk: 0 }, { chunk: 2 ** 40 }, { key: '' }, { key: 7 }, { name: null }, { url: {} }, { etag: '' }, { created: NaN }]) {
      assert.equal(parseJournal(firstLine(/** @type {any} */ ({ ...header, ...wrong }))), undefined, JSON.stringify(wrong))
    }
  })

  test('with bytes changed at random they are parsed within their limits, or not at all', () => {
    let x = 1
    const random = (/** @type {number} */ n) => (x = x * 1103515245 + 12345 >>> 0) / 2 ** 32 * n | 0
    for (let round = 0; round < 20_000; round++) {
      const bytes = full.slice(0, full.length - (round % 3 === 0 ? random(200) : 0))
      for (let k = random(6); k >= 0; k--) bytes[random(bytes.length)] = random(8) ? 32 + random(95) : random(256)
      const journal = parseJournal(bytes)
      if (!journal) continue
      assert.ok(journal.valid <= bytes.length && journal.hashes.length <= 1 << 20)
      assert.ok(journal.hashes.every((h) => h === undefined || /^[0-9a-f]{64}$/.test(h)))
      if (journal.complete) assert.ok(journal.size !== null && journal.hashes.length === Math.ceil(journal.size / journal.chunk) && !journal.hashes.includes(undefined))
    }
  })
})

test("the library's own SHA-256 is the system's", async () => {
  for (const n of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 100_001]) {
    const data = noise(n), hash = new Sha256()
    for (let at = 0; at < n; at += 37) hash.update(data.subarray(at, at + 37))
    assert.equal(hash.digest(), await digest(data))
  }
})
