/**
 * Three browser engines behind one small interface, for tests that are to hold in each of them: Chromium, driven by Playwright, and Firefox and WebKitGTK by
 * WebDriver's commands, which one takes over a socket (Marionette), the other over HTTP (WebKitWebDriver).
 *
 * A browser has one page. Tests serve theirs from a new port, and with it from an origin whose storage is empty.
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { chromium as driver } from 'playwright-core'
import { chromium, firefox, webkit } from '../../wasm/setup.mjs'
import { FLAGS, until } from './browser.js'

/**
 * What a browser is asked to do.
 * @typedef {object} Driver
 * @property {string} version
 * @property {(url: string) => Promise<void>} go
 * @property {() => Promise<void>} reload
 * @property {(source: string) => Promise<unknown>} run  an expression, in the page; promises are waited for
 * @property {(selector: string) => Promise<void>} click
 * @property {(selector: string, text: string) => Promise<void>} fill  types into an emptied field
 * @property {(selector: string, key: keyof typeof KEYS) => Promise<void>} press
 * @property {(selector: string, file: string) => Promise<void>} choose  a file, in an <input>
 * @property {(width: number, height: number) => Promise<void>} resize
 * @property {() => Promise<Buffer>} capture  a PNG
 * @property {() => Promise<string[]>} complaints  errors and warnings on the console since the last time, violations of policies among them
 * @property {() => Promise<void>} close
 */

/** As WebDriver writes keys that are no characters. */
const KEYS = { Enter: '\uE007', Escape: '\uE00C', Tab: '\uE004' }

/** Of WebDriver's references to elements. */
const ELEMENT = 'element-6066-11e4-a52e-4f735466cecf'

// ---- Chromium ---------------------------------------------------------------------------------------------------------------------

/** @param {string} program @returns {Promise<Driver>} */
async function openChromium(program) {
  const browser = await driver.launch({ executablePath: program, args: FLAGS })
  const page = await browser.newPage()
  /** @type {string[]} */
  let complaints = []
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(`${message.text()} (${message.location().url})`)
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.setDefaultTimeout(15_000)
  return {
    version: `Chromium ${browser.version()}`,
    go: async (url) => void await page.goto(url),
    reload: async () => void await page.reload(),
    run: (source) => page.evaluate(source),
    click: (selector) => page.click(selector),
    fill: (selector, text) => page.fill(selector, text),
    press: (selector, key) => page.press(selector, key),
    choose: (selector, file) => page.setInputFiles(selector, file),
    resize: (width, height) => page.setViewportSize({ width, height }),
    capture: () => page.screenshot(),
    async complaints() {
      const since = complaints
      complaints = []
      return since
    },
    close: () => browser.close(),
  }
}

// ---- WebDriver --------------------------------------------------------------------------------------------------------------------

/**
 * What both other engines do alike.
 * @param {(command: string, parameters?: Record<string, unknown>) => Promise<any>} send  a command by its name in Marionette, without 'WebDriver:'
 * @returns {Omit<Driver, 'version' | 'resize' | 'complaints' | 'close'>}
 */
function webDriver(send) {
  const find = async (/** @type {string} */ selector) => ({ id: (await send('FindElement', { using: 'css selector', value: selector }))[ELEMENT] })
  let at = ''
  return {
    go: (url) => send('Navigate', { url: at = url }),
    reload: () => send('Navigate', { url: at }), // Firefox's own command passes by the cache and the service worker
    async run(source) {
      const script = `const done = arguments[0]
        new Promise((resolve) => resolve(${source})).then((value) => done({ value }), (error) => done({ error: String(error) + '\\n' + error?.stack }))`
      const { value, error } = await send('ExecuteAsyncScript', { script, args: [] })
      if (error !== undefined) throw new Error(error)
      return value
    },
    click: async (selector) => send('ElementClick', await find(selector)),
    async fill(selector, text) {
      const element = await find(selector)
      await send('ElementClear', element)
      if (text) await send('ElementSendKeys', { ...element, text })
    },
    press: async (selector, key) => send('ElementSendKeys', { ...await find(selector), text: KEYS[key] }),
    choose: async (selector, file) => send('ElementSendKeys', { ...await find(selector), text: file }),
    capture: async () => Buffer.from(await send('TakeScreenshot', { full: false }), 'base64'),
  }
}

// ---- Firefox ----------------------------------------------------------------------------------------------------------------------

/** Besides what Firefox sets by itself when it is driven. */
const PREFERENCES = {
  'marionette.port': 0, // any: it writes which into its profile
  'browser.shell.checkDefaultBrowser': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'services.settings.server': 'data:,#none',
}

