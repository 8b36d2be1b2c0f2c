/**
 * The page without its server. What it is made of is kept under the version it was built as, each file by its SHA-256, so that versions never mix: a new one is
 * installed whole beside the old one, and takes over when that is in no tab any more. Models are not kept here
 * (the worker that fetches keeps them, the embedded one, too), and nothing that is said to one ever comes here.
 *
 * Files that come from here have the headers of headers.js, also where their host sends none: so threads work on static hosts.
 */
import { TYPES, headersFor } from './headers.js'

/**
 * Written by web/bundle.mjs: `early` is kept at once, `late` (the quantizer) when it is used.
 * @type {{version: string, early: Record<string, string>, late: Record<string, string>}}
 */
// @ts-expect-error replaced
const { version, early, late } = NIBBLE_BUILD

const PREFIX = 'nibble-page-'
const CACHE = PREFIX + version
const worker = /** @type {any} */ (self)
const scope = new URL(worker.registration.scope)
/** The page itself: hosts call it by either name. */
const PAGE = new URL('./', scope).href
/** Milliseconds that the server has to show whether it has another version. */
const PATIENCE = 3000

/** A file's name below the scope. @param {string} url */
const nameOf = (url) => (url.startsWith(scope.href) ? url.slice(scope.href.length).replace(/[?#].*$/, '') : '')
/** @param {string} name */
const hashOf = (name) => (Object.hasOwn(early, name) ? early[name] : Object.hasOwn(late, name) ? late[name] : undefined)

/** With the headers that it should have. @param {Response} response @param {string} name */
function guarded(response, name) {
  const headers = new Headers(response.headers)
  for (const [key, value] of Object.entries(headersFor(`/${name}`))) if (!headers.has(key)) headers.set(key, value)
  const type = TYPES[/\.\w+$/.exec(name || 'index.html')?.[0] ?? '']
  if (type) headers.set('content-type', type)
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers })
}

/** A file of this version, or an error. @param {string} name */
async function fetchFile(name) {
  const response = await fetch(new URL(name, scope), { integrity: `sha256-${hashOf(name)}`, cache: 'no-cache', credentials: 'same-origin' })
  if (!response.ok) throw new TypeError(`${name}: HTTP ${response.status}`)
  return response
}

/** The page as the server has it now; undefined where that is another version, or none. @param {AbortSignal} [signal] */
async function fetchPage(signal) {
  const response = await fetch(PAGE, { cache: 'no-cache', credentials: 'same-origin', signal })
  if (!response.ok) return undefined
  return (await response.clone().text()).includes(`data-build="${version}"`) ? response : undefined
}

async function installFiles() {
  const cache = await caches.open(CACHE)
  const page = await fetchPage()
  if (!page) throw new TypeError('the page is of another version')
  await Promise.all(Object.keys(early).map(async (name) => {
    const url = new URL(name, scope).href
    if (!(await cache.match(url))) await cache.put(url, await fetchFile(name))
  }))
  await cache.put(PAGE, page)
}

async function removeOthers() {
  for (const name of await caches.keys()) if (name.startsWith(PREFIX) && name !== CACHE) await caches.delete(name)
  void worker.clients.claim() // not waited for: Firefox asks the threads of the engine, too, which may be asleep, and nothing is fetched while this is not done
}

/** The server may have been started with another model; else the page is the one that is kept. */
async function page() {
  const kept = await (await caches.open(CACHE)).match(PAGE)
  if (!kept) return guarded(await fetch(PAGE), '')
  const fresh = await fetchPage(AbortSignal.timeout(PATIENCE)).catch(() => undefined)
  return guarded(fresh ?? kept, '')
}

/** @param {string} name */
async function file(name) {
  const cache = await caches.open(CACHE), url = new URL(name, scope).href
  const kept = await cache.match(url)
  if (kept) return guarded(kept, name)
  const response = await fetchFile(name)
  await cache.put(url, response.clone()).catch(() => {}) // no room: it stays with the server
  return guarded(response, name)
}

worker.addEventListener('install', (/** @type {any} */ event) => event.waitUntil(installFiles()))
worker.addEventListener('activate', (/** @type {any} */ event) => event.waitUntil(removeOthers()))
worker.addEventListener('message', (/** @type {any} */ event) => event.waitUntil((async () => {
  if (event.data !== 'take over') return
  for (let tries = 20; tries > 0; tries--) { // the page that was there before the one that asks is not gone at once
    const tabs = await worker.clients.matchAll({ type: 'window', includeUncontrolled: true })
    if (tabs.length <= 1) return worker.skipWaiting()
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
})()))
worker.addEventListener('fetch', (/** @type {any} */ event) => {
  const { request } = event, name = nameOf(request.url)
  if (request.method !== 'GET' || !request.url.startsWith(scope.href)) return
  if (request.mode === 'navigate' && (name === '' || name === 'index.html')) event.respondWith(page())
  else if (hashOf(name) !== undefined) event.respondWith(file(name))
})
