// The chat page in Chromium, Firefox and WebKitGTK: what people do there gives the same in each of them, and what the library says in Node.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { serve } from '../../demo/server.mjs'
import { EMBEDDED } from '../../js/cli/common.js'
import { load } from '../../js/index.js'
import { root } from '../../wasm/shell.mjs'
import { tinyModel } from '../js/tiny-model.js'
import { until } from './browser.js'
import { engines } from './engines.js'
import { halt } from './page.js'

/** What each engine gives the library to work with. */
const ABILITIES = {
  Chromium: { variant: 'relaxed SIMD', threads: true, files: true },
  Firefox: { variant: 'relaxed SIMD', threads: true, files: true },
  WebKitGTK: { variant: 'SIMD', threads: false, files: false },
}
const QUESTIONS = ['Write a story about a cat.', 'What happened then?', 'And in the end?', 'Write a story about a dog.', 'What did the dog do?']
const OPTIONS = { temperature: 0, max_tokens: 40 }
const tiny = /** @type {Uint8Array} */ (tinyModel({ type: 'Q4_0', n_layers: 2, n_ctx: 1024, seed: 8 }))

/** @typedef {{role: string, content: string}} Message */
/** Lets Node answer what a conversation ends with. @param {import('../../js/index.js').Model} model @param {Message[]} messages @returns {Promise<Message[]>} */
async function answered(model, messages) {
  const { choices } = await model.chat.completions.create({ messages, ...OPTIONS })
  return [...messages, { role: 'assistant', content: choices[0].message.content }]
}
/** @param {string} content */
const asked = (content) => ({ role: 'user', content })

/** @type {string} */ let folder
/** @type {string} */ let file
/** What is to be answered. @type {Record<'one' | 'two' | 'three' | 'edited' | 'later' | 'tiny', Message[]>} */ let expected
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-everywhere-'))
  file = join(folder, 'tiny.gguf')
  await writeFile(file, tiny)
  const model = await load(EMBEDDED), other = await load(tiny)
  const one = await answered(model, [asked(QUESTIONS[0])]), two = await answered(model, [...one, asked(QUESTIONS[1])]), three = await answered(model, [...two, asked(QUESTIONS[2])])
  const edited = await answered(model, [asked(QUESTIONS[3])]), later = await answered(model, [...edited, asked(QUESTIONS[4])])
  expected = { one, two, three, edited, later, tiny: await answered(other, [asked(QUESTIONS[0])]) }
  for (const each of [model, other]) await each.dispose()
})
after(() => rm(folder, { recursive: true, force: true }))

