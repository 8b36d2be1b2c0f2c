// With the headers that the page is served with: once a model is there, a conversation asks nothing of the network, and no code of the page or its workers,
// nor anything that a model writes, could.
import assert from 'node:assert/strict'
import dgram from 'node:dgram'
import http from 'node:http'
import { after, before, describe, test } from 'node:test'
import { openPage, until } from './browser.js'

const CANARY = 'canary-7f3a9c'

/** Hears of every attempt; it answers as if all were welcome. @type {string[]} */
const heard = []
/** @type {http.Server} */ let ear
/** For datagrams. @type {dgram.Socket} */ let otherEar
/** @type {string} */ let elsewhere
before(async () => {
  ear = http.createServer((request, response) => {
    heard.push(`${request.method} ${request.url}`)
    response.writeHead(200, { 'access-control-allow-origin': '*', 'cross-origin-resource-policy': 'cross-origin', 'content-type': 'text/javascript' }).end('')
  })
  ear.on('upgrade', (request, socket) => {
    heard.push(`upgrade ${request.url}`)
    socket.destroy()
  })
  // A byte counts, whatever it means; a connection that was opened in vain (Chromium does so for a frame that it then refuses) has told nothing.
  ear.on('connection', (socket) => socket.on('data', () => heard.push('bytes')))
  await new Promise((resolve) => ear.listen(0, '127.0.0.1', () => resolve(undefined)))
  elsewhere = `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (ear.address()).port}/${CANARY}`
  otherEar = dgram.createSocket('udp4').on('message', () => heard.push('datagram'))
  await new Promise((resolve) => otherEar.bind(Number(new URL(elsewhere).port), '127.0.0.1', () => resolve(undefined)))
})
after(() => {
  ear?.close()
  otherEar?.close()
})

/** @type {Awaited<ReturnType<typeof openPage>>} */ let it
before(async () => {
  it = await openPage({ embedded: true })
  await it.page.locator('body[data-model="ready"]').waitFor({ timeout: 30_000 })
  await it.page.evaluate(() => navigator.serviceWorker.ready)
  await until(() => it.page.evaluate(() => !!navigator.serviceWorker.controller), 'the service worker has taken over')
})

/** @param {string} text */
async function say(text) {
  const { page } = it, before = await page.locator('.message.assistant .note').count()
  await page.locator('#prompt').fill(text)
  await page.locator('#prompt').press('Enter')
  await until(async () => await page.locator('.message.assistant .note').count() > before && !(await page.locator('body[data-busy]').count()), 'the answer is complete', 30_000)
}

test('a conversation makes no request, and what is said stays in the conversation', async () => {
  const { page, requests, context } = it
  if (!(await page.locator('#settings [name=max_tokens]').isVisible())) await page.locator('#panel-toggle').click()
  await page.locator('#settings [name=max_tokens]').fill('16')
  const client = await context.newCDPSession(page)
  await client.send('Network.enable')
  /** @type {string[]} */
  const seen = []
  client.on('Network.requestWillBeSent', ({ request }) => seen.push(request.url))
  client.on('Network.webSocketCreated', ({ url }) => seen.push(url))
  const asked = requests.length
  await say(`My secret is ${CANARY}.`)
  await say(`Repeat ${CANARY}, please.`)
  assert.deepEqual(seen, [])
  assert.deepEqual(requests.slice(asked), [])
  // It is in the conversations' database, and nowhere else that outlasts the page.
  const kept = await page.evaluate(async (canary) => {
    const places = [JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie, location.href]
    for (const name of await caches.keys()) for (const { url } of await (await caches.open(name)).keys()) places.push(url)
    return places.filter((text) => text.includes(canary))
  }, CANARY)
  assert.deepEqual(kept, [])
})

/**
 * Ways out, each tried for real; those that can tell resolve when they are over. Run in the page and in workers, so that it must stand by itself.
 * @param {string} url
 */
