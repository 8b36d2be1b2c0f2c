/**
 * `npm run bench:page`: the page as a visitor meets it, in headless Chromium. See HELP.
 *
 * cold    the first visit: nothing is kept
 * warm    the next one: the service worker and the browser's cache have all that the page is made of
 *
 * first paint     the browser's first contentful paint
 * usable          the composer takes a message (which waits for the model): the page's code has run
 * interactive     usable, and no task of more than 50 ms follows until all is at rest
 * blocked         what tasks between first paint and interactive took beyond 50 ms each, in sum (Lighthouse's total blocking time)
 * ready           the model can answer
 * first token     from the start of the visit until an answer of one token is there, where a message is sent as soon as the page is usable
 *
 * The throttled rows slow the page's own thread down, as DevTools do; its workers go on at full speed, so that they say nothing of the model's speed.
 */
import { statSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { basename, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { chromium as driver } from 'playwright-core'
import { serve } from '../../demo/server.mjs'
import { chromium } from '../../wasm/setup.mjs'
import { runMain, SetupError } from '../../wasm/shell.mjs'
import { median } from './figures.mjs'

const HELP = `npm run bench:page -- [options]

  --model FILE     a GGUF file that the page keeps: time from its start to the first token
  --rounds N       (default 5)
  --throttle N     how many times slower the page's thread is in the throttled rows (default 4)
  --json FILE      every measurement`

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
const QUESTION = 'Tell me about the sea.'
/** Milliseconds without a request or a long task, after which all is at rest. */
const REST = 1500

/** @typedef {{paint: number, usable: number, interactive: number, blocked: number, ready: number, token: number | undefined}} Visit  milliseconds */

/**
 * Counts the bytes of every file on its way from a server. @param {string} to
 * @returns {Promise<{url: string, sent: Map<string, number>, close: () => void}>}
 */
async function counting(to) {
  /** @type {Map<string, number>} */
  const sent = new Map()
  const server = http.createServer((request, response) => {
    const path = request.url ?? '/'
    http.get(new URL(path, to), { headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.on('data', (chunk) => sent.set(path, (sent.get(path) ?? 0) + chunk.length)).pipe(response)
    }).on('error', () => response.destroy())
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', () => done(undefined)))
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  return { url: `http://127.0.0.1:${port}/`, sent, close: () => { server.closeAllConnections(); server.close() } }
}

/** Runs in the page before its own code: notes when what happens. @param {{question: string | undefined, earlier: number}} how  earlier: answers that the conversation already has */
function watch({ question, earlier }) {
  const g = /** @type {any} */ (globalThis)
  const seen = g.seen = { usable: 0, ready: 0, token: 0, last: 0, tasks: /** @type {{start: number, end: number}[]} */ ([]) }
  try {
    localStorage.setItem('nibble-settings', JSON.stringify({ temperature: '0', max_tokens: '1' }))
  } catch {} // an empty document
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) seen.tasks.push({ start: startTime, end: startTime + duration })
    seen.last = performance.now()
  }).observe({ type: 'longtask', buffered: true })
  const look = () => {
    const now = performance.now(), at = (/** @type {string} */ selector) => /** @type {any} */ (document.querySelector(selector))
    if (!seen.usable && at('#starting[hidden]')) {
      seen.usable = now
      if (question !== undefined) setTimeout(() => {
        at('#prompt').value = question
        at('#composer').requestSubmit()
      })
    }
    if (!seen.ready && at('body[data-model="ready"]')) seen.ready = now
    const answer = question !== undefined && document.querySelectorAll('.message.assistant')[earlier]
    if (!seen.token && answer && !answer.hasAttribute('aria-busy')) seen.token = now
  }
  new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true, attributes: true })
}

/**
 * One visit, observed until all is at rest.
 * @param {import('playwright-core').BrowserContext} context @param {string} url @param {{slow?: number, question?: string, earlier?: number}} [how] @returns {Promise<Visit>}
 */
async function visit(context, url, { slow = 1, question, earlier = 0 } = {}) {
  let requested = Date.now()
  const note = () => { requested = Date.now() }
  context.on('request', note)
  const page = await context.newPage()
  try {
    await page.addInitScript(watch, { question, earlier })
    if (slow > 1) await (await context.newCDPSession(page)).send('Emulation.setCPUThrottlingRate', { rate: slow })
    await page.goto(url)
    await page.waitForFunction((asked) => /** @type {any} */ (globalThis).seen[asked ? 'token' : 'ready'] > 0, question !== undefined, { timeout: 60_000 })
    await page.evaluate(() => navigator.serviceWorker.ready.then(() => {}))
    while (Date.now() - requested < REST || await page.evaluate((rest) => performance.now() - /** @type {any} */ (globalThis).seen.last < rest, REST)) await page.waitForTimeout(200)
    const { seen, paint } = await page.evaluate(() => ({
      seen: /** @type {any} */ (globalThis).seen, paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0,
    }))
    const tasks = /** @type {{start: number, end: number}[]} */ (seen.tasks).filter(({ end }) => end > paint)
    return {
      paint, usable: seen.usable, ready: seen.ready, token: question === undefined ? undefined : seen.token,
      interactive: Math.max(seen.usable, paint, ...tasks.map(({ end }) => end)),
      blocked: tasks.reduce((sum, { start, end }) => sum + Math.max(0, end - Math.max(start, paint) - 50), 0),
    }
  } finally {
    context.off('request', note)
    await page.close()
  }
}

