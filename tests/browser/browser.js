/** Headless Chromium for the tests, with watch kept over everything it asks of the network. */
import { after } from 'node:test'
import { chromium as driver } from 'playwright-core'
import { serve } from '../../demo/server.mjs'
import { chromium } from '../../wasm/setup.mjs'

export const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

/** @type {Promise<import('playwright-core').Browser> | undefined} */
let launched
/** @type {Set<() => Promise<void>>} */
const opened = new Set()
after(async () => {
  for (const close of opened) await close()
  await (await launched)?.close()
})

export const EMPTY_PAGE = '<!doctype html><html lang="en"><title>empty</title><link rel="icon" href="data:,">'

/** For tests of the library: as the chat page's, but that the page may fetch and compile by itself, and start workers without a Trusted Types policy. */
export const EMPTY_POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; img-src data:"

/**
 * A page on a server of its own. Everything the browser asks for and complains about is kept.
 * @param {object} [options]
 * @param {string} [options.path]
 * @param {string | null} [options.model]  for the server
 * @param {boolean} [options.embedded]  whether the page opens the embedded one
 * @param {Record<string, import('../../demo/server.mjs').Handler>} [options.routes]
 * @param {import('playwright-core').BrowserContextOptions} [options.context]
 */
export async function openPage({ path = '', model = null, embedded = false, routes = {}, context: contextOptions } = {}) {
  const server = await serve({
    model: embedded ? undefined : model,
    routes: {
      '/empty': (_, response) => response.setHeader('content-security-policy', EMPTY_POLICY).setHeader('content-type', 'text/html').end(EMPTY_PAGE),
      ...routes,
    },
  })
  launched ??= driver.launch({ executablePath: chromium(), args: FLAGS })
  const context = await (await launched).newContext(contextOptions)
  const page = await context.newPage()
  /** @type {string[]} */
  const complaints = []
  /** @type {string[]} */
  const requests = []
  // Violations of the policies are errors on the console, too.
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(`${message.text()} (${message.location().url})`)
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  context.on('request', (request) => requests.push(request.url()))
  const close = async () => {
    opened.delete(close)
    await context.close()
    await server.close()
  }
  opened.add(close)
  page.setDefaultTimeout(15_000)
  await page.goto(server.url + path)
  return {
    page,
    context,
    server,
    complaints,
    requests,
    url: server.url,
    close,
  }
}

/** Waits until something holds. @param {() => boolean | Promise<boolean>} holds @param {string} what @param {number} [ms] */
export async function until(holds, what, ms = 10_000) {
  const end = Date.now() + ms
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