/** @param {string} program @returns {Promise<Driver>} */
async function openFirefox(program) {
  const profile = await mkdtemp(join(tmpdir(), 'nibble-firefox-'))
  await writeFile(join(profile, 'user.js'), Object.entries(PREFERENCES).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`).join(''))
  const child = spawn(program, ['--headless', '--no-remote', '--marionette', '--remote-allow-system-access', '--profile', profile], { stdio: 'ignore', env: { ...process.env, HOME: profile } })
  const gone = new Promise((resolve) => child.once('exit', resolve))
  const ended = async () => {
    child.kill('SIGKILL')
    await gone
    await rm(profile, { recursive: true, force: true, maxRetries: 5 })
  }
  try {
    let port = 0
    await until(() => {
      try {
        port = Number(readFileSync(join(profile, 'MarionetteActivePort'), 'utf8'))
      } catch {}
      return port > 0
    }, 'Firefox listens', 60_000)
    const marionette = await openMarionette(port)
    const send = async (/** @type {string} */ command, /** @type {Record<string, unknown>} */ parameters = {}) => {
      const result = await marionette(`WebDriver:${command}`, parameters)
      return result !== null && typeof result === 'object' && 'value' in result ? result.value : result
    }
    const { capabilities } = await send('NewSession', { capabilities: { alwaysMatch: { acceptInsecureCerts: false } } })
    await send('SetTimeouts', { script: 60_000, pageLoad: 30_000 })
    /** Runs a script with the rights of the browser itself. @param {string} script @param {unknown[]} args */
    const inside = async (script, ...args) => {
      await marionette('Marionette:SetContext', { value: 'chrome' })
      try {
        return await send('ExecuteScript', { script, args })
      } finally {
        await marionette('Marionette:SetContext', { value: 'content' })
      }
    }
    return {
      version: `Firefox ${capabilities.browserVersion}`,
      ...webDriver(send),
      async resize(width, height) {
        await send('SetWindowRect', { width: Math.max(width, 600), height: height + 200 })
        // A window cannot be as narrow as a phone, but what it shows can.
        await inside(`const { style } = gBrowser.selectedBrowser
          for (const [side, length] of [['Width', arguments[0]], ['Height', arguments[1]]]) style['min' + side] = style['max' + side] = length + 'px'`, width, height)
        await until(async () => await send('ExecuteScript', { script: 'return innerWidth + "x" + innerHeight', args: [] }) === `${width}x${height}`, 'Firefox has the size')
      },
      complaints: () => inside(`const all = Services.console.getMessageArray().filter((m) => m instanceof Ci.nsIScriptError && /^http/.test(m.sourceName))
        const calls = Cc['@mozilla.org/consoleAPI-storage;1'].getService(Ci.nsIConsoleAPIStorage)
        const said = calls.getEvents().filter((e) => /^(error|warn)$/.test(e.level) && /^http/.test(e.filename)).map((e) => e.arguments.map(String).join(' '))
        Services.console.reset()
        calls.clearEvents()
        return [...all.map((m) => m.errorMessage + ' (' + m.sourceName + ')'), ...said]`),
      async close() {
        await marionette('Marionette:Quit', { flags: ['eForceQuit'] }).catch(() => {})
        await ended()
      },
    }
  } catch (error) {
    await ended()
    throw error
  }
}

/**
 * Marionette: every message is its length in bytes, a colon, and JSON: [0, id, command, parameters], answered by [1, id, error, result].
 * @param {number} port
 */
async function openMarionette(port) {
  const socket = net.connect(port, '127.0.0.1')
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
  const asked = new Map()
  let buffer = Buffer.alloc(0), last = 0
  const hello = new Promise((resolve, reject) => asked.set(0, { resolve, reject }))
  socket.on('data', (data) => {
    buffer = Buffer.concat([buffer, data])
    for (;;) {
      const colon = buffer.indexOf(':'), length = Number(buffer.subarray(0, Math.max(colon, 0)))
      if (colon < 0 || buffer.length < colon + 1 + length) return
      const message = JSON.parse(String(buffer.subarray(colon + 1, colon + 1 + length)))
      buffer = buffer.subarray(colon + 1 + length)
      const [, id, error, result] = Array.isArray(message) ? message : [1, 0, null, message]
      if (error) asked.get(id)?.reject(new Error(`${error.error}: ${error.message}`))
      else asked.get(id)?.resolve(result)
      asked.delete(id)
    }
  })
  const onEnd = (/** @type {unknown} */ error) => {
    for (const { reject } of asked.values()) reject(error instanceof Error ? error : new Error('Firefox has closed the connection'))
  }
  socket.on('error', onEnd).on('close', onEnd)
  await hello
  return (/** @type {string} */ command, /** @type {Record<string, unknown>} */ parameters = {}) => {
    const text = JSON.stringify([0, ++last, command, parameters])
    socket.write(`${Buffer.byteLength(text)}:${text}`)
    return /** @type {Promise<any>} */ (new Promise((resolve, reject) => asked.set(last, { resolve, reject })))
  }
}

// ---- WebKitGTK --------------------------------------------------------------------------------------------------------------------

/** The commands used here, as they are sent over HTTP. @type {Record<string, [method: string, path: string]>} */
const COMMANDS = {
  Navigate: ['POST', 'url'], ExecuteAsyncScript: ['POST', 'execute/async'], ExecuteScript: ['POST', 'execute/sync'], FindElement: ['POST', 'element'],
  ElementClick: ['POST', 'element/:id/click'], ElementClear: ['POST', 'element/:id/clear'], ElementSendKeys: ['POST', 'element/:id/value'], SetWindowRect: ['POST', 'window/rect'],
  TakeScreenshot: ['GET', 'screenshot'], SetTimeouts: ['POST', 'timeouts'], DeleteSession: ['DELETE', ''],
}

/** The console cannot be read from outside: the page is told to keep what comes there once it is loaded. */
const LISTEN = `(() => {
  const complaints = window.complaints = []
  for (const name of ['error', 'warn']) {
    const original = console[name]
    console[name] = (...all) => (complaints.push(all.map(String).join(' ')), original(...all))
  }
  addEventListener('error', ({ message, filename }) => complaints.push(message + ' (' + filename + ')'))
  addEventListener('unhandledrejection', ({ reason }) => complaints.push(String(reason)))
  addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI }) => complaints.push(effectiveDirective + ' forbids ' + blockedURI))
})()`

/** A port that nothing listens at. @returns {Promise<number>} */
const freePort = () => new Promise((resolve) => {
  const server = net.createServer().listen(0, '127.0.0.1', () => {
    const { port } = /** @type {net.AddressInfo} */ (server.address())
    server.close(() => resolve(port))
  })
})

/** @param {{driver: string, browser: string, display: string}} programs @returns {Promise<Driver>} */
async function openWebKit({ driver, browser, display }) {
  const home = await mkdtemp(join(tmpdir(), 'nibble-webkit-'))
  const screen = spawn(display, ['-displayfd', '3', '-screen', '0', '1600x1300x24', '-nolisten', 'tcp'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] })
  /** @type {import('node:child_process').ChildProcess[]} */
  const children = [screen]
  const ended = async () => {
    for (const child of children.reverse()) {
      const gone = child.exitCode !== null ? undefined : new Promise((resolve) => child.once('exit', resolve))
      child.kill()
      await gone
    }
    await rm(home, { recursive: true, force: true, maxRetries: 5 })
  }
  try {
    const number = await new Promise((resolve, reject) => {
      screen.stdio[3]?.once('data', (data) => resolve(String(data).trim()))
      screen.once('exit', () => reject(new Error('Xvfb ends at once')))
    })
    const port = await freePort()
    const env = {
      // Drawing as on a GPU, without one, would give two frames a second.
      ...process.env, WEBKIT_SKIA_ENABLE_CPU_RENDERING: '1', DISPLAY: `:${number}`, HOME: home, XDG_RUNTIME_DIR: home, XDG_DATA_HOME: home, XDG_CACHE_HOME: home, XDG_CONFIG_HOME: home, GDK_BACKEND: 'x11', NO_AT_BRIDGE: '1',
      DBUS_SESSION_BUS_ADDRESS: 'disabled:', ...(process.getuid?.() === 0 && { WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: '1' }),
    }
    // Its toolbar is wider than a phone.
    await mkdir(join(home, 'gtk-3.0'))
    await writeFile(join(home, 'gtk-3.0/gtk.css'), '* { min-width: 0; min-height: 0; margin: 0; padding: 0; border-width: 0; font-size: 1px; -gtk-icon-transform: scale(0) }\n')
    children.push(spawn(driver, [`--port=${port}`], { env, stdio: 'ignore' }))
    const http = async (/** @type {string} */ method, /** @type {string} */ path, /** @type {unknown} */ body) => {
      const response = await fetch(`http://127.0.0.1:${port}/${path}`, { method, ...(method === 'POST' && { body: JSON.stringify(body) }) })
      const { value } = /** @type {any} */ (await response.json())
      if (!response.ok) throw new Error(`${value?.error}: ${value?.message}`)
      return value
    }
    await until(() => http('GET', 'status', undefined).then(() => true, () => false), 'WebKitWebDriver answers', 30_000)
    const { sessionId, capabilities } = await http('POST', 'session', {
      capabilities: { alwaysMatch: { 'webkitgtk:browserOptions': { binary: browser, args: ['--automation'] } } },
    })
    const send = (/** @type {string} */ command, /** @type {Record<string, unknown>} */ { id, ...parameters } = {}) => {
      const [method, path] = COMMANDS[command]
      return http(method, `session/${sessionId}/${path.replace(':id', String(id))}`.replace(/\/$/, ''), parameters)
    }
    await send('SetTimeouts', { script: 60_000, pageLoad: 30_000 })
    const common = webDriver(send)
    return {
      version: `WebKitGTK ${capabilities.browserVersion}`,
      ...common,
      async go(url) {
        await common.go(url)
        await common.run(LISTEN)
      },
      async reload() {
        await common.reload()
        await common.run(LISTEN)
      },
      async resize(width, height) {
        const size = async () => /** @type {number[]} */ (await send('ExecuteScript', { script: 'return [innerWidth, innerHeight, outerWidth, outerHeight]', args: [] }))
        await until(async () => {
          const [innerWidth, innerHeight, outerWidth, outerHeight] = await size()
          if (innerWidth === width && innerHeight === height) return true
          await send('SetWindowRect', { width: width + outerWidth - innerWidth, height: height + outerHeight - innerHeight })
          return false
        }, 'WebKitGTK has the size')
      },
      complaints: async () => /** @type {string[]} */ (await common.run('(window.complaints ?? []).splice(0)')),
      async close() {
        await send('DeleteSession').catch(() => {})
        await ended()
      },
    }
  } catch (error) {
    await ended()
    throw error
  }
}

