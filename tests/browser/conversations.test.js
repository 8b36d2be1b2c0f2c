// Conversations on the page: they go on, are edited and answered again, kept over a reload, named, deleted, exported and imported.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { EMBEDDED } from '../../js/cli/common.js'
import { load } from '../../js/index.js'
import { openPage, until } from './browser.js'
import { ask, contents, lastNote, ready, send, settings, stored } from './page.js'

/** @typedef {import('playwright-core').Page} Page */

/** The page with the embedded model, whose answers are short and always the same. @param {import('playwright-core').BrowserContextOptions} [context] */
async function openEmbedded(context) {
  const opened = await openPage({ embedded: true, context })
  await ready(opened.page)
  await settings(opened.page, { temperature: '0', max_tokens: '12' })
  return opened
}
/** What Node answers. @param {string[]} said  in turns */
async function answer(...said) {
  const model = await load(EMBEDDED)
  const messages = said.map((content, i) => ({ role: i % 2 ? 'assistant' : 'user', content }))
  const { choices } = await model.chat.completions.create({ messages, temperature: 0, max_tokens: 12 })
  await model.dispose()
  return choices[0].message.content
}
/** @param {Page} page */
const titles = (page) => page.locator('#conversations .open').allInnerTexts()
/** @param {Page} page @param {string} kind @param {string} action */
const press = (page, kind, action) => page.locator(`.message.${kind}`).last().locator(`[data-action="${action}"]`).click()
/** @param {Page} page @param {string} selector */
async function download(page, selector) {
  const [file] = await Promise.all([page.waitForEvent('download'), page.click(selector)])
  return { name: file.suggestedFilename(), text: await readFile(await file.path(), 'utf8') }
}
/** @param {Page} page @param {string} text */
const upload = (page, text, name = 'import.json') => page.setInputFiles('#import', { name, mimeType: 'application/json', buffer: Buffer.from(text) })

describe('a conversation', () => {
  test('goes on for a second turn, which evaluates only what is new', async () => {
    const { page, complaints, close } = await openEmbedded()
    await ask(page, 'Write a poem about the sea.')
    await ask(page, 'Another one.')
    const [first, second, third, fourth] = await contents(page)
    assert.deepEqual([first, third], ['Write a poem about the sea.', 'Another one.'])
    assert.equal(second, await answer(first))
    assert.equal(fourth, await answer(first, second, third))
    const [, prompt, fresh] = /prompt: (\d+) tokens, (\d+) new/.exec(await lastNote(page)) ?? []
    assert.ok(Number(fresh) < Number(prompt) / 2, `${fresh} of ${prompt}`)
    assert.deepEqual(complaints, [])
    await close()
  })
  test('is answered again with another seed; the former answer can be had back', async () => {
    const { page, complaints, close } = await openEmbedded()
    await settings(page, { temperature: '1.5', seed: '1' })
    await ask(page, 'Write a poem about the sea.')
    const before = await contents(page)
    await settings(page, { seed: '2' })
    await press(page, 'assistant', 'regenerate')
    await until(async () => /seed 2/.test(await lastNote(page)), 'the other answer')
    const after = await contents(page)
    assert.equal(after.length, 2)
    assert.equal(after[0], before[0])
    assert.notEqual(after[1], before[1])
    await page.click('#undo')
    await until(async () => (await contents(page))[1] === before[1], 'the former answer')
    assert.match(await lastNote(page), /seed 1/)
    assert.deepEqual(complaints, [])
    await close()
  })
  test('goes on from a turn that was edited; what came behind it can be had back', async () => {
    const { page, complaints, close } = await openEmbedded()
    await ask(page, 'Write a poem about the sea.')
    await ask(page, 'Another one.')
    const before = await contents(page)
    await page.locator('.message.user').first().locator('[data-action="edit"]').click()
    assert.equal(await page.inputValue('.editor textarea'), before[0])
    await page.keyboard.press('Escape')
    assert.equal(await page.locator('.editor').count(), 0)
    assert.equal(await page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement).dataset.action), 'edit')
    await page.locator('.message.user').first().locator('[data-action="edit"]').click()
    await page.fill('.editor textarea', 'Write a poem about the wind.')
    await page.keyboard.press('Enter')
    await until(async () => (await contents(page)).length === 2 && /tokens/.test(await lastNote(page)), 'the answer')
    assert.deepEqual(await contents(page), ['Write a poem about the wind.', await answer('Write a poem about the wind.')])
    await page.click('#undo')
    await until(async () => (await contents(page)).length === 4, 'the dropped turns')
    assert.deepEqual(await contents(page), before)
    assert.equal(await page.locator('.message').count(), 4)
    assert.deepEqual(complaints, [])
    await close()
  })
  test('is copied as it was written', async () => {
    const { page, context, complaints, close } = await openEmbedded()
    await context.grantPermissions(['clipboard-read', 'clipboard-write'])
    await ask(page, 'Write a poem about the sea.')
    await press(page, 'assistant', 'copy')
    await until(async () => await page.evaluate(() => navigator.clipboard.readText()) === (await contents(page))[1], 'the answer in the clipboard')
    assert.deepEqual(complaints, [])
    await close()
  })
})

