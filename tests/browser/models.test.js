// The manager of models: what is kept, chosen again, exported and deleted; pausing; what it says where something cannot be kept.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { pieces, sendSlowly } from '../js/server.js'
import { tinyModel } from '../js/tiny-model.js'
import { openPage, until } from './browser.js'
import { ask, contents, drop, ready, settings } from './page.js'

/** @typedef {import('playwright-core').Page} Page */

const small = /** @type {Uint8Array} */ (tinyModel({ type: 'Q4_0', n_layers: 2 }))
const large = /** @type {Uint8Array} */ (tinyModel({ type: 'Q4_0', n_layers: 24 }))
/** @param {Uint8Array} bytes */
const hash = (bytes) => createHash('sha256').update(bytes).digest('hex')

/** @param {Page} page */
async function openManager(page) {
  await page.click('#model-button')
  await page.waitForSelector('#models[open]')
}
/** Names, and what is said about them. @param {Page} page */
const listed = (page) => page.evaluate(() => [...document.querySelectorAll('#model-list > li')].map((li) => [li.querySelector('strong')?.textContent, li.querySelector('.hint')?.textContent]))

describe('a file that is dropped', () => {
  test('is kept, there at the next visit without the network, switched from and to, exported, and deleted', async () => {
    const { page, context, requests, complaints, close } = await openPage({ embedded: true })
    await ready(page)
    await drop(page, 'dropped.gguf', small)
    await until(async () => /tiny/i.test(await page.innerText('#model-name')), 'it is in use')
    await openManager(page)
    await until(async () => (await listed(page)).some(([name, about]) => name === 'dropped.gguf' && /from this device · in use/.test(about ?? '')), 'it is kept')

    await page.reload()
    await ready(page)
    assert.match(await page.innerText('#model-name'), /tiny/i)
    await context.setOffline(true)
    const before = requests.length
    await settings(page, { max_tokens: '5' })
    await ask(page, 'Hello')
    assert.equal(requests.length, before)
    await context.setOffline(false) // the engine comes from the page's own server

    await openManager(page)
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('[data-key="local:dropped.gguf"] [data-action="export"]')])
    assert.equal(hash(await readFile(await download.path())), hash(small))
    assert.equal(download.suggestedFilename(), 'dropped.gguf')
    await page.click('#model-list li:not(.used) [data-action="use"]')
    await until(async () => /Stories/.test(await page.innerText('#model-name')), 'the embedded one is in use')
    await openManager(page)
    await page.click('[data-key="local:dropped.gguf"] [data-action="use"]')
    await until(async () => /tiny/i.test(await page.innerText('#model-name')), 'it is in use again')

    await openManager(page)
    await page.click('[data-key="local:dropped.gguf"] [data-action="delete"]')
    await until(async () => (await listed(page)).some(([, about]) => /not kept · in use/.test(about ?? '')), 'it is in memory only')
    await page.reload()
    await ready(page)
    assert.match(await page.innerText('#model-name'), /Stories/)
    await openManager(page)
    await until(async () => (await listed(page)).length === 1, 'only the embedded one')
    assert.deepEqual(complaints, [])
    await close()
  })
  test('that is no model is refused, and not kept', async () => {
    const { page, complaints, close } = await openPage({ embedded: true })
    await ready(page)
    await drop(page, 'letter.gguf', Buffer.from('Dear Sir or Madam'))
    await page.waitForSelector('#error:not([hidden])')
    assert.match(await page.innerText('#error-text'), /GGUF/)
    await openManager(page)
    await until(async () => (await listed(page)).length === 1, 'only the embedded one')
    assert.deepEqual(complaints, [])
    await close()
  })
})

