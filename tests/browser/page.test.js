// The chat page as people use it: choosing, loading, talking, stopping; what it says when things go wrong; and that it keeps to itself.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { EMBEDDED } from '../../js/cli/common.js'
import { load } from '../../js/index.js'
import { pieces, sendSlowly } from '../js/server.js'
import { tinyModel } from '../js/tiny-model.js'
import { openPage, until } from './browser.js'
import { ask, contents, drop, idle, lastBody, lastNote, ready, send, settings } from './page.js'

/** With this seed it goes on for thousands of tokens when the likeliest token is taken. */
const chatModel = /** @type {Uint8Array} */ (tinyModel({ type: 'Q4_0', n_layers: 3, n_ctx: 4096, seed: 8 }))
/** Larger than what the cache writes at once. */
const largeModel = /** @type {Uint8Array} */ (tinyModel({ type: 'Q4_0', n_layers: 24 }))
const textModel = /** @type {Uint8Array} */ (tinyModel({ type: 'Q4_0', vocab: 'spm', chatTemplate: '' }))

/** @type {string} */ let folder
/** @type {string} */ let chatFile
/** @type {string} */ let textFile
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-page-'))
  chatFile = join(folder, 'chat.gguf')
  textFile = join(folder, 'text.gguf')
  await writeFile(chatFile, chatModel)
  await writeFile(textFile, textModel)
})
after(() => rm(folder, { recursive: true }))

let slowClosed = 0
/** @type {Record<string, import('../../demo/server.mjs').Handler>} */
const routes = {
  '/slow.gguf'(_, response) {
    response.on('close', () => slowClosed++)
    response.writeHead(200, { 'content-length': largeModel.length })
    void sendSlowly(response, pieces(largeModel, 50_000), 3_000_000)
  },
  '/page.gguf': (_, response) => response.end('<!doctype html><html lang="en"><title>not found</title></html>'),
}

describe('the embedded model', () => {
  test('the page opens on it and tells a story at a press, without the network', async () => {
    const { page, context, complaints, requests, url, close } = await openPage({ embedded: true })
    await ready(page)
    await context.setOffline(true)
    assert.match(await page.innerText('#facts'), /Llama Nibble Stories/)
    assert.match(await page.innerText('#panel'), /Built with Llama/)
    assert.match(await page.innerText('#facts'), /Runs on\s+\d+ threads?, (relaxed )?SIMD/)
    assert.deepEqual(requests.filter((r) => !r.startsWith(url)), [])
    await settings(page, { temperature: '0', max_tokens: '60' })
    const idea = await page.locator('#ideas button').first().innerText()
    await page.click('#ideas button >> nth=0')
    await until(async () => /tokens/.test(await lastNote(page)), 'the story')
    const model = await load(EMBEDDED)
    const { choices } = await model.chat.completions.create({ messages: [{ role: 'user', content: idea }], temperature: 0, max_tokens: 60 })
    await model.dispose()
    assert.equal(await lastBody(page).textContent(), choices[0].message.content)
    assert.equal(await page.isVisible('#ideas'), false)
    assert.match(await page.innerText('#context-text'), /^\d+ of 2,048 tokens$/)
    assert.deepEqual(complaints, [])
    await close()
  })
})

