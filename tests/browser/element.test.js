/* global chat */
// <nibble-chat> in a page with the strict policy: what its attributes, properties, methods and events do, and that it leaves nothing behind.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { headersFor } from '../../demo/server.mjs'
import { load } from '../../js/index.js'
import { tinyModel } from '../js/tiny-model.js'
import { openPage, until } from './browser.js'

const SHAPE = /** @type {any} */ ({ type: 'Q4_0', n_layers: 2, n_vocab: 384, n_ctx: 2048 })
const bytes = /** @type {Uint8Array} */ (tinyModel(SHAPE))
/** That of the page of `npm start`, with the element's Trusted Types policy in the place of its own. */
const POLICY = headersFor('/')['content-security-policy'].replace('trusted-types nibble', 'trusted-types nibble-chat')
const ATTRIBUTES = 'model="/m.gguf" worker-url="/worker.js" temperature="0" max-tokens="12"'

/** @param {string} body @returns {import('../../demo/server.mjs').Handler} */
const html = (body) => (_, response) => {
  response.setHeader('content-security-policy', POLICY)
  response.setHeader('content-type', 'text/html; charset=utf-8')
  response.end(`<!doctype html><html lang="en"><title>element</title><link rel="icon" href="/icon.svg"><script type="module" src="/element.js"></script><main>${body}</main></html>`)
}
const tellAll = `<script type="module" src="/listen.js"></script>`

let slowOpened = 0, slowClosed = 0
/** @type {Record<string, import('../../demo/server.mjs').Handler>} */
const routes = {
  '/m.gguf': (_, response) => response.setHeader('content-length', bytes.length).end(bytes),
  '/slow.gguf'(_, response) {
    slowOpened++
    response.on('close', () => slowClosed++)
    response.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, 1000)) // and no more
  },
  '/listen.js'(_, response) {
    response.setHeader('content-type', 'text/javascript')
    response.end(`window.told = []
      for (const name of ['load', 'progress', 'token', 'message', 'error']) document.addEventListener('nibble-' + name, ({ target, detail }) =>
        told.push({ name, target: target.id, ...(name === 'load' ? { model: detail.info.architecture } : name === 'error' ? { code: detail.code, message: detail.message } : JSON.parse(JSON.stringify(detail))) }))`)
  },
  '/one': html(`<nibble-chat id="chat" ${ATTRIBUTES} system="Hello world" placeholder="Ask away"></nibble-chat>${tellAll}`),
  '/two': html(`<nibble-chat id="a" ${ATTRIBUTES}></nibble-chat><nibble-chat id="b" ${ATTRIBUTES} max-tokens="4" theme="dark"></nibble-chat>${tellAll}`),
  '/auto': html(`<nibble-chat id="chat" ${ATTRIBUTES} autoload></nibble-chat>${tellAll}`),
  '/bare': html(`<nibble-chat id="chat" worker-url="/worker.js" max-tokens="8"></nibble-chat>${tellAll}`),
  '/slow': html(`<nibble-chat id="chat" ${ATTRIBUTES.replace('/m.gguf', '/slow.gguf')}></nibble-chat>${tellAll}`),
}

/** @type {import('../../js/index.js').Model} */ let model
before(async () => { model = await load(bytes, { threads: 1 }) })
after(() => model.dispose())
/** What the model answers, with the settings of ATTRIBUTES. @param {{role: string, content: string}[]} messages @param {number} [max_tokens] */
const answerTo = async (messages, max_tokens = 12) => (await model.chat.completions.create({ messages, temperature: 0, max_tokens })).choices[0].message.content

/**
 * A page with all that a test needs: `told` are the events so far.
 * @param {string} path
 */
async function open(path) {
  const it = await openPage({ path, routes })
  await it.page.waitForFunction(() => customElements.get('nibble-chat') && window.told)
  return { ...it, told: /** @param {string} [name] @returns {Promise<any[]>} */ async (name) => (await it.page.evaluate(() => window.told)).filter((/** @type {any} */ one) => !name || one.name === name) }
}
const log = (/** @type {import('playwright-core').Page} */ page) => page.locator('#chat').evaluate((chat) => [...chat.shadowRoot.querySelectorAll('[part~=message]')].map((m) => m.textContent))
/** Workers without their threads. @param {import('playwright-core').Page} page */
const engines = (page) => page.workers().filter((worker) => worker.url().endsWith('/worker.js')).length

