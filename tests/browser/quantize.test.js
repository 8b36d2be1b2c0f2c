// Models made smaller in the page: the same file as under Node, nothing over the network, nothing left behind; folders, failures, what was kept.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { EMBEDDED } from '../../js/cli/common.js'
import { load } from '../../js/index.js'
import { memorySink, quantize } from '../../js/quantize/index.js'
import { huggingFaceFolder } from '../js/hf-folder.js'
import { tinyModel } from '../js/tiny-model.js'
import { openPage, until } from './browser.js'
import { ask as askPage, contents, ready, settings } from './page.js'

/** @typedef {import('playwright-core').Page} Page */

const ORIGINAL = EMBEDDED.replace('Q4_0', 'F16')
const ASKED = 'Write a poem about the sea.'

const tiny = /** @type {Uint8Array} */ (tinyModel({ type: 'F16', n_layers: 2, d_ff: 512, n_vocab: 512 }))

/** @type {string} */ let folder
/** @type {string} */ let tinyFile
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-page-quantize-'))
  tinyFile = join(folder, 'tiny-f16.gguf')
  await writeFile(tinyFile, tiny)
})
after(() => rm(folder, { recursive: true }))

/** @param {Uint8Array} bytes */
const hash = (bytes) => createHash('sha256').update(bytes).digest('hex')

/** What Node makes of a model. @param {any} source @param {import('../../js/quantize/quantize.js').QuantizeOptions} options */
async function inNode(source, options) {
  const sink = memorySink()
  await quantize(source, sink, options)
  return sink.bytes()
}

/** The files that the browser keeps for the page, and their hashes. @param {Page} page @returns {Promise<Record<string, string>>} */
const kept = (page) => page.evaluate(async () => {
  /** @type {Record<string, string>} */
  const found = {}
  const place = await (await navigator.storage.getDirectory()).getDirectoryHandle('nibble-models').catch(() => undefined)
  if (!place) return found
  for await (const handle of /** @type {any} */ (place).values()) {
    const digest = await crypto.subtle.digest('SHA-256', await (await handle.getFile()).arrayBuffer())
    found[handle.name] = Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, '0')).join('')
  }
  return found
})

/** Waits for the offer with all its figures. @param {Page} page */
async function offered(page) {
  await page.waitForSelector('#offer:not([hidden])')
  await page.waitForFunction(() => /about/.test(document.getElementById('offer-figures')?.textContent ?? '') && [...document.querySelectorAll('.choice-size')].every((e) => e.textContent !== '…'))
}
/** @param {Page} page @param {string} type @param {string} [method] */
async function choose(page, type, method) {
  await page.check(`#offer input[value="${type}"]`)
  if (!method) return
  await page.click('.how summary')
  await page.check(`#offer input[value="${method}"]`)
}
/** @param {Page} page */
const done = (page) => page.waitForSelector('#result:not([hidden])', { timeout: 60_000 })
/** Asks, and returns the answer. @param {Page} page */
async function ask(page) {
  await settings(page, { temperature: '0', max_tokens: '40' })
  await askPage(page, ASKED)
  return (await contents(page))[1]
}
/** The same by Node. @param {Uint8Array} bytes */
async function answer(bytes) {
  const model = await load(bytes)
  const { choices } = await model.chat.completions.create({ messages: [{ role: 'user', content: ASKED }], temperature: 0, max_tokens: 40 })
  await model.dispose()
  return choices[0].message.content
}

