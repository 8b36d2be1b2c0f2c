// Downloads that are kept: whatever a server does, what comes is right or a typed error, and what is kept is right.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { mkdtemp, open as openFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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
import { BEHAVIOURS, misbehave } from './misbehaving-server.js'
import { pieces, sendSlowly, serve } from './server.js'
import { tinyModel } from './tiny-model.js'

const bytes = /** @type {Uint8Array} */ (tinyModel({ type: 'Q4_0', n_layers: 2, n_vocab: 384, n_ctx: 512 }))
const sha256 = createHash('sha256').update(bytes).digest('hex')
const integrity = `sha256-${createHash('sha256').update(bytes).digest('base64')}`
const SMALL = { chunk: 32 << 10, segment: 2, streams: 3, tries: 3, delay: 2, patience: 500, stall: 250 }

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
async function attempt(url, options) {
  try {
    const model = await load(/** @type {any} */ ({ open: async () => asPart(await open(url, options)) }), { threads: 1, contextLength: 32 })
    await model.dispose()
    return 'right'
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
