/**
 * `npm run test:examples`: demo/examples as their readers get them, with the package as it is packed: installed, built, opened in Chromium, chatted with. Needs the registry of npm for
 * Vite and React, so it is no part of `npm test`.
 */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { chromium as driver } from 'playwright-core'
import { chromium } from '../../wasm/setup.mjs'
import { root } from '../../wasm/shell.mjs'

const run = promisify(execFile)
const ARGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
const INSTALL = ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--prefer-offline']

const work = mkdtempSync(join(tmpdir(), 'nibble-examples-'))
/** @type {string} */ let tarball
/** @type {import('playwright-core').Browser} */ let browser
/** @type {(() => void)[]} */
const ends = []
before(async () => {
  const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', work], { cwd: root })
  tarball = join(work, JSON.parse(stdout)[0].filename)
  browser = await driver.launch({ executablePath: chromium() ?? undefined, args: ARGS })
})
after(async () => {
  for (const end of ends) end()
  await browser.close()
  rmSync(work, { recursive: true, force: true })
})

/** A copy of an example outside of the clone, where it has the packed package. @param {string} name */
async function copy(name) {
  const folder = join(work, name)
  cpSync(join(root, 'demo/examples', name), folder, { recursive: true, filter: (path) => !/node_modules|\/out$|package-lock\.json$/.test(path) })
  const file = join(folder, 'package.json')
  const json = JSON.parse(readFileSync(file, 'utf8'))
  json.dependencies['nibble-llm'] = `file:${tarball}`
  writeFileSync(file, JSON.stringify(json))
  await run('npm', INSTALL, { cwd: folder })
  return folder
}

/** @returns {Promise<number>} */
const freePort = () => new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
    server.close(() => resolve(port))
  })
})

/** Starts a server and waits until it answers. @param {string} folder @param {string} command @param {(port: string) => string[]} args */
async function start(folder, command, args) {
  const port = await freePort()
  const child = spawn(command, args(String(port)), { cwd: folder, stdio: 'ignore' })
  ends.push(() => child.kill())
  const url = `http://127.0.0.1:${port}/`
  for (let end = Date.now() + 30_000; ;) {
    if (await fetch(url).then((r) => r.ok, () => false)) return url
    if (Date.now() > end) throw new Error(`${command} does not answer`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

/** Asks in the page's text field and waits for a story. @param {import('playwright-core').Page} page @param {string} label */
async function chat(page, label) {
  /** @type {string[]} */
  const complaints = []
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('console', (message) => message.type() === 'error' && !/favicon/.test(message.location().url) && complaints.push(message.text()))
  await page.getByLabel(label).fill('Write a story about a dog.')
  await page.getByLabel(label).press('Enter')
  await page.getByRole('button', { name: 'Stop' }).waitFor()
  await page.getByRole('button', { name: 'Send' }).waitFor({ timeout: 60_000 })
  const text = await page.getByRole('log').innerText()
  assert.match(text.replace('Write a story about a dog.', ''), /\w+ \w+ \w+.*\./s)
  assert.deepEqual(complaints, [])
}

test('node: the script tells a story', async () => {
  const folder = await copy('node')
  const { stdout } = await run('npm', ['start', '--silent', '--', 'Write a story about a cat.'], { cwd: folder })
  assert.match(stdout, /\w+ \w+ \w+.*\./s)
})

test('plain-html: the commands of its README give a page that answers', async () => {
  const folder = join(work, 'my-page')
  const lines = readFileSync(join(root, 'demo/examples/plain-html/README.md'), 'utf8').split('\n').filter((line) => /^ {4}cp /.test(line)).map((line) => line.replaceAll('/tmp/my-page', folder))
  await run('sh', ['-ec', lines.join('\n')], { cwd: root })
  const page = await browser.newPage()
  await page.goto(await start(folder, 'python3', (port) => ['-m', 'http.server', '--bind', '127.0.0.1', port]))
  await chat(page, 'What shall the story be about?')
  await page.close()
})

test('vite-react: as it is built, and in development', async () => {
  const folder = await copy('vite-react')
  await run('npm', ['run', 'build'], { cwd: folder })
  for (const args of [['preview'], []]) {
    const page = await browser.newPage()
    await page.goto(await start(folder, process.execPath, (port) => ['node_modules/vite/bin/vite.js', ...args, '--host', '127.0.0.1', '--port', port, '--strictPort']))
    assert.equal(await page.evaluate(() => crossOriginIsolated), true)
    await chat(page, 'Message')
    await page.close()
  }
})

test('extension: loaded unpacked, its panel answers, with nothing asked of any host', async () => {
  const folder = await copy('extension')
  await run('npm', ['run', 'build'], { cwd: folder })
  const out = join(folder, 'out')
  const context = await driver.launchPersistentContext(join(work, 'profile'), {
    executablePath: chromium() ?? undefined, ignoreDefaultArgs: ['--disable-extensions'], args: [...ARGS, `--disable-extensions-except=${out}`, `--load-extension=${out}`],
  })
  try {
    const worker = context.serviceWorkers()[0] ?? await context.waitForEvent('serviceworker')
    /** @type {string[]} */
    const foreign = []
    context.on('request', (request) => request.url().startsWith('chrome-extension:') || foreign.push(request.url()))
    const page = await context.newPage()
    await page.goto(new URL('/panel.html', worker.url()).href)
    await page.waitForFunction(() => /** @type {any} */ (document.querySelector('nibble-chat')).loaded)
    await chat(page, 'Message')
    assert.deepEqual(foreign, [])
  } finally {
    await context.close()
  }
})