/** The page with the embedded model, cold and warm, at both speeds. @param {import('playwright-core').Browser} browser @param {number} rounds @param {number} throttle */
async function embedded(browser, rounds, throttle) {
  /** @type {Record<string, Visit[]>} */
  const visits = {}
  /** @type {Record<string, Record<string, number>>} */
  const bytes = {}
  const server = await serve()
  try {
    for (let round = 0; round < rounds; round++) {
      for (const slow of [1, throttle]) {
        const name = (/** @type {string} */ state) => (slow > 1 ? `${state}, 1/${slow} of the speed` : state)
        for (const question of [undefined, QUESTION]) {
          const counter = await counting(server.url), context = await browser.newContext()
          try {
            for (const state of ['cold', 'warm']) {
              counter.sent.clear()
              const kind = `${name(state)}${question === undefined ? '' : ', asked'}`
              ;(visits[kind] ??= []).push(await visit(context, counter.url, { slow, question, earlier: state === 'warm' ? 1 : 0 }))
              if (round === 0 && slow === 1 && question === undefined) bytes[state] = Object.fromEntries([...counter.sent].sort(([, a], [, b]) => b - a))
            }
          } finally {
            await context.close()
            counter.close()
          }
        }
      }
    }
  } finally {
    await server.close()
  }
  return { visits, bytes }
}

/**
 * The page with a model that it keeps: picked once, then opened by the page itself at every visit.
 * @param {import('playwright-core').Browser} browser @param {string} file @param {number} rounds
 */
async function kept(browser, file, rounds) {
  const server = await serve({ model: null }), context = await browser.newContext(), visits = []
  try {
    const page = await context.newPage()
    await page.goto(server.url)
    await page.setInputFiles('#file', file)
    await page.waitForFunction(() => /"local:/.test(localStorage.getItem('nibble-model') ?? ''), undefined, { timeout: 600_000 }) // when it is kept
    await page.close()
    for (let round = 0; round < rounds; round++) visits.push(await visit(context, server.url, { question: QUESTION, earlier: round }))
  } finally {
    await context.close()
    await server.close()
  }
  return visits
}

const cell = (/** @type {number[]} */ values) =>
  (values.length > 1 ? `${Math.round(median(values))} (${Math.round(Math.min(...values))}–${Math.round(Math.max(...values))})` : String(Math.round(values[0])))

/** @param {Record<string, Visit[]>} visits */
function table(visits) {
  const lines = ['| milliseconds | first paint | usable | interactive | blocked | model ready | first token |', '|---|---|---|---|---|---|---|']
  for (const [name, all] of Object.entries(visits)) {
    if (name.endsWith(', asked')) continue
    const tokens = (visits[`${name}, asked`] ?? all).flatMap(({ token }) => token ?? [])
    const of = (/** @type {'paint' | 'usable' | 'interactive' | 'blocked' | 'ready'} */ key) => cell(all.map((v) => v[key]))
    lines.push(`| ${name} | ${of('paint')} | ${of('usable')} | ${of('interactive')} | ${of('blocked')} | ${of('ready')} | ${tokens.length ? cell(tokens) : '–'} |`)
  }
  return lines.join('\n')
}

await runMain(async () => {
  let values
  try {
    ({ values } = parseArgs({ options: { model: { type: 'string' }, rounds: { type: 'string' }, throttle: { type: 'string' }, json: { type: 'string' }, help: { type: 'boolean' } } }))
  } catch (error) {
    throw new SetupError(`${/** @type {Error} */ (error).message.split('. ')[0]}; npm run bench:page -- --help says what there is`)
  }
  if (values.help) return console.log(HELP)
  const rounds = Number(values.rounds ?? 5), throttle = Number(values.throttle ?? 4)
  if (!Number.isInteger(rounds) || rounds < 1) throw new SetupError(`--rounds takes a whole number of at least 1, not '${values.rounds}'`)
  if (!(throttle >= 1)) throw new SetupError(`--throttle takes a number of at least 1, not '${values.throttle}'`)
  const model = values.model && resolve(process.env.INIT_CWD ?? '.', values.model), size = model ? statSync(model, { throwIfNoEntry: false })?.size : 0
  if (size === undefined) throw new SetupError(`there is no file ${model}`)
  const executablePath = chromium()
  if (!executablePath) throw new SetupError('this needs Chromium')
  const browser = await driver.launch({ executablePath, args: FLAGS })
  try {
    const { visits, bytes } = await embedded(browser, rounds, throttle)
    console.log(`Chromium ${browser.version()}; ${rounds > 1 ? `medians of ${rounds} (least to most)` : 'one round'}\n\n${table(visits)}\n`)
    console.log(`| kB transferred | ${Object.keys(bytes).join(' | ')} |\n|---|${Object.keys(bytes).map(() => '---|').join('')}`)
    const kilobytes = (/** @type {number} */ n) => (n / 1000).toFixed(1)
    for (const path of new Set(Object.values(bytes).flatMap((files) => Object.keys(files)))) console.log(`| ${path} | ${Object.values(bytes).map((files) => kilobytes(files[path] ?? 0)).join(' | ')} |`)
    console.log(`| all | ${Object.values(bytes).map((files) => kilobytes(Object.values(files).reduce((sum, n) => sum + n, 0))).join(' | ')} |`)
    /** @type {Visit[] | undefined} */
    let big
    if (model) {
      big = await kept(browser, model, rounds)
      console.log(`\n${table({ [`kept: ${basename(model)}, ${(size / 1e6).toFixed(0)} MB`]: big })}`)
    }
    if (values.json) writeFileSync(values.json, JSON.stringify({ browser: browser.version(), rounds, throttle, visits, bytes, kept: big && { model: basename(String(model)), size, visits: big } }, undefined, 1))
  } finally {
    await browser.close()
  }
})