describe('loading', () => {
  test('the file that the server names, by itself; its facts are told', async () => {
    const { page, complaints, requests, url, close } = await openPage({ model: chatFile })
    await ready(page)
    const facts = await page.locator('#facts').innerText()
    assert.match(facts, /tiny-llama-Q4_0/)
    assert.match(facts, /llama/)
    assert.match(facts, /Parameters\s+2 million/)
    assert.match(facts, /Bits per weight\s+4\.5/)
    assert.match(facts, /4,096 of 4,096 tokens/)
    assert.match(await page.innerText('#memory-text'), /^\d+(\.\d)? MB$/)
    assert.ok(requests.includes(`${url}model.gguf`))
    assert.deepEqual(complaints, [])
    await close()
  })
  test('by address, by the picker, by dropping', async () => {
    const { page, complaints, close } = await openPage({ model: chatFile })
    await ready(page)
    const again = async () => {
      await page.click('#model-button')
      await page.click('#model-list [data-action="unload"]')
      await until(() => page.workers().length === 0, 'the workers are gone')
    }
    await again()
    await page.fill('#url', '/model.gguf')
    await page.press('#url', 'Enter')
    await ready(page)
    await again()
    await page.setInputFiles('#file', chatFile)
    await ready(page)
    await again()
    await drop(page, 'dropped.gguf', textModel)
    await ready(page)
    assert.equal(await page.isVisible('#models'), false)
    assert.deepEqual(complaints, [])
    await close()
  })
  test('shows bytes and speed, and is cancelled', async () => {
    const { page, complaints, close } = await openPage({ routes })
    const closed = slowClosed
    await page.fill('#url', 'slow.gguf')
    await page.click('#url-form button')
    await page.waitForFunction(() => /[\d.]+ [kM]B of [\d.]+ MB · [\d.]+ [kM]B\/s/.test(document.getElementById('download-figures')?.textContent ?? ''))
    assert.ok(await page.evaluate(() => document.querySelector('#download progress')?.getAttribute('value')))
    await page.click('#cancel-download')
    await page.waitForSelector('body[data-model="none"]')
    await until(() => slowClosed > closed && page.workers().every((worker) => !/\/worker\.js/.test(worker.url())), 'the connection and the worker are closed')
    assert.equal(await page.isVisible('#error'), false)
    assert.deepEqual(complaints, [])
    await close()
  })
  test('a message may be written and sent before the model is there', async () => {
    let release = () => {}
    const held = /** @type {Promise<void>} */ (new Promise((resolve) => { release = resolve }))
    const { page, complaints, close } = await openPage({ routes: { '/model.gguf': (_, response) => void held.then(() => response.end(chatModel)) }, model: chatFile })
    await page.waitForSelector('body[data-model="loading"]')
    await settings(page, { max_tokens: '5' })
    await send(page, 'Hello')
    await page.waitForSelector('.message.assistant[aria-busy="true"]')
    release()
    await until(async () => /tokens/.test(await lastNote(page)), 'the answer')
    assert.deepEqual(complaints, [])
    await close()
  })
  test('a message sent in the first moment of the page waits for the last conversation and its model', async () => {
    const { page, context, url, complaints, close } = await openPage({ model: chatFile })
    await ready(page)
    await settings(page, { max_tokens: '5' })
    await ask(page, 'Hello')
    await page.close()
    const again = await context.newPage()
    await again.addInitScript(() => {
      const observer = new MutationObserver(() => {
        if (!document.querySelector('#starting[hidden]')) return
        observer.disconnect()
        const prompt = /** @type {HTMLTextAreaElement} */ (document.getElementById('prompt'))
        prompt.value = 'And again'
        prompt.form?.requestSubmit()
        document.documentElement.dataset.sent = document.body.dataset.model
      })
      observer.observe(document, { subtree: true, attributes: true, childList: true })
    })
    await again.goto(url)
    await until(async () => await again.locator('.message').count() === 4 && /tokens/.test(await lastNote(again)), 'the answer')
    assert.equal(await again.evaluate(() => document.documentElement.dataset.sent), 'none')
    assert.deepEqual((await contents(again)).filter((_, i) => i % 2 === 0), ['Hello', 'And again'])
    assert.equal(await again.isVisible('#models'), false)
    assert.equal(await again.inputValue('#prompt'), '')
    assert.deepEqual(complaints, [])
    await close()
  })
  test('a model that cannot be loaded leaves the one in use alone', async () => {
    const { page, close } = await openPage({ model: chatFile, routes })
    await ready(page)
    await page.click('#model-button')
    await page.fill('#url', '/nothing.gguf')
    await page.press('#url', 'Enter')
    await page.waitForSelector('#error:not([hidden])')
    await page.keyboard.press('Escape')
    await settings(page, { max_tokens: '5' })
    await send(page, 'Hello')
    await until(async () => /tokens/.test(await lastNote(page)), 'the answer')
    await close()
  })
  test('failures are told in words that help', async () => {
    const { page, complaints, close } = await openPage({ routes })
    const cases = [
      ['', /Write the address/],
      ['ftp://example.org/m.gguf', /not a web address; it should look like/],
      ['/nothing.gguf', /nothing\.gguf cannot be fetched: HTTP 404 .*\. Check the address\.$/],
      ['/page.gguf', /not a GGUF file.* Choose a GGUF file/],
      ['http://192.0.2.1/m.gguf', /is not fetched: models come over https/],
    ]
    for (const [address, sentence] of cases) {
      await page.fill('#url', String(address))
      await page.click('#url-form button')
      await page.waitForSelector('#error:not([hidden])')
      await until(async () => /** @type {RegExp} */ (sentence).test(await page.innerText('#error-text')), `${address}: ${await page.innerText('#error-text')} is ${sentence}`, 3000)
      assert.equal(await page.getAttribute('#error', 'role'), 'alert')
    }
    await page.setInputFiles('#file', { name: 'cut.gguf', mimeType: '', buffer: Buffer.from(chatModel.subarray(0, 500_000)) })
    await until(async () => /ends after .* download it again\.$/.test(await page.innerText('#error-text')), 'the cut file is told')
    await page.click('#error-close')
    await page.setInputFiles('#file', chatFile)
    await ready(page)
    assert.equal(await page.isVisible('#error'), false)
    assert.deepEqual(complaints.filter((text) => !/nothing\.gguf|192\.0\.2\.1/.test(text)), [])
    await close()
  })
})