describe('an F16 file', () => {
  test('becomes the file that Node makes, with the network off, and is talked with', async () => {
    const { page, context, complaints, requests, url, close } = await openPage()
    await page.setInputFiles('#file', ORIGINAL)
    await offered(page)
    assert.match(await page.innerText('#offer-lead'), /F16: 16 bits each, 10 MB/)
    assert.match(await page.innerText('.choice:has([value="Q4_0"])'), /3\.2 MB\s+4\.9 bits/)
    await choose(page, 'Q4_0')
    await context.setOffline(true)
    const before = requests.length
    await page.click('#offer-run')
    await done(page)
    assert.equal(requests.length, before, 'requests while quantizing')
    assert.match(await page.innerText('.compare'), /Size\s+10 MB\s+3\.2 MB\s+Bits per weight\s+16\S*\s+4\.9/)
    const name = 'Llama-Nibble-Stories-5M-Q4_0.gguf', bytes = await inNode(ORIGINAL, { type: 'Q4_0' })
    assert.deepEqual(await kept(page), { [name]: hash(bytes) })
    await context.setOffline(false) // the engine that talks comes from the page's own server
    await page.click('#result-chat')
    await ready(page)
    await context.setOffline(true)
    const loaded = requests.length
    assert.equal(await ask(page), await answer(bytes))
    assert.equal(requests.length, loaded, 'requests while talking')
    assert.deepEqual(requests.filter((r) => !r.startsWith(url)), [])
    assert.match(await page.innerText('#facts'), /Before\s+10 MB, 16\S* bits/)
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#keep')])
    assert.equal(download.suggestedFilename(), name)
    assert.equal(hash(await readFile(await download.path())), hash(bytes))
    assert.deepEqual(complaints, [])
    await close()
  })
  test('the same by the other method, in another mix', async () => {
    const { page, complaints, close } = await openPage()
    await page.setInputFiles('#file', tinyFile)
    await offered(page)
    await choose(page, 'Q4_K_M', 'hqq')
    await page.click('#offer-run')
    await done(page)
    assert.deepEqual(Object.values(await kept(page)), [hash(await inNode(tiny, { type: 'Q4_K_M', method: 'hqq' }))])
    assert.deepEqual(complaints, [])
    await close()
  })
  test('cancelled by the button and by Escape, it leaves nothing, and can be begun again', async () => {
    const { page, complaints, close } = await openPage()
    await page.setInputFiles('#file', ORIGINAL)
    await offered(page)
    await choose(page, 'Q5_K_M')
    for (const cancel of [() => page.click('#cancel'), () => page.keyboard.press('Escape')]) {
      await page.click('#offer-run')
      await page.waitForFunction(() => Number(document.querySelector('#progress')?.getAttribute('value')) > 0)
      await cancel()
      await page.waitForSelector('#offer:not([hidden])')
      assert.match(await page.innerText('#announce'), /Nothing was kept/)
      assert.deepEqual(await kept(page), {})
      assert.equal(await page.evaluate(() => document.activeElement?.id), 'offer-run')
    }
    await choose(page, 'Q8_0')
    await page.click('#offer-run')
    await done(page)
    assert.deepEqual(Object.keys(await kept(page)), ['Llama-Nibble-Stories-5M-Q8_0.gguf'])
    await page.click('#result-delete')
    await page.waitForSelector('#chooser:not([hidden])')
    assert.deepEqual(await kept(page), {})
    assert.deepEqual(complaints, [])
    await close()
  })
  test('as it is: it is talked with, and may still be made smaller', async () => {
    const { page, complaints, close } = await openPage()
    await page.setInputFiles('#file', ORIGINAL)
    await page.waitForSelector('#offer:not([hidden])')
    await page.click('#offer-as-is')
    await ready(page)
    assert.match(await page.innerText('#facts'), /Bits per weight\s+16/)
    await page.click('#smaller')
    await offered(page)
    await page.click('#offer-back')
    await page.waitForSelector('#chooser:not([hidden])')
    await until(() => page.workers().length === 0, 'all workers are gone')
    assert.deepEqual(complaints, [])
    await close()
  })
  test('from an address: the server gives it by ranges', async () => {
    const { page, complaints, close } = await openPage({ model: tinyFile })
    await ready(page)
    await page.click('#smaller')
    await offered(page)
    await choose(page, 'Q4_0')
    await page.click('#offer-run')
    await done(page)
    assert.deepEqual(await kept(page), { 'model-Q4_0.gguf': hash(await inNode(tiny, { type: 'Q4_0' })) })
    assert.deepEqual(complaints, [])
    await close()
  })
})

describe('what is kept', () => {
  test('is listed at the next visit, opened, and deleted; what was begun and never finished is swept away', async () => {
    const { page, complaints, close } = await openPage()
    await page.setInputFiles('#file', tinyFile)
    await offered(page)
    await choose(page, 'Q4_0')
    await page.click('#offer-run')
    await done(page)
    await page.evaluate(async () => {
      const place = await (await navigator.storage.getDirectory()).getDirectoryHandle('nibble-models')
      await place.getFileHandle('other.gguf.part', { create: true })
    })
    await page.reload()
    await page.waitForSelector('#kept:not([hidden])')
    assert.match(await page.innerText('#kept-list'), /tiny-Q4_0\.gguf\s*[\d.]+ [kM]B/)
    await until(async () => Object.keys(await kept(page)).length === 1, 'the rest is swept away')
    await page.click('#kept-list >> text=Open')
    await ready(page)
    await page.click('#model-button')
    await page.click('#kept-list >> text=Delete')
    await page.waitForSelector('#kept', { state: 'hidden' })
    assert.deepEqual(await kept(page), {})
    assert.deepEqual(complaints, [])
    await close()
  })
  test('is in memory where the browser keeps no files, and can be saved', async () => {
    const program = await readFile(fileURLToPath(new URL('../../dist/web/quantize-worker.js', import.meta.url)), 'utf8')
    const { page, complaints, close } = await openPage({
      routes: {
        '/quantize-worker.js'(_, response) {
          response.setHeader('content-type', 'text/javascript')
          response.end(`Object.defineProperty(navigator.storage, 'getDirectory', { value: undefined });${program}`)
        },
        '/sw.js'(_, response) { // the page's own would refuse a program that was not built with it
          response.setHeader('content-type', 'text/javascript')
          response.end('')
        },
      },
    })
    await page.setInputFiles('#file', tinyFile)
    await offered(page)
    assert.match(await page.innerText('#offer-figures'), /in memory, up to 512 MB/)
    await choose(page, 'Q4_0')
    await page.click('#offer-run')
    await done(page)
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#result-save')])
    assert.equal(hash(await readFile(await download.path())), hash(await inNode(tiny, { type: 'Q4_0' })))
    await page.click('#result-chat')
    await ready(page)
    assert.deepEqual(complaints, [])
    await close()
  })
})