test('a message typed and sent with Enter is answered, as text, with events; a second turn goes on from the first', async () => {
  const { page, told, complaints, requests, close } = await open('one')
  assert.ok(!requests.some((url) => /client\.js|worker\.js|gguf/.test(url)), 'nothing is loaded before it is needed')
  const input = page.getByLabel('Ask away')
  await input.fill('  <b>Hello</b>\nworld')
  await input.press('Enter')
  await until(async () => (await told('message')).length === 1, 'the answer')
  const conversation = [{ role: 'system', content: 'Hello world' }, { role: 'user', content: '  <b>Hello</b>\nworld' }]
  const first = await answerTo(conversation)
  assert.deepEqual(await log(page), ['  <b>Hello</b>\nworld', first])
  assert.deepEqual(await told('load'), [{ name: 'load', target: 'chat', model: 'llama' }])
  assert.ok((await told('progress')).length > 0)
  assert.equal((await told('token')).map(({ text }) => text).join(''), first)
  assert.deepEqual((await told('message'))[0].message, { role: 'assistant', content: first })
  await input.fill('a')
  await page.getByRole('button', { name: 'Send' }).click()
  await until(async () => (await told('message')).length === 2, 'the second answer')
  const second = await answerTo([...conversation, { role: 'assistant', content: first }, { role: 'user', content: 'a' }])
  assert.deepEqual((await page.evaluate(() => chat.messages)).slice(2), [{ role: 'user', content: 'a' }, { role: 'assistant', content: second }])
  await page.evaluate(() => chat.clear())
  assert.deepEqual([await log(page), await page.evaluate(() => chat.messages)], [[], []])
  assert.deepEqual(complaints, [], 'the policy has nothing to complain of')
  await close()
})

test('Stop and Escape end an answer, which stays in the conversation as far as it came', async () => {
  const { page, told, close } = await open('one')
  const whole = await page.evaluate(() => chat.send('Hello'))
  for (const key of [false, true]) {
    // At the second piece of the answer: the tiny model would be done before a click came from outside.
    const got = await page.evaluate(async (key) => {
      const { shadowRoot } = chat
      chat.clear()
      let pieces = 0, label = ''
      const end = () => {
        if (++pieces !== 2) return
        label = shadowRoot.querySelector('button').textContent
        if (key) shadowRoot.querySelector('textarea').dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' }))
        else shadowRoot.querySelector('button').click()
      }
      chat.addEventListener('nibble-token', end)
      const answer = await chat.send('Hello')
      chat.removeEventListener('nibble-token', end)
      return { answer, label, messages: chat.messages, busy: chat.busy }
    }, key)
    assert.deepEqual([got.label, got.busy, got.messages], ['Stop', false, [{ role: 'user', content: 'Hello' }, got.answer]])
    assert.ok(whole.content.startsWith(got.answer.content) && got.answer.content.length < whole.content.length)
  }
  assert.deepEqual((await told('message')).map(({ stopped }) => stopped), [false, true, true])
  await close()
})

test('stop() in the middle of a load ends that, too, and gives the words back', async () => {
  const { page, told, close } = await open('slow')
  await page.getByLabel('Message').fill('Hello')
  await page.getByLabel('Message').press('Enter')
  await until(() => slowOpened === 1, 'it loads')
  await page.getByRole('button', { name: 'Stop' }).click()
  await until(() => slowClosed === 1, 'the connection is closed')
  await until(async () => (await page.getByLabel('Message').inputValue()) === 'Hello', 'the words are back')
  assert.deepEqual([await log(page), await told('error')], [[], []])
  await until(() => page.workers().length === 0, 'the workers end')
  await close()
})

test('autoload loads at once; a change of the model gives up the old one; removal ends the worker, moving does not', async () => {
  const { page, told, close } = await open('auto')
  await until(async () => (await told('load')).length === 1, 'it loads')
  assert.equal(engines(page), 1)
  await page.evaluate(() => document.body.append(chat))
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 50)))
  assert.deepEqual([engines(page), (await told('load')).length, await page.evaluate(() => chat.loaded)], [1, 1, true])
  await page.evaluate(() => { chat.model = '/m.gguf?other' })
  await until(async () => (await told('load')).length === 2, 'it loads the other')
  await until(() => engines(page) === 1, 'one worker is left')
  await page.evaluate(async () => {
    window.kept = chat
    await chat.send('Hello')
    chat.remove()
  })
  await until(() => page.workers().length === 0, 'the worker ends')
  assert.deepEqual(await page.evaluate(() => [window.kept.messages.length, window.kept.loaded, told.filter(({ name }) => name === 'error').length]), [2, false, 0])
  await close()
})