for (const { name, skip, open } of engines) {
  describe(`the page in ${name}`, { skip }, () => {
    /** @type {import('./engines.js').Browser} */ let browser
    /** @type {Awaited<ReturnType<typeof serve>>} */ let server
    before(async () => {
      server = await serve()
      browser = await open()
      console.log(browser.version)
      await browser.resize(1280, 800)
      await browser.go(server.url)
    })
    after(async () => {
      await browser?.close()
      await server?.close()
    })

    const ready = () => browser.shows('body[data-model="ready"]', 30_000)
    const idle = () => browser.shows('body:not([data-busy]) #send', 60_000)
    /** @param {Record<string, unknown>} values */
    const settings = async (values) => {
      for (const [name, value] of Object.entries(values)) await browser.fill(`#settings [name="${name}"]`, String(value))
    }
    /** @param {string} text */
    const send = async (text) => {
      await browser.fill('#prompt', text)
      await browser.press('#prompt', 'Enter')
      await browser.shows('body[data-busy] .assistant:last-child, .assistant:last-child .note:not(:empty)')
    }
    const lastNote = () => browser.text('.message:last-child .note')
    /** What is kept of the conversation that is shown. @returns {Promise<Message[]>} */
    const kept = () => browser.evaluate(() => new Promise((resolve, reject) => {
      const opening = indexedDB.open('nibble')
      opening.onerror = () => reject(opening.error)
      opening.onsuccess = () => {
        const getting = opening.result.transaction('conversations').objectStore('conversations').get(JSON.parse(JSON.stringify(localStorage.getItem('nibble-conversation'))))
        getting.onerror = () => reject(getting.error)
        getting.onsuccess = () => {
          opening.result.close()
          resolve((getting.result?.turns ?? []).map((/** @type {Message} */ { role, content }) => ({ role, content })))
        }
      }
    }))
    /** What is read on the page, white space aside: answers are shown as Markdown. */
    const read = () => browser.evaluate(() => [...document.querySelectorAll('.message .body')].map((e) => e.textContent?.replace(/\s/g, '')))
    /** @param {Message[]} messages */
    const says = async (messages) => {
      await idle()
      await until(async () => isDeepStrictEqual(await kept(), messages), 'the conversation is kept', 3000).catch(() => {})
      assert.deepEqual(await kept(), messages)
      assert.deepEqual(await read(), messages.map(({ content }) => content.replace(/\s/g, '')))
    }
    const listed = () => browser.evaluate(() => [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('#model-list > li'))].map((li) => li.dataset.key))

    test('opens on the embedded model, with the fastest that the engine has', async () => {
      await ready()
      assert.match(await browser.text('#facts'), new RegExp(`Llama Nibble Stories.*Runs on\\d threads?, ${ABILITIES[name].variant}$`))
      assert.equal(await browser.evaluate(() => crossOriginIsolated && typeof SharedArrayBuffer === 'function'), ABILITIES[name].threads)
    })
    test('a chat of two turns says what it says in Node', async () => {
      await settings(OPTIONS)
      await send(QUESTIONS[0])
      await says(expected.one)
      await send(QUESTIONS[1])
      await says(expected.two)
      assert.match(await lastNote(), /^\d+ tokens · .* prompt: \d+ tokens, \d+ new, /)
    })
    test('stops, and answers again', async () => {
      await settings({ max_tokens: 1500 })
      await browser.evaluate(halt)
      await send(QUESTIONS[2])
      await browser.click('#stop')
      await until(async () => /^Stopped after [0-2] tokens?$/.test(await lastNote()), 'the answer is stopped', 30_000)
      await settings(OPTIONS)
      await browser.click('.message:last-child [data-action="regenerate"]')
      await until(async () => /^\d+ tokens/.test(await lastNote()), 'it is answered again', 30_000)
      await says(expected.three)
    })
    test('a question is asked in other words', async () => {
      await browser.evaluate(() => document.querySelector('.message')?.scrollIntoView())
      await browser.click('.message:first-child [data-action="edit"]')
      await browser.fill('.editor textarea', QUESTIONS[3])
      await browser.click('.editor [data-action="save-edit"]')
      await until(async () => (await read()).length === 2 && /^\d+ tokens/.test(await lastNote()), 'it is answered', 30_000)
      await says(expected.edited)
    })
    test('after a reload the conversation is there, and goes on', async () => {
      await browser.reload()
      await browser.shows('.message.assistant')
      await says(expected.edited)
      await ready()
      await send(QUESTIONS[4])
      await says(expected.later)
    })
    test('a chosen file answers, is kept, opens by itself at the next visit, and is deleted', async () => {
      await browser.click('#model-button')
      await browser.shows('#models')
      await browser.choose('#file', file)
      await until(async () => /tiny/.test(await browser.text('#facts')) && /ready/.test(await browser.evaluate(() => document.body.dataset.model ?? '')), 'the file is loaded', 30_000)
      await browser.click('#new-chat')
      await send(QUESTIONS[0])
      await says(expected.tiny)
      await browser.click('#model-button')
      await until(async () => (await listed()).includes('local:tiny.gguf'), 'the file is listed')
      await browser.reload()
      await ready()
      assert.match(await browser.text('#facts'), /tiny/)
      await browser.click('#model-button')
      await browser.shows('[data-key="local:tiny.gguf"] [data-action="delete"]')
      await browser.click('[data-key="local:tiny.gguf"] [data-action="delete"]')
      await until(async () => !(await listed()).includes('local:tiny.gguf'), 'it is deleted')
      await browser.click('#models-close')
      await browser.reload()
      await ready()
      assert.match(await browser.text('#facts'), /Llama Nibble/)
    })
    test('a dropped file opens, and is kept', async () => {
      await browser.drop(tiny, 'dropped.gguf')
      await until(async () => /tiny/.test(await browser.text('#facts')) && /ready/.test(await browser.evaluate(() => document.body.dataset.model ?? '')), 'the file is loaded', 30_000)
      await browser.click('#new-chat')
      await send(QUESTIONS[0])
      await says(expected.tiny)
      await browser.click('#model-button')
      await until(async () => (await listed()).includes('local:dropped.gguf'), 'the file is listed')
      await browser.click('#models-close')
    })
    test('nothing complained, and it would have been heard', async () => {
      assert.deepEqual(await browser.complaints(), [])
      await browser.evaluate(() => {
        document.body.append(Object.assign(new Image(), { src: 'https://example.org/forbidden.png', hidden: true }))
        setTimeout(() => { throw new Error('thrown on purpose') })
      })
      let heard = ''
      await until(async () => /forbidden\.png/.test(heard += await browser.complaints()) && /thrown on purpose/.test(heard), 'both are heard')
    })
    test('without its server it opens again, with the file that was kept and with its own model', async () => {
      await until(() => browser.evaluate(() => !!navigator.serviceWorker.controller), 'the service worker is in charge')
      await server.close()
      await browser.reload()
      await ready()
      await browser.click('#new-chat')
      await send(QUESTIONS[0])
      await says(expected.tiny)
      await browser.click('#model-button')
      await browser.click('#model-list [data-key^="http"] [data-action="use"]')
      await until(async () => /Llama Nibble/.test(await browser.text('#facts')), 'the embedded model is loaded', 30_000)
      await browser.click('#new-chat')
      await send(QUESTIONS[0])
      await says(expected.one)
    })
    test('pictures', { skip: process.env.NIBBLE_SCREENSHOTS ? false : 'NIBBLE_SCREENSHOTS=1 writes them to build/screenshots' }, async () => {
      for (const theme of ['light', 'dark']) {
        for (const [kind, width, height] of /** @type {const} */ ([['desktop', 1280, 800], ['phone', 390, 844]])) {
          await browser.resize(width, height)
          await browser.evaluate((theme) => /** @type {HTMLElement | null} */ (document.querySelector(`[name="theme"][value="${theme}"]`))?.click(), theme)
          await browser.evaluate(() => Promise.all(document.getAnimations().map(({ finished }) => finished)).then(() => true))
          await browser.screenshot(join(root, 'build/screenshots', `${name.toLowerCase()}-${kind}-${theme}.png`))
        }
      }
    })
  })
}
