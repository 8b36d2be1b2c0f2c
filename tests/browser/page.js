/** What tests of the chat page do with it. */
import { until } from './browser.js'

/** @typedef {import('playwright-core').Page} Page */

/** @param {Page} page */
export const ready = (page) => page.waitForSelector('body[data-model="ready"]')
/** @param {Page} page */
export const idle = (page) => page.waitForSelector('body:not([data-busy])')

/** Also where the panel is not shown. @param {Page} page @param {Record<string, string>} values */
export const settings = (page, values) => page.evaluate((values) => {
  for (const [name, value] of Object.entries(values)) {
    const field = /** @type {any} */ (document.querySelector(`#settings [name="${name}"]`))
    field.value = value
    for (const type of ['input', 'change']) field.dispatchEvent(new Event(type, { bubbles: true }))
  }
}, values)

/** @param {Page} page @param {string} text */
export async function send(page, text) {
  await page.fill('#prompt', text)
  await page.press('#prompt', 'Enter')
}

/** @param {Page} page */
export const lastBody = (page) => page.locator('.message').last().locator('.body')
/** @param {Page} page */
export const lastNote = (page) => page.evaluate(() => [...document.querySelectorAll('.message')].pop()?.querySelector('.note')?.textContent ?? '')

/** Sends a message and waits for its answer. @param {Page} page @param {string} text */
export async function ask(page, text) {
  await send(page, text)
  await page.waitForFunction((text) => [...document.querySelectorAll('.message .body')].some((body) => body.textContent?.startsWith(text)), text)
  await until(async () => /tokens? |failed/.test(`${await lastNote(page)} ${await page.locator('.note.failed').count() ? 'failed' : ''}`) && await page.evaluate(() => !document.body.hasAttribute('data-busy')), 'the answer')
}

/** For the page to evaluate: its next answer comes to a halt after two tokens, however fast the engine is, so that there is time to stop it. */
export function halt() {
  const post = Worker.prototype.postMessage
  Worker.prototype.postMessage = function (/** @type {any} */ message, /** @type {any[]} */ ...rest) {
    if (message?.pull) { // what the page takes for many
      Worker.prototype.postMessage = post
      message.pull = 2
    }
    return /** @type {Function} */ (post).call(this, message, ...rest)
  }
}

/** The conversations that the page keeps, the latest first. @param {Page} page @returns {Promise<import('../../demo/store.js').Chat[]>} */
export const stored = (page) => page.evaluate(() => new Promise((resolve, reject) => {
  const opening = indexedDB.open('nibble')
  opening.onerror = () => reject(opening.error)
  opening.onsuccess = () => {
    const asking = opening.result.transaction('conversations').objectStore('conversations').getAll()
    asking.onsuccess = () => {
      opening.result.close()
      resolve(asking.result.sort((a, b) => b.updated - a.updated))
    }
  }
}))

/** What the latest conversation says, as it was written. @param {Page} page */
export const contents = async (page) => (await stored(page))[0]?.turns.map(({ content }) => content) ?? []

/** Drops a file on the page. @param {Page} page @param {string} name @param {Uint8Array} bytes */
export const drop = (page, name, bytes) => page.evaluate(([name, base64]) => {
  const transfer = new DataTransfer()
  transfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name))
  for (const type of ['dragover', 'drop']) document.body.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }))
}, [name, Buffer.from(bytes).toString('base64')])
