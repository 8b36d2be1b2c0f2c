// Large models through a throttled server: what memory they take, and what is left when they are cancelled. The models are made by
// the generator in ../shared; where that is missing the test says so and is skipped.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createReadStream, existsSync, statSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { serve, sendSlowly } from './server.js'

const run = promisify(execFile)
const here = fileURLToPath(new URL('.', import.meta.url))
const shared = process.env.NIBBLE_SHARED ?? join(here, '../../../shared')
const generator = join(shared, 'tools/make_gguf.py')
const python = ['/usr/bin/python3', 'python3'].find((p) => p === 'python3' || existsSync(p)) ?? 'python3'
const usable = existsSync(generator) && await run(python, ['-c', 'import numpy']).then(() => true, () => false)
const skip = usable ? false : `needs ${generator} and python3 with numpy`

const MiB = 2 ** 20
const PRESETS = [['135m', 90, 300], ['0.5b', 350, 600]] // name, about MB, MB/s of the server

describe('large models through a throttled server', { skip }, () => {
  /** @type {string} */ let folder
  before(async () => { folder = await mkdtemp(join(tmpdir(), 'nibble-memory-')) })
  after(() => rm(folder, { recursive: true }))

  for (const [preset, , speed] of PRESETS) {
    test(`${preset}: peak memory while loading and generating, and cancelling in the middle`, async (t) => {
      const file = join(folder, `${preset}.gguf`)
      await run(python, [generator, '--preset', String(preset), '--type', 'Q4_0', '-o', file])
      const size = statSync(file).size
      let closed = 0
      const server = await serve(async (_, response) => {
        response.on('close', () => closed++)
        response.writeHead(200, { 'content-length': size })
        await sendSlowly(response, createReadStream(file, { highWaterMark: MiB }), Number(speed) * 1e6).catch(() => {})
      })
      try {
        const { stdout } = await run(process.execPath, ['--expose-gc', join(here, 'memory-child.js'), server.url], { maxBuffer: 1e7 })
        const r = JSON.parse(stdout)
        t.diagnostic(`${preset}: ${(size / 1e6).toFixed(0)} MB file; wasm peak ${(r.wasm / MiB).toFixed(1)} MiB = weights ${(r.weights / MiB).toFixed(1)} + KV ${(r.kv / MiB).toFixed(1)} + ` +
          `${((r.wasm - r.weights - r.kv) / MiB).toFixed(1)}; JS heap grew by ${(r.heapGrowth / MiB).toFixed(1)} MiB, buffers outside of wasm by ${(r.bufferGrowth / MiB).toFixed(1)}`)
        assert.ok(r.wasm <= r.weights + r.kv + 24 * MiB, `wasm memory reached ${r.wasm}`)
        assert.ok(r.heapGrowth <= 32 * MiB, `the JS heap grew by ${r.heapGrowth}`)
        assert.equal(r.tokens, 4)
        assert.equal(r.abortCode, 'E_ABORTED')
        assert.ok(r.collected, 'the memory of the cancelled load was not given back')
        assert.equal(closed, 2, 'both connections are closed')
      } finally {
        await server.close()
      }
    })
  }
})