describe('talking', () => {
  test('text streams in, is the same as in Node, and stays text', async () => {
    const { page, complaints, close } = await openPage({ model: chatFile })
    await ready(page)
    const sampling = { temperature: 0.9, top_p: 0.9, top_k: 50, min_p: 0.02, repeat_penalty: 1.1, max_tokens: 300, seed: 5 }
    await settings(page, { ...Object.fromEntries(Object.entries(sampling).map(([name, value]) => [name, String(value)])), system: 'Be <b>brief</b>.' })
    await page.evaluate(() => {
      const seen = /** @type {any} */ (window).seen = new Set()
      new MutationObserver(() => {
        seen.add(document.querySelector('.assistant .body')?.textContent?.length)
        if (document.getElementById('stop')?.checkVisibility()) /** @type {any} */ (window).stoppable = true
      }).observe(document.body, { subtree: true, characterData: true, childList: true })
    })
    const canary = 'Hello <img src=x onerror=alert(1)> & <script>alert(2)</script>'
    await send(page, canary)
    await until(async () => /tokens/.test(await lastNote(page)), 'the answer')
    await idle(page)
    const model = await load(chatModel)
    const wanted = await model.chat.completions.create({ messages: [{ role: 'system', content: 'Be <b>brief</b>.' }, { role: 'user', content: canary }], ...sampling })
    await model.dispose()
    assert.deepEqual(await contents(page), [canary, wanted.choices[0].message.content])
    assert.equal(await page.locator('.user .body').textContent(), canary)
    assert.equal(await page.evaluate(() => document.querySelector('.user .body')?.childElementCount), 0)
    assert.ok(await page.evaluate(() => /** @type {any} */ (window).seen.size) > 2, 'it came in pieces')
    assert.equal(await page.evaluate(() => /** @type {any} */ (window).stoppable), true)
    assert.match(await lastNote(page), new RegExp(`^${wanted.usage.completion_tokens} tokens · [\\d,.]+ tokens/s · prompt: ${wanted.usage.prompt_tokens} tokens in .* · seed 5`))
    assert.deepEqual(complaints, [])
    await close()
  })
  test('Stop ends an answer, which stays part of the conversation; a new chat begins anew', async () => {
    const { page, complaints, close } = await openPage({ model: chatFile })
    await ready(page)
    await settings(page, { temperature: '0', max_tokens: '4000', seed: '5' })
    // Pressed from within the page: from here it might come thousands of tokens late on a busy machine.
    await page.evaluate(() => {
      const observer = new MutationObserver(() => {
        if ((document.querySelector('.assistant .body')?.textContent?.length ?? 0) < 20) return
        observer.disconnect()
        document.getElementById('stop')?.click()
      })
      observer.observe(document.body, { subtree: true, characterData: true, childList: true })
    })
    await send(page, 'Hello')
    await until(async () => /Stopped/.test(await lastNote(page)), 'the answer is stopped')
    assert.match(await lastNote(page), /^Stopped after \d+ tokens$/)
    const first = Number(/\d+/.exec(await lastNote(page))?.[0])
    await settings(page, { max_tokens: '5' })
    await send(page, 'And then?')
    await until(async () => /prompt: \d+ tokens/.test(await lastNote(page)), 'the second answer') // of 5 tokens, or fewer that end by themselves
    const [, prompt, fresh] = /prompt: (\d+) tokens, (\d+) new/.exec(await lastNote(page)) ?? []
    assert.ok(Number(prompt) > first / 2 && Number(fresh) < Number(prompt), `${prompt} tokens of prompt, ${fresh} new`)
    await send(page, 'Go on')
    await page.keyboard.press('Escape') // also when it comes to nothing
    await idle(page)
    await page.click('#new-chat')
    assert.equal(await page.locator('.message').count(), 0)
    await send(page, 'Hello')
    await until(async () => /prompt: \d+ tokens/.test(await lastNote(page)), 'the answer of the new chat')
    assert.ok(Number(/prompt: (\d+) tokens/.exec(await lastNote(page))?.[1]) < 60)
    assert.deepEqual(complaints, [])
    await close()
  })
  test('a conversation beyond the context says so', async () => {
    const { page, close } = await openPage({ model: textFile })
    await ready(page)
    await send(page, 'word '.repeat(500))
    await page.waitForSelector('.note.failed')
    assert.match(await lastNote(page), /the context holds 256.* Begin a new chat, or write less\.$/)
    await send(page, 'word')
    await idle(page)
    await close()
  })
  test('a model without a chat template completes text, and the page says so', async () => {
    const { page, complaints, close } = await openPage({ model: textFile })
    await ready(page)
    assert.match(await page.innerText('#completion-notice'), /no chat template/)
    assert.equal(await page.isVisible('#system-field'), false)
    assert.equal(await page.getAttribute('#send', 'aria-label'), 'Continue')
    await settings(page, { temperature: '0', max_tokens: '12' })
    await send(page, 'Once upon a time')
    await until(async () => /tokens/.test(await lastNote(page)), 'the text')
    const model = await load(textModel)
    const { choices } = await model.completions.create({ prompt: 'Once upon a time', temperature: 0, top_p: 0.95, max_tokens: 12 })
    await model.dispose()
    assert.equal(await lastBody(page).textContent(), `Once upon a time${choices[0].text}`)
    assert.deepEqual(complaints, [])
    await close()
  })
  test('settings out of range are pointed at, not sent', async () => {
    const { page, close } = await openPage({ model: chatFile })
    await ready(page)
    await settings(page, { top_p: '7' })
    await send(page, 'Hello')
    assert.equal(await page.locator('.message').count(), 0)
    assert.equal(await page.evaluate(() => /** @type {any} */ (document.activeElement).name), 'top_p')
    await close()
  })
})