// ---- all of them ------------------------------------------------------------------------------------------------------------------

/** @typedef {'Chromium' | 'Firefox' | 'WebKitGTK'} EngineName */

/** @type {Record<EngineName, {find: () => any, open: (found: any) => Promise<Driver>}>} */
const ENGINES = {
  Chromium: { find: chromium, open: openChromium },
  Firefox: { find: firefox, open: openFirefox },
  WebKitGTK: { find: webkit, open: openWebKit },
}

/** Those to test in: all that are here, or those that NIBBLE_ENGINES names. The others have the reason for which they are left out. */
export const engines = /** @type {EngineName[]} */ (Object.keys(ENGINES)).map((name) => {
  const named = process.env.NIBBLE_ENGINES, wanted = !named || named.toLowerCase().split(',').includes(name.toLowerCase())
  const found = wanted ? ENGINES[name].find() : undefined
  return { name, skip: found ? false : wanted ? `there is no ${name}` : 'not in NIBBLE_ENGINES', open: async () => new Browser(await ENGINES[name].open(found)) }
})

/** A browser with a page. */
export class Browser {
  /** @param {Driver} driver */
  constructor(driver) {
    this.driver = driver
    ;({ version: this.version, go: this.go, reload: this.reload, fill: this.fill, press: this.press, choose: this.choose, resize: this.resize,
      complaints: this.complaints, close: this.close } = driver)
  }

