/**
 * The page's process, its tab or the whole browser is killed at random moments of a download, again and again; then the file is finished. The SHA-256 of what is kept must be right, and no
 * life may cost more than 8 MiB fetched again. `node tests/browser/kills.mjs [N]` does it N times, 50 by default; the tests do so a few times.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium as driver } from 'playwright-core'
import { serve } from '../../demo/server.mjs'
import { chromium } from '../../wasm/setup.mjs'
import { pieces, sendSlowly } from '../js/server.js'
import { tinyModel } from '../js/tiny-model.js'
import { EMPTY_PAGE, FLAGS } from './browser.js'

export const LARGE = { type: 'F32', n_layers: 4, n_vocab: 4096, d_model: 512, d_ff: 1024, n_ctx: 256 }
const MOST = 8 << 20

/**
 * A server's route that sends a file by ranges at some bytes per second, and counts them.
 * @param {Uint8Array} bytes @param {string} path @param {number} speed  of each answer; may be changed for those to come
 */
export function slowly(bytes, path, speed) {
  let sent = 0, open = 0
  /** @type {import('../../demo/server.mjs').Handler} */
  const handler = (request, response) => {
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
    const start = Number(from ?? 0), end = Math.min(Number(to ?? bytes.length - 1) + 1, bytes.length)
    open++
    response.on('close', () => open--)
    response.writeHead(from ? 206 : 200, { etag: '"x"', 'content-length': end - start, ...(from && { 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` }) })
    void sendSlowly(response, (function* () {
      for (const piece of pieces(bytes.subarray(start, end), 16384)) {
        sent += piece.length
        yield piece
      }
    })(), route.speed)
  }
  const route = { bytes, routes: { [path]: handler }, speed, sent: () => sent, open: () => open }
  return route
}

/** @param {number} kills @returns {Promise<{kills: number, size: number, sent: number, worst: number, sha256: string, expected: string, complaints: string[]}>}  worst: most bytes that a life has lost */
export async function killed(kills) {
  const bytes = /** @type {Uint8Array} */ (tinyModel(/** @type {any} */ (LARGE)))
  const file = slowly(bytes, '/m.gguf', 3e6)
  const server = await serve({
    model: null,
    routes: {
      '/empty': (_, response) => {
        response.setHeader('content-security-policy', "default-src 'none'; script-src 'self'; worker-src 'self'; img-src data:")
        response.setHeader('content-type', 'text/html')
        response.end(EMPTY_PAGE)
      },
      ...file.routes,
    },
  })
  const place = await mkdtemp(join(tmpdir(), 'nibble-kills-'))
  /** @type {string[]} */
  const complaints = []
  let worst = 0, had = 0
  const launch = () => driver.launchPersistentContext(place, { executablePath: chromium(), args: FLAGS })
  let context = await launch()
  try {
    const page = async () => {
      const page = await context.newPage()
      page.on('pageerror', (error) => complaints.push(String(error)))
      await page.goto(`${server.url}empty`)
      return page
    }
    const kept = async () => {
      const one = await page()
      const entries = await one.evaluate(async () => (await (await import('/client.js')).cache.list()))
      await one.close()
      return entries[0]
    }
    for (let i = 0; i < kills; i++) {
      const one = await page(), before = file.sent(), session = await context.newCDPSession(one)
      await one.evaluate(() => void import('/client.js').then(({ load }) => load('/m.gguf', { wasm: '/', cache: true, threads: 1 })).catch((error) => console.error(error)))
      while (file.sent() === before) await new Promise((resolve) => setTimeout(resolve, 5))
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 2000))
      // The whole browser, the tab, or the page's process.
      if (i % 3 === 1) {
        const gone = new Promise((resolve) => context.once('close', resolve))
        execFileSync('pkill', ['-KILL', '-f', place])
        await gone
        await rm(join(place, 'SingletonLock'), { force: true }) // the next one need not ask whether that one lives
        context = await launch()
      } else if (i % 3 === 2) await one.close()
      else {
        const gone = one.waitForEvent('crash')
        session.send('Page.crash').catch(() => {}) // nobody is left to answer
        await gone
        await one.close()
      }
      while (file.open() > 0) await new Promise((resolve) => setTimeout(resolve, 5))
      const entry = await kept(), now = entry?.bytes ?? 0
      if (entry?.complete) throw new Error('the download ended before it was killed; there is nothing left to kill')
      worst = Math.max(worst, file.sent() - before - (now - had))
      had = now
      if (had > bytes.length * 0.5) { // so that there is always something left
        const one = await page()
        await one.evaluate(async () => {
          const { cache } = await import('/client.js')
          for (const { key } of await cache.list()) await cache.delete(key)
        })
        await one.close()
        had = 0
      }
    }
    const last = await page()
    const sha256 = await last.evaluate(async () => {
      const { cache, load } = await import('/client.js')
      const model = await load('/m.gguf', { wasm: '/', cache: true, threads: 1 })
      await model.dispose()
      const file = await cache.file(`${location.origin}/m.gguf`)
      const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', await file.arrayBuffer()))
      return Array.from(hash, (b) => b.toString(16).padStart(2, '0')).join('')
    })
    return { kills, size: bytes.length, sent: file.sent(), worst, sha256, expected: createHash('sha256').update(bytes).digest('hex'), complaints }
  } finally {
    await context.close()
    await server.close()
    await rm(place, { recursive: true, force: true })
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const result = await killed(Number(process.argv[2] ?? 50))
  console.log(JSON.stringify(result, undefined, 2))
  process.exit(result.sha256 === result.expected && result.worst <= MOST && result.complaints.length === 0 ? 0 : 1)
}