describe('privacy', () => {
  test('nothing is asked of any other host, and nothing at all while talking offline', async () => {
    const { page, context, requests, complaints, url, close } = await openPage({ model: chatFile })
    await ready(page)
    assert.deepEqual(requests.filter((r) => !r.startsWith(url)), [])
    const before = requests.length
    await context.setOffline(true)
    await settings(page, { max_tokens: '40' })
    await send(page, 'canary-7f3a91')
    await until(async () => /tokens/.test(await lastNote(page)), 'the answer')
    assert.equal(requests.length, before)
    assert.ok(requests.every((r) => !r.includes('canary')))
    assert.deepEqual(complaints, [])
    await close()
  })
  test('the page may not fetch, evaluate or insert markup; its worker may not evaluate', async () => {
    const { page, url, close } = await openPage({ model: chatFile })
    await ready(page)
    assert.equal(await page.evaluate(() => crossOriginIsolated), true)
    const refused = await page.evaluate(async (url) => ({
      fetch: await fetch(url).then(() => 'allowed', () => 'refused'),
      html: await Promise.resolve().then(() => { document.createElement('p').innerHTML = '<b>x</b>' }).then(() => 'allowed', () => 'refused'),
      worker: await Promise.resolve().then(() => new Worker(URL.createObjectURL(new Blob([''])))).then(() => 'allowed', () => 'refused'),
    }), url)
    assert.deepEqual(refused, { fetch: 'refused', html: 'refused', worker: 'refused' })
    // The debugger, through which this runs, is above the policies of a page, but not when it only starts what the page then does.
    const later = (/** @type {import('playwright-core').Page | import('playwright-core').Worker} */ place) => place.evaluate(() => new Promise((resolve) => {
      setTimeout(() => {
        try {
          resolve(`${(0, eval)('"evaluated"')}`)
        } catch (/** @type {any} */ error) {
          resolve(error.name)
        }
      })
    }))
    assert.equal(await later(page), 'EvalError')
    assert.equal(await later(page.workers()[0]), 'EvalError')
    for (const place of ['http://192.0.2.1/', url]) {
      const out = await page.workers()[0].evaluate((place) => fetch(place).then(() => 'allowed', (error) => error.name), place)
      assert.equal(out, 'TypeError', place)
    }
    await close()
  })
})