  /**
   * Calls a function in the page; promises are waited for, and all that crosses is JSON.
   * @template T @param {(...args: any[]) => T} f @param {unknown[]} args @returns {Promise<Awaited<T>>}
   */
  evaluate(f, ...args) {
    return /** @type {any} */ (this.driver.run(`(${f})(...${JSON.stringify(args)})`))
  }

  /** Presses what is shown, or soon will be. @param {string} selector */
  async click(selector) {
    await this.shows(selector)
    await this.driver.click(selector)
  }

  /** The text of the first element. @param {string} selector @returns {Promise<string>} */
  text(selector) {
    return this.evaluate((selector) => document.querySelector(selector)?.textContent ?? '', selector)
  }

  /** Waits until an element is there, and can be seen. @param {string} selector @param {number} [ms] */
  shows(selector, ms = 20_000) {
    return until(() => this.evaluate((selector) => [...document.querySelectorAll(selector)].some((e) => e.checkVisibility()), selector), `${selector} is shown`, ms)
  }

  /** Drops a file onto the page. @param {Uint8Array} bytes @param {string} name */
  drop(bytes, name) {
    return this.evaluate((base64, name) => {
      const transfer = new DataTransfer()
      transfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name))
      for (const type of ['dragover', 'drop']) document.body.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }))
    }, Buffer.from(bytes).toString('base64'), name)
  }

  /** A picture of what is seen. @param {string} file  a PNG */
  async screenshot(file) {
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, await this.driver.capture())
  }
}