describe('conversations', () => {
  test('are there after a reload, with the one that was shown, its system prompt and the settings', async () => {
    const { page, complaints, close } = await openEmbedded()
    await ask(page, 'Write a poem about the sea.')
    await page.click('#new-chat')
    await settings(page, { system: 'Be brief.' })
    await ask(page, 'Tell me about the wind.')
    await page.locator('#conversations .open', { hasText: 'poem' }).click()
    assert.equal(await page.locator('.user .body').innerText(), 'Write a poem about the sea.')
    assert.equal(await page.inputValue('[name="system"]'), '')
    await page.locator('#conversations .open', { hasText: 'wind' }).click()
    const before = await contents(page)
    await page.reload()
    await ready(page)
    assert.deepEqual(await titles(page), ['Tell me about the wind.', 'Write a poem about the sea.'])
    assert.equal(await page.getAttribute('#conversations .open >> nth=0', 'aria-current'), 'true')
    assert.equal(await page.locator('.user .body').innerText(), 'Tell me about the wind.')
    assert.equal(await page.inputValue('[name="system"]'), 'Be brief.')
    assert.equal(await page.inputValue('[name="max_tokens"]'), '12')
    await ask(page, 'And on?')
    assert.deepEqual((await contents(page)).slice(0, 2), before)
    assert.equal((await contents(page)).length, 4)
    assert.deepEqual(complaints, [])
    await close()
  })
  test('an answer that is cut off by a reload is kept as far as it came', async () => {
    const { page, close } = await openEmbedded()
    await page.evaluate(() => { // saved every second
      const now = performance.now.bind(performance), start = now()
      performance.now = () => start + (now() - start) * 50
    })
    await settings(page, { max_tokens: '1500', temperature: '0' })
    await send(page, 'Write a story about a young girl who finds a magical book in the forest.')
    await until(async () => ((await stored(page))[0]?.turns[1]?.content.length ?? 0) > 20, 'a part of the answer is kept')
    await page.reload()
    await ready(page)
    assert.equal(await page.locator('.message').count(), 2)
    assert.ok((await page.locator('.assistant .body').innerText()).length > 20)
    await close()
  })
  test('are renamed and deleted by the keyboard; a deletion is taken back', async () => {
    const { page, complaints, close } = await openEmbedded()
    await ask(page, 'Write a poem about the sea.')
    await page.focus('#conversations [data-action="rename"]')
    await page.keyboard.press('Enter')
    await page.keyboard.type('The sea')
    await page.keyboard.press('Enter')
    await until(async () => (await titles(page)).join() === 'The sea', 'the new title')
    assert.equal(await page.innerText('#title'), 'The sea')
    assert.equal((await stored(page))[0].title, 'The sea')
    await page.focus('#conversations [data-action="delete"]')
    await page.keyboard.press('Enter')
    await until(async () => (await stored(page)).length === 0, 'it is deleted')
    assert.equal(await page.locator('.message').count(), 0)
    await page.click('#undo')
    await until(async () => (await titles(page)).join() === 'The sea', 'it is back')
    assert.equal((await stored(page))[0].turns.length, 2)
    assert.deepEqual(complaints, [])
    await close()
  })
  test('are found by words of their titles', async () => {
    const { page, close } = await openEmbedded()
    const conversations = Array.from({ length: 7 }, (_, i) => ({ id: `c${i}`, title: i === 3 ? 'About The Sea' : `Number ${i}`, created: i, updated: i, system: '', turns: [{ role: 'user', content: 'x' }] }))
    await upload(page, JSON.stringify({ format: 'nibble-conversations', version: 1, conversations }))
    await until(async () => (await titles(page)).length === 7, 'the import')
    await page.fill('#search', 'the sea')
    await until(async () => (await titles(page)).join() === 'About The Sea', 'one is found')
    await page.fill('#search', 'nowhere')
    await until(async () => (await titles(page)).length === 0, 'none is found')
    assert.match(await page.innerText('#conversations-none'), /None has these words/)
    await close()
  })
})