describe('a folder from Hugging Face', () => {
  test('becomes the file that Node makes of it, and is talked with', async () => {
    const path = join(folder, 'Tiny-Stories')
    await mkdir(path)
    for (const { name, file } of await huggingFaceFolder(ORIGINAL, { parts: 2 })) await writeFile(join(path, name), file)
    const { page, complaints, close } = await openPage()
    await page.setInputFiles('#folder', path)
    await offered(page)
    assert.equal(await page.isVisible('#offer-as-is'), false)
    await choose(page, 'Q4_0')
    await page.click('#offer-run')
    await done(page)
    const bytes = await inNode(path, { type: 'Q4_0' })
    assert.deepEqual(await kept(page), { 'Tiny-Stories-Q4_0.gguf': hash(bytes) })
    await page.click('#result-chat')
    await ready(page)
    assert.equal(await ask(page), await answer(bytes))
    assert.deepEqual(complaints, [])
    await close()
  })
  test('one without a model is refused in a sentence, and one with a GGUF file opened', async () => {
    const empty = join(folder, 'notes'), files = join(folder, 'files')
    await Promise.all([mkdir(empty), mkdir(files)])
    await writeFile(join(empty, 'README.md'), 'nothing here')
    await writeFile(join(files, 'tiny.gguf'), /** @type {Uint8Array} */ (tinyModel({ type: 'Q4_0' })))
    const { page, complaints, close } = await openPage()
    await page.setInputFiles('#folder', empty)
    await page.waitForSelector('#error:not([hidden])')
    assert.match(await page.innerText('#error-text'), /^Notes holds no model: there is neither a config\.json/i)
    await page.setInputFiles('#folder', files)
    await ready(page)
    assert.deepEqual(complaints, [])
    await close()
  })
})

describe('failures', () => {
  test('a weight that is no number is told, and nothing stays', async () => {
    const bytes = tiny.slice(), damaged = join(folder, 'damaged.gguf')
    bytes.fill(0xff, bytes.length - 4096, bytes.length - 4000) // F16 NaNs in the last matrix
    await writeFile(damaged, bytes)
    const { page, complaints, close } = await openPage()
    await page.setInputFiles('#file', damaged)
    await offered(page)
    await choose(page, 'Q4_0')
    await page.click('#offer-run')
    await page.waitForSelector('#error:not([hidden])', { timeout: 60_000 })
    assert.match(await page.innerText('#error-text'), /holds a NaN or an infinity in row \d+, column \d+/)
    assert.equal(await page.isVisible('#offer'), true)
    assert.deepEqual(await kept(page), {})
    assert.deepEqual(complaints, [])
    await close()
  })
})

describe('for everyone', () => {
  test('the offer and the result fit into 360 pixels, and everything has a name', async () => {
    const { page, close } = await openPage({ context: { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true } })
    const check = async (/** @type {string} */ view) => {
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360, view)
      const nameless = await page.evaluate(() => [...document.querySelectorAll('button, input, section, table')].filter((e) => e.checkVisibility()).filter((e) => {
        const labels = /** @type {any} */ (e).labels, referred = e.getAttribute('aria-labelledby')
        return !(e.getAttribute('aria-label') || (referred && document.getElementById(referred)?.textContent) || (labels?.length && labels[0].textContent.trim()) || e.textContent?.trim())
      }).map((e) => e.outerHTML.slice(0, 100)))
      assert.deepEqual(nameless, [], view)
    }
    await page.setInputFiles('#file', tinyFile)
    await offered(page)
    await page.tap('.how summary')
    await check('offer')
    await page.check('#offer input[value="Q8_0"]')
    await page.tap('#offer-run')
    await done(page)
    await check('result')
    await page.tap('#result-chat')
    await ready(page)
    await page.tap('#panel-toggle')
    await check('panel')
    await page.tap('#panel-close')
    await page.tap('#model-button')
    await page.waitForSelector('#kept:not([hidden])')
    await check('chooser')
    await close()
  })
})
