// The page for everyone: axe finds nothing in either theme, on desktop and phone; it fits, keeps its theme, and works from the keyboard.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { readFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { openPage, until } from './browser.js'
import { ask, halt, idle, lastNote, ready, settings } from './page.js'

/** @typedef {import('playwright-core').Page} Page */

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What axe finds, in words. @param {Page} page @returns {Promise<string[]>} */
async function findings(page) {
  // By the debugger, past the policies of the page.
  if (!await page.evaluate(() => 'axe' in globalThis)) await page.evaluate(axe)
  await page.evaluate(() => Promise.all(document.getAnimations().filter(({ effect }) => Number.isFinite(effect?.getComputedTiming().endTime)).map((animation) => animation.finished)))
  return page.evaluate(async () => {
    const { violations, passes } = await /** @type {any} */ (globalThis).axe.run(document, { resultTypes: ['violations'] })
    if (passes.length < 20) throw new Error(`axe tried ${passes.length} rules only`)
    return violations.flatMap((/** @type {any} */ { id, nodes }) => nodes.map((/** @type {any} */ node) => `${id}: ${node.target.join(' ')}: ${node.failureSummary}`))
  })
}

/** Nothing sticks out to the right. @param {Page} page @param {string} view */
async function fits(page, view) {
  const wide = await page.evaluate(() => [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && !e.closest('.hidden, .code pre, .table, .drawings') && e.getBoundingClientRect().right > innerWidth + 0.5).map((e) => e.outerHTML.slice(0, 80)))
  assert.deepEqual(wide, [], view)
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth === innerWidth), true, view)
}

const ANSWER = '# A title\n\nText with `code`, **weight** and [a link](https://example.org/).\n\n```js\nconst aVeryLongNameOfSomething = anotherVeryLongName(andAnArgument, andOneMore, andTheLastOne)\n```\n\n- one\n- two\n\n> quoted\n\n| a | b |\n|---|--:|\n| averylongwordinatable | anotherverylongwordinatable |\n\nAveryveryveryveryveryveryveryveryveryveryverylongword.'
const CONVERSATIONS = JSON.stringify({
  format: 'nibble-conversations', version: 1,
  conversations: Array.from({ length: 7 }, (_, i) => ({
    id: `c${i}`, title: `Conversation ${i} with a title that is longer than its place`, created: i, updated: i, system: '',
    turns: [{ role: 'user', content: 'Hello' }, { role: 'assistant', content: ANSWER, note: '12 tokens · 90 tokens/s', tokens: 40 }, { role: 'user', content: 'And?' }, { role: 'assistant', content: '', note: 'It failed.', failed: true }],
  })),
})

const DEVICES = /** @type {const} */ ({ desktop: { viewport: { width: 1280, height: 800 } }, phone: { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true } })

for (const [device, context] of Object.entries(DEVICES)) {
  for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
    test(`axe finds nothing on a ${device}, ${colorScheme}, and everything fits`, async () => {
      const { page, complaints, close } = await openPage({ embedded: true, context: { ...context, colorScheme } })
      const phone = device === 'phone'
      const check = async (/** @type {string} */ view) => {
        assert.deepEqual(await findings(page), [], view)
        await fits(page, view)
      }
      await ready(page)
      await check('empty')
      await page.setInputFiles('#import', { name: 'c.json', mimeType: 'application/json', buffer: Buffer.from(CONVERSATIONS) })
      await until(async () => await page.locator('#conversations .open').count() === 7, 'the import')
      if (phone) await page.tap('#sidebar-toggle')
      await check('list of conversations')
      await page.locator('#conversations .open').first().click()
      await page.waitForSelector('.code')
      await check('conversation')
      await settings(page, { max_tokens: '5', temperature: '0' })
      await page.locator('.message.user').last().locator('[data-action="edit"]').click()
      await check('editing')
      await page.click('[data-action="save-edit"]')
      await until(async () => /tokens/.test(await lastNote(page)), 'the answer')
      await check('undo')
      if (phone) {
        await page.tap('#panel-toggle')
        await check('settings')
        await page.tap('#panel-close')
      }
      await page.click('#model-button')
      await until(async () => await page.locator('#model-list > li').count() === 1, 'the list of models')
      await check('models')
      await page.fill('#url', 'nothing')
      await page.press('#url', 'Enter')
      await page.waitForSelector('#error:not([hidden])')
      await check('error')
      assert.deepEqual(complaints.filter((text) => !/nothing/.test(text)), [])
      await close()
    })
  }
}