describe('export and import', () => {
  test('a round trip loses nothing, and adds nothing twice', async () => {
    const { page, complaints, close } = await openEmbedded()
    await settings(page, { system: 'Be <b>brief</b>.' })
    await ask(page, 'Write a poem about the "sea" \u2028 and 💧.')
    await page.click('#new-chat')
    await ask(page, 'Tell me about the wind.')
    const before = await stored(page)
    const all = await download(page, '#export-all')
    assert.match(all.name, /\.json$/)
    await upload(page, all.text)
    await until(async () => /0 of 2 conversations/.test(await page.innerText('#announce')), 'both are here already')
    assert.deepEqual(await stored(page), before)
    const one = await download(page, '#conversations li:has([aria-current]) [data-action="export"]')
    assert.equal(one.name, 'Tell me about the wind.json')
    assert.deepEqual(JSON.parse(one.text).conversations.map((/** @type {any} */ { title }) => title), ['Tell me about the wind.'])

    const other = await openEmbedded()
    await upload(other.page, all.text)
    await until(async () => (await titles(other.page)).length === 2, 'the import')
    const plain = (/** @type {any} */ chats) => JSON.parse(JSON.stringify(chats))
    assert.deepEqual(plain(await stored(other.page)), plain(before))
    // The same id with other words stands beside.
    await upload(other.page, one.text.replace('Tell me about the wind."', 'Tell me about the storm."'))
    await until(async () => (await titles(other.page)).length === 3, 'the one that differs')
    assert.deepEqual([...complaints, ...other.complaints], [])
    await other.close()
    await close()
  })
  test('a file that is none is refused in a sentence that names the place, and nothing is added', async () => {
    const { page, complaints, close } = await openEmbedded()
    const chat = { id: 'a', title: 'A', created: 1, updated: 1, system: '', turns: [{ role: 'user', content: 'x' }] }
    const file = (/** @type {any} */ conversations, more = {}) => JSON.stringify({ format: 'nibble-conversations', version: 1, conversations, ...more })
    const cases = /** @type {[string, RegExp][]} */ ([
      ['{"a":', /is not JSON/],
      ['null', /its format is not/],
      ['{"format":"other"}', /its format is not ‘nibble-conversations’/],
      [file([chat], { version: 2 }), /version 2; this page reads version 1/],
      [file({}), /no list of conversations/],
      [file([chat, null]), /conversations\[1\] is no object/],
      [file([{ ...chat, title: 7 }]), /conversations\[0\]\.title is no string/],
      [file([{ ...chat, updated: -1 }]), /conversations\[0\]\.updated is no number/],
      [file([{ ...chat, turns: 'x' }]), /conversations\[0\]\.turns is no list/],
      [file([chat, { ...chat, turns: [{ role: 'user', content: 'x' }, { role: 'system', content: 'x' }] }]), /conversations\[1\]\.turns\[1\]\.role is not user/],
      [file([{ ...chat, turns: [{ role: 'user', content: ['x'] }] }]), /conversations\[0\]\.turns\[0\]\.content is no string/],
    ])
    for (const [text, sentence] of cases) {
      await upload(page, text)
      await until(async () => sentence.test(await page.textContent('#error-text') ?? ''), `${text} gives ${sentence}, not ${await page.textContent('#error-text')}`)
    }
    assert.match(await page.innerText('#error-text'), /Choose a file that was exported here\.$/)
    assert.deepEqual(await stored(page), [])
    assert.deepEqual(complaints, [])
    await close()
  })
})