test('removal in the middle of an answer ends it without an error', async () => {
  const { page, told, close } = await open('one')
  const answer = await page.evaluate(async () => {
    chat.setAttribute('max-tokens', '100000')
    const done = chat.send('Hello')
    await new Promise((resolve) => chat.addEventListener('nibble-token', resolve, { once: true }))
    chat.remove()
    return done
  })
  assert.ok(answer.content.length > 0)
  await until(() => page.workers().length === 0, 'the worker ends')
  assert.deepEqual(await told('error'), [])
  await close()
})

test('two elements in a page have a model and a conversation each', async () => {
  const { page, complaints, close } = await open('two')
  const [a, b] = await page.evaluate(() => Promise.all([document.getElementById('a').send('Hello'), document.getElementById('b').send('world')]))
  assert.equal(a.content, await answerTo([{ role: 'user', content: 'Hello' }]))
  // Of one attribute given twice the first counts; set here, the second's is 4.
  await page.evaluate(() => { document.getElementById('b').clear(); document.getElementById('b').setAttribute('max-tokens', '4') })
  const shorter = await page.evaluate(() => document.getElementById('b').send('world'))
  assert.equal(shorter.content, await answerTo([{ role: 'user', content: 'world' }], 4))
  assert.ok(b.content.startsWith(shorter.content))
  assert.equal(engines(page), 2)
  const scheme = await page.evaluate(() => ['a', 'b'].map((id) => getComputedStyle(document.getElementById(id)).colorScheme))
  assert.deepEqual(scheme, ['light dark', 'dark'])
  assert.deepEqual(complaints, [])
  await close()
})

test('without a model it takes the embedded one, beside it', async () => {
  const { page, close } = await open('bare')
  const answer = await page.evaluate(() => chat.send('Write a story.'))
  assert.ok(answer.content.length > 0)
  await close()
})

test('failures are told by an event and in the element, and can be got over', async () => {
  const { page, told, complaints, close } = await open('one')
  const code = (/** @type {string} */ script) => page.evaluate((script) => Promise.resolve(script === 'again' ? chat.send('Hello') : chat.send(script)).then(() => 'none', (error) => error.code), script)
  await page.evaluate(() => { chat.model = '/nothing.gguf' })
  assert.equal(await code('Hello'), 'E_NETWORK')
  assert.deepEqual((await told('error')).map(({ code }) => code), ['E_NETWORK'])
  assert.deepEqual(await log(page), [])
  assert.match(await page.locator('[part~=status]').innerText(), /404/)
  await page.evaluate(() => { chat.model = '/m.gguf' })
  assert.equal(await code('Hello world '.repeat(2000)), 'E_CONTEXT')
  assert.deepEqual((await told('error')).map(({ code }) => code), ['E_NETWORK', 'E_CONTEXT'])
  assert.equal(await code('   '), 'E_ARGUMENT')
  assert.equal(await page.evaluate(async () => {
    const first = chat.send('Hello')
    const second = await chat.send('world').catch((error) => error.code)
    await first
    return second
  }), 'E_ARGUMENT')
  assert.equal((await page.evaluate(() => chat.messages)).length, 2)
  assert.deepEqual(complaints.filter((text) => !/404/.test(text)), [])
  await close()
})

test('a conversation can be set, and is the caller\'s own copy', async () => {
  const { page, close } = await open('one')
  const messages = [{ role: 'user', content: 'Hello' }, { role: 'assistant', content: '<img src=x onerror=alert(1)>' }]
  const got = await page.evaluate((messages) => {
    chat.messages = messages
    messages[0].content = 'other'
    chat.messages.push({ role: 'user', content: 'more' })
    return { messages: chat.messages, images: chat.shadowRoot.querySelectorAll('img').length }
  }, messages)
  assert.deepEqual(got, { messages, images: 0 })
  assert.equal(await page.evaluate(() => { try { chat.messages = [{ role: 'system', content: '' }] } catch (error) { return error.code } }), 'E_ARGUMENT')
  const answer = await page.evaluate(() => chat.send('world'))
  assert.equal(answer.content, await answerTo([{ role: 'system', content: 'Hello world' }, ...messages, { role: 'user', content: 'world' }]))
  await close()
})

test('the module can be imported where there is no document', async () => {
  assert.equal(typeof (await import('../../dist/web/element.js')).NibbleChat, 'function')
})
