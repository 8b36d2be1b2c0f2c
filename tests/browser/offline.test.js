// The page without its server, and on hosts that send no headers; how versions follow each other.
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { chromium as driver } from 'playwright-core'
import { serve } from '../../demo/server.mjs'
import { chromium } from '../../wasm/setup.mjs'
import { until } from './browser.js'

const site = fileURLToPath(new URL('../../dist/web', import.meta.url))
const READY = 'body[data-model="ready"]'
const QUESTION = 'Tell me about the sea.'

/** @type {import('playwright-core').Browser} */ let browser
before(async () => {
  browser = await driver.launch({ executablePath: chromium(), args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'] })
})
after(() => browser?.close())

/** A host that knows nothing of headers. @param {string} folder */
async function plainHost(folder) {
  const types = /** @type {Record<string, string>} */ ({ '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' })
  const server = http.createServer((request, response) => {
    const name = (request.url ?? '/').replace(/[?#].*/, '').slice(1) || 'index.html'
    try {
      response.writeHead(200, { 'content-type': types[extname(name)] ?? 'application/octet-stream' }).end(readFileSync(join(folder, name)))
    } catch {
      response.writeHead(404).end()
    }
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)))
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  return { url: `http://127.0.0.1:${port}/`, close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve) }) }
}

/** @param {import('playwright-core').Page} page */
const controlled = (page) => page.evaluate(() => navigator.serviceWorker.ready.then(() => !!navigator.serviceWorker.controller))

/** @param {import('playwright-core').Page} page @returns {Promise<string>} */
async function ask(page) {
  await page.locator(READY).waitFor({ timeout: 30_000 })
  if (!(await page.locator('#settings [name=temperature]').isVisible())) await page.locator('#panel-toggle').click()
  await page.locator('#settings [name=temperature]').fill('0')
  await page.locator('#settings [name=max_tokens]').fill('24')
  await page.locator('#prompt').fill(QUESTION)
  await page.locator('#prompt').press('Enter')
  await page.locator('.message.assistant .note').waitFor({ timeout: 30_000 })
  return await page.locator('.message.assistant .body').last().innerText()
}

const threads = (/** @type {import('playwright-core').Page} */ page) => page.locator('#facts').innerText()

/** @type {string} */ let answer // of the model, with threads

test('after a visit the page and its model need no server', async () => {
  const server = await serve(), context = await browser.newContext(), page = await context.newPage()
  await page.goto(server.url)
  answer = await ask(page)
  await until(() => controlled(page), 'the service worker has taken over')
  // The model is kept once, by the worker that fetches; not by the service worker, too.
  assert.deepEqual(await page.evaluate(async () => {
    const urls = []
    for (const name of await caches.keys()) for (const { url } of await (await caches.open(name)).keys()) urls.push(url)
    return urls.filter((url) => url.endsWith('.gguf'))
  }), [])
  await server.close()
  await page.reload()
  await page.locator('#new-chat').click()
  assert.equal(await ask(page), answer)
  await context.close()
})

describe('a host that sends no headers', () => {
  test('one thread at first, then as many as elsewhere; the same text', async () => {
    const host = await plainHost(site), context = await browser.newContext(), page = await context.newPage()
    await context.route('**/sw.js', (route) => route.abort()) // the first visit, before the worker is there
    await page.goto(host.url)
    assert.equal(await page.evaluate(() => crossOriginIsolated), false)
    assert.equal(await ask(page), answer)
    assert.match(await threads(page), /1 thread|Threads\s*1\b/i)
    await context.unroute('**/sw.js')
    await page.locator('#new-chat').click()
    await page.reload()
    await until(async () => await page.evaluate(() => crossOriginIsolated).catch(() => false), 'the page is isolated', 20_000)
    await page.locator('#new-chat').click()
    assert.equal(await ask(page), answer)
    await context.close()
    await host.close()
  })
})

test('a new version is installed whole beside the old one, and takes over with the next load', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nibble-site-'))
  cpSync(site, folder, { recursive: true })
  const server = await serve({ folder }), context = await browser.newContext(), page = await context.newPage()
  const versions = () => page.evaluate(async () => [document.documentElement.dataset.build, ...(await caches.keys()).filter((name) => name.startsWith('nibble-page-'))])
  try {
    await page.goto(server.url)
    await page.locator(READY).waitFor({ timeout: 30_000 })
    await until(() => controlled(page), 'the service worker has taken over')
    const [old] = await versions()
    // Half of a deployment: the worker is there, the page is not. Nothing changes.
    const worker = readFileSync(join(folder, 'sw.js'), 'utf8'), next = 'nextversion1'
    writeFileSync(join(folder, 'sw.js'), worker.replace(String(old), next))
    await page.reload()
    await page.locator(READY).waitFor()
    await page.evaluate(async () => (await navigator.serviceWorker.ready).update().catch(() => {}))
    assert.equal((await versions())[0], old)
    assert.equal(await page.evaluate(async () => !!(await navigator.serviceWorker.ready).waiting), false)
    // The whole of it.
    writeFileSync(join(folder, 'index.html'), readFileSync(join(folder, 'index.html'), 'utf8').replace(String(old), next))
    await page.evaluate(async () => (await navigator.serviceWorker.ready).update().catch(() => {}))
    await until(() => page.evaluate(async () => !!(await navigator.serviceWorker.ready).waiting), 'the new version is installed', 20_000)
    assert.equal((await versions())[0], old)
    await page.reload()
    await until(async () => (await versions().catch(() => []))[0] === next, 'the new version is shown', 20_000)
    await until(async () => (await versions()).length === 2, 'the old one is gone')
  } finally {
    await context.close()
    await server.close()
    rmSync(folder, { recursive: true, force: true })
  }
})