async function attempts(url) {
  const g = /** @type {any} */ (globalThis), socket = url.replace('http', 'ws')
  /** @type {Record<string, () => unknown>} */
  const ways = {
    fetch: () => g.fetch(url, { method: 'POST', body: 'x', mode: 'no-cors' }),
    XMLHttpRequest: () => new Promise((resolve, reject) => {
      const request = new g.XMLHttpRequest()
      request.onload = resolve
      request.onerror = reject
      request.open('GET', url)
      request.send()
    }),
    WebSocket: () => new Promise((resolve, reject) => Object.assign(new g.WebSocket(socket), { onopen: resolve, onerror: reject })),
    EventSource: () => new Promise((resolve, reject) => Object.assign(new g.EventSource(url), { onopen: resolve, onerror: reject })),
    WebTransport: () => new g.WebTransport(url.replace('http:', 'https:')).ready,
    beacon: () => {
      g.navigator.sendBeacon(url, 'x')
      throw new Error('whatever it did, the other end hears of it')
    },
    importScripts: () => g.importScripts(url),
    'import()': () => import(url),
    Worker: () => new Promise((resolve, reject) => Object.assign(new g.Worker(url), { onmessage: resolve, onerror: reject })),
  }
  if (g.document) {
    const add = (/** @type {string} */ tag, /** @type {Record<string, string>} */ values) => () => new Promise((resolve, reject) => {
      const node = Object.assign(g.document.createElement(tag), { onload: resolve, onerror: reject })
      for (const [name, value] of Object.entries(values)) node.setAttribute(name, value)
      g.document.body.append(node)
      setTimeout(() => reject(new Error('nothing happened')), 500)
    })
    Object.assign(ways, {
      image: add('img', { src: url }), video: add('video', { src: url }), object: add('object', { data: url }),
      stylesheet: add('link', { rel: 'stylesheet', href: url }), prefetch: add('link', { rel: 'prefetch', href: url }), preload: add('link', { rel: 'preload', as: 'image', href: url }),
      'style attribute': add('div', { style: `background:url(${url});width:9px;height:9px` }),
      form: () => new Promise((_, reject) => {
        const form = Object.assign(g.document.createElement('form'), { action: url, method: 'post', target: '_self' })
        g.document.body.append(form)
        form.submit()
        setTimeout(() => reject(new Error('nothing happened')), 300)
      }),
      iframe: async () => {
        await add('iframe', { src: url })().catch(() => {}) // an empty frame in its place is loaded
        throw new Error('whatever it did, the other end hears of it')
      },
    })
  }
  /** @type {Record<string, string>} */
  const results = {}
  for (const [name, way] of Object.entries(ways)) {
    try {
      await Promise.race([way(), new Promise((_, reject) => setTimeout(() => reject(new Error('nothing happened')), 1500))])
      results[name] = 'went through'
    } catch (error) {
      results[name] = String(/** @type {any} */ (error)?.message ?? /** @type {any} */ (error)?.type ?? error)
    }
  }
  return results
}

describe('ways out that are closed', () => {
  /** @param {Record<string, string>} results */
  const noneWent = (results) => {
    assert.deepEqual(Object.entries(results).filter(([, result]) => result === 'went through'), [])
    assert.deepEqual(heard, [])
  }

  test('from the page itself', async () => noneWent(await it.page.evaluate(attempts, elsewhere)))

  test('from the worker that hears what is said', async () => {
    const worker = it.page.workers().find((w) => /\/worker\.js$/.test(w.url()))
    assert.ok(worker, it.page.workers().map((w) => w.url()).join())
    noneWent(await worker.evaluate(attempts, elsewhere))
    // Not even to the page's own server, but for scripts of its own.
    const { 'import()': _, Worker, ...rest } = await worker.evaluate(attempts, `${it.url}${CANARY}`)
    noneWent(rest)
    // What CSP does not govern is not there.
    assert.deepEqual(await worker.evaluate(() => ['RTCPeerConnection', 'open', 'document', 'Image'].filter((name) => name in self)), [])
  })

  test('what a model writes is text: no image, no link that is followed, no markup', async () => {
    const { page } = it
    const text = [`![x](${elsewhere})`, `<img src="${elsewhere}">`, `[x](${elsewhere})`, `<script>fetch("${elsewhere}")</script>`, `<style>@import "${elsewhere}"</style>`,
      `<link rel=prefetch href="${elsewhere}">`, `<iframe src="${elsewhere}"></iframe>`, `<meta http-equiv=refresh content="0;url=${elsewhere}">`, `[x]: ${elsewhere}\n[x]`, `<${elsewhere}>`].join('\n\n')
    // As it comes from a model: put into the database, where answers are, and opened.
    const id = await page.evaluate(async ({ text }) => {
      const db = await new Promise((/** @type {(db: IDBDatabase) => void} */ resolve, reject) => {
        const request = indexedDB.open('nibble')
        request.onsuccess = () => resolve(request.result)
        request.onerror = reject
      })
      const id = 'hostile'
      await new Promise((resolve, reject) => {
        const tx = db.transaction('conversations', 'readwrite')
        tx.objectStore('conversations').put({ id, title: 'hostile', created: Date.now(), updated: Date.now(), system: '', turns: [{ role: 'user', content: 'x' }, { role: 'assistant', content: text }] })
        tx.oncomplete = resolve
        tx.onerror = reject
      })
      db.close()
      localStorage.setItem('nibble-conversation', JSON.stringify(id))
      return id
    }, { text })
    await page.reload()
    await page.locator(`#conversations li[data-id="${id}"] button.open`).first().click()
    const body = page.locator('.message.assistant .body').first()
    await body.waitFor()
    assert.ok((await body.innerText()).includes(CANARY), 'it is shown')
    assert.equal(await body.locator('img, script, style, link, iframe, meta, a[href]').count(), 0)
    await page.waitForTimeout(500)
    assert.deepEqual(heard, [])
  })

  test('the worker that may fetch is gone when there is something to hear', async () => {
    const { page } = it
    await page.locator('body[data-model="ready"]').waitFor({ timeout: 30_000 })
    await page.locator('#new-chat').click()
    await until(() => !page.workers().some((w) => /fetch-worker/.test(w.url())), 'the fetching worker has ended')
    await say(`My secret is ${CANARY}.`)
    assert.deepEqual(page.workers().map((w) => w.url()).filter((url) => !/\/(worker|thread)\.js$/.test(url)), [])
  })
})