describe('themes', () => {
  test('follow the system until one is chosen, which is kept', async () => {
    const { page, complaints, close } = await openPage({ embedded: true, context: { colorScheme: 'dark' } })
    const light = () => page.evaluate(() => {
      const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\d+/g)?.map(Number) ?? []
      return r + g + b > 384
    })
    assert.equal(await light(), false)
    await page.emulateMedia({ colorScheme: 'light' })
    assert.equal(await light(), true)
    await page.check('[name="theme"][value="dark"]')
    assert.equal(await light(), false)
    await page.reload()
    assert.equal(await light(), false)
    assert.equal(await page.isChecked('[name="theme"][value="dark"]'), true)
    await page.check('[name="theme"][value="system"]')
    assert.equal(await light(), true)
    assert.deepEqual(complaints, [])
    await close()
  })
  test('nothing moves for those who do not want it', async () => {
    const { page, close } = await openPage({ embedded: true, context: { reducedMotion: 'reduce' } })
    await ready(page)
    assert.deepEqual(await page.evaluate(() => document.getAnimations().map((animation) => /** @type {any} */ (animation).animationName ?? 'transition')), [])
    await close()
  })
})

describe('the keyboard', () => {
  test('sends by Enter, begins lines by Shift+Enter, stops by Escape; the end is announced', async () => {
    const { page, complaints, close } = await openPage({ embedded: true })
    await ready(page)
    await settings(page, { max_tokens: '1500', temperature: '0' })
    await page.focus('#prompt')
    await page.keyboard.type('One line')
    await page.keyboard.press('Shift+Enter')
    await page.keyboard.type('and another')
    await page.evaluate(halt)
    await page.keyboard.press('Enter')
    assert.equal(await page.locator('.user .body').textContent(), 'One line\nand another')
    await page.waitForFunction(() => (document.querySelector('.assistant .body')?.textContent?.length ?? 0) > 0)
    assert.equal(await page.getAttribute('#messages', 'aria-busy'), 'true')
    await page.keyboard.press('Escape')
    await idle(page)
    assert.equal(await page.getAttribute('#messages', 'aria-busy'), null)
    assert.match(await page.innerText('#announce'), /Stopped/)
    assert.deepEqual(complaints, [])
    await close()
  })
  test('reaches everything: each button and field in the order of the page, with a name', async () => {
    const { page, close } = await openPage({ embedded: true })
    await ready(page)
    await settings(page, { max_tokens: '5' })
    await ask(page, 'Hello')
    const wanted = await page.evaluate(() => [...document.querySelectorAll('button, input:not([type=radio]), textarea, [tabindex="0"]')].filter((e) => e.checkVisibility() && !e.closest('dialog')).length)
    await page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement).blur())
    const seen = new Set()
    for (let i = 0; i < wanted + 5; i++) {
      await page.keyboard.press('Tab')
      seen.add(await page.evaluate(() => [...document.querySelectorAll('*')].indexOf(/** @type {Element} */ (document.activeElement))))
    }
    assert.ok(seen.size >= wanted, `${seen.size} of ${wanted}`)
    await close()
  })
  test('on a phone the sides lie above the rest, which waits, and Escape closes them', async () => {
    const { page, close } = await openPage({ embedded: true, context: DEVICES.phone })
    await ready(page)
    for (const side of ['sidebar', 'panel']) {
      await page.focus(`#${side}-toggle`)
      await page.keyboard.press('Enter')
      assert.equal(await page.evaluate(() => document.activeElement?.id), `${side}-close`)
      assert.equal(await page.evaluate(() => /** @type {any} */ (document.getElementById('stage')).inert), true)
      await page.keyboard.press('Escape')
      assert.equal(await page.isVisible(`#${side}`), false)
      assert.equal(await page.evaluate(() => document.activeElement?.id), `${side}-toggle`)
      assert.equal(await page.evaluate(() => /** @type {any} */ (document.getElementById('stage')).inert), false)
    }
    assert.ok(parseFloat(await page.evaluate(() => getComputedStyle(/** @type {Element} */ (document.querySelector('#prompt'))).fontSize)) >= 16)
    await close()
  })
})