describe('a model from an address', () => {
  test('is paused and resumed: what was fetched is not fetched again; at the next visit it is not fetched at all', async () => {
    /** @type {string[]} */
    const ranges = []
    let sent = 0
    const { page, complaints, close } = await openPage({
      routes: {
        '/large.gguf'(request, response) {
          const [, from = '0', to = ''] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? []
          ranges.push(request.headers.range ?? 'all')
          const start = Number(from), end = to ? Math.min(Number(to), large.length - 1) : large.length - 1
          response.writeHead(request.headers.range ? 206 : 200, {
            etag: '"1"', 'accept-ranges': 'bytes', 'content-length': end - start + 1,
            ...(request.headers.range && { 'content-range': `bytes ${start}-${end}/${large.length}` }),
          })
          void sendSlowly(response, (function* () {
            for (const piece of pieces(large.subarray(start, end + 1), 50_000)) {
              sent += piece.length
              yield piece
            }
          })(), 3_000_000)
        },
      },
    })
    await page.fill('#url', 'large.gguf')
    await page.press('#url', 'Enter')
    await page.waitForFunction(() => Number(document.querySelector('#download progress')?.getAttribute('value')) > 0.3)
    await page.click('#pause')
    assert.match(await page.innerText('#download-figures'), /^Paused at [\d.]+ MB of 8\.2 MB$/)
    assert.equal(await page.innerText('#model-name'), 'Paused')
    const [requests, before] = [ranges.length, sent]
    await page.click('#resume')
    await ready(page)
    assert.ok(ranges.length > requests)
    assert.ok(sent - before < large.length, `${sent - before} of ${large.length} bytes again`)
    await openManager(page)
    await until(async () => (await listed(page)).join() === 'large.gguf,8.2 MB · from this page · in use', 'it is kept')
    const whole = ranges.length
    await page.reload()
    await ready(page)
    assert.equal(ranges.length, whole)
    assert.deepEqual(complaints, [])
    await close()
  })
  test('that was cancelled is listed as far as it came, and can be deleted', async () => {
    const { page, complaints, close } = await openPage({
      routes: {
        '/large.gguf'(_, response) {
          response.writeHead(200, { etag: '"1"', 'accept-ranges': 'bytes', 'content-length': large.length })
          void sendSlowly(response, pieces(large, 50_000), 3_000_000)
        },
      },
    })
    await page.fill('#url', 'large.gguf')
    await page.press('#url', 'Enter')
    await page.waitForFunction(() => Number(document.querySelector('#download progress')?.getAttribute('value')) > 0.3)
    await page.click('#cancel-download')
    await until(async () => /^[\d.]+ MB of 8\.2 MB so far/.test((await listed(page))[0]?.[1] ?? ''), 'the part is listed')
    assert.equal(await page.innerText('#model-list [data-action="use"]'), 'Go on')
    await page.click('#model-list [data-action="delete"]')
    await until(async () => (await listed(page)).length === 0, 'it is deleted')
    assert.equal(await page.isVisible('#models-none'), true)
    assert.deepEqual(complaints, [])
    await close()
  })
})

describe('the dialog', () => {
  test('opens and closes by the keyboard, and gives the focus back; it tells what is in use', async () => {
    const { page, complaints, close } = await openPage({ embedded: true })
    await ready(page)
    await page.focus('#model-button')
    await page.keyboard.press('Enter')
    await page.waitForSelector('#models[open]')
    await until(async () => /[\d.]+ [kMG]B of at most/.test(await page.innerText('#storage')), 'the storage in use')
    assert.equal(await page.evaluate(() => document.querySelector('#models')?.contains(document.activeElement)), true)
    await page.keyboard.press('Escape')
    assert.equal(await page.isVisible('#models'), false)
    assert.equal(await page.evaluate(() => document.activeElement?.id), 'model-button')
    assert.deepEqual(complaints, [])
    await close()
  })
  test('opens by itself where there is no model, and when a message is to be sent to none; the message stays', async () => {
    const { page, complaints, close } = await openPage()
    await page.waitForSelector('#models[open]')
    await page.keyboard.press('Escape')
    await page.fill('#prompt', 'Hello')
    await page.press('#prompt', 'Enter')
    await page.waitForSelector('#models[open]')
    assert.equal(await page.inputValue('#prompt'), 'Hello')
    await drop(page, 'small.gguf', small)
    await ready(page)
    await settings(page, { max_tokens: '5' })
    await page.press('#prompt', 'Enter')
    await until(async () => (await contents(page)).length === 2, 'the answer')
    assert.deepEqual(complaints, [])
    await close()
  })
})
