/**
 * Measurements in headless Chromium: Nibble through nibble-llm/web and wllama, in pages that are cross-origin isolated. Each has a browser of
 * its own; the model is picked as a user picks a file, so that it is read from the disk and copied nowhere.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { chromium as driver } from 'playwright-core'
import { serve } from '../../demo/server.mjs'
import { Missing, resident, sentence } from './process.mjs'

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
const PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>benchmark</title><link rel="icon" href="data:,"><input type="file">'

/** @type {(type: string, body: () => string | Buffer) => import('../../demo/server.mjs').Handler} */
const give = (type, body) => (_, response) => {
  response.removeHeader('content-security-policy') // wllama starts workers from blobs
  response.setHeader('content-type', type)
  response.end(body())
}

/** Routes for all files of a folder. @param {string} folder @param {string} path @returns {[string, import('../../demo/server.mjs').Handler][]} */
const routesOf = (folder, path) => readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
  const file = join(folder, entry.name), at = `${path}/${entry.name}`
  if (entry.isDirectory()) return routesOf(file, at)
  const type = entry.name.endsWith('.wasm') ? 'application/wasm' : 'text/javascript'
  return /\.(js|wasm)$/.test(entry.name) ? [[at, give(type, () => readFileSync(file))]] : []
})

/**
 * Opens a browser with a page and a file picked in it, evaluates a function there, and says what memory the page's process took.
 * @template A, R
 * @param {{chromium: string, file: string, routes: Record<string, import('../../demo/server.mjs').Handler>, seconds?: number}} where
 * @param {(argument: A) => Promise<R>} inPage @param {A} argument
 */
async function inBrowser({ chromium, file, routes, seconds = 900 }, inPage, argument) {
  const server = await serve({ routes: { '/bench': give('text/html', () => PAGE), ...routes } })
  const browser = await driver.launch({ executablePath: chromium, args: FLAGS })
  /** @type {NodeJS.Timeout | undefined} */
  let timer
  try {
    const page = await browser.newPage()
    await page.goto(`${server.url}bench`)
    await page.setInputFiles('input', file)
    const session = await browser.newBrowserCDPSession()
    const { processInfo } = await session.send('SystemInfo.getProcessInfo')
    const before = new Map(processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => [id, resident(id)]))
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Missing(`took longer than ${seconds} s`)), seconds * 1000)
    })
    const crash = new Promise((_, reject) => page.once('crash', () => reject(new Missing('the page crashed; is there enough memory?'))))
    const result = /** @type {Awaited<R>} */ (await Promise.race([page.evaluate(/** @type {any} */ (inPage), argument), late, crash]))
    // The page's process is the one that grew.
    const peaks = [...before].map(([id, memory]) => ({ before: memory?.now, peak: resident(id)?.peak ?? memory?.peak }))
    const memory = peaks.sort((a, b) => (b.peak ?? 0) - (a.peak ?? 0))[0]
    return { result, memory, browser: `Chromium ${browser.version()}` }
  } catch (error) {
    throw error instanceof Missing ? error : new Missing(sentence(error))
  } finally {
    clearTimeout(timer)
    await browser.close()
    await server.close()
  }
}

/**
 * @param {string} chromium @param {string} file @param {import('./measure.js').Task} task
 */
export async function nibbleInChromium(chromium, file, task) {
  const routes = { '/measure.js': give('text/javascript', () => readFileSync(new URL('measure.js', import.meta.url))) }
  const { result, memory, browser } = await inBrowser({ chromium, file, routes }, async (task) => {
    const at = (/** @type {string} */ path) => path // modules of the page, not of this file
    const [{ measure }, { load }] = await Promise.all([import(at('/measure.js')), import(at('/client.js'))])
    const source = /** @type {HTMLInputElement} */ (document.querySelector('input')).files?.[0]
    return /** @type {ReturnType<typeof import('./measure.js').measure>} */ (measure(load, source, task, { wasm: '/' }))
  }, task)
  return { ...result, program: browser, memory }
}

/**
 * wllama takes prompts as text only. A capital letter is one token in the vocabularies of the benchmark. Speeds are those of llama.cpp's own timers
 * in it.
 * @param {string} chromium @param {string} modules  node_modules @param {string} file @param {import('./measure.js').Task} task
 */
export async function wllamaInChromium(chromium, modules, file, task) {
  const folder = join(modules, '@wllama/wllama')
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const routes = Object.fromEntries(routesOf(join(folder, 'esm'), '/wllama'))
  const { result, memory, browser } = await inBrowser({ chromium, file, routes }, async ({ prompt, generated, threads }) => {
    const at = (/** @type {string} */ path) => path
    const { Wllama, LoggerWithoutDebug } = await import(at('/wllama/index.js'))
    const wllama = new Wllama({ default: '/wllama/wasm/wllama.wasm' }, { logger: LoggerWithoutDebug, suppressNativeLog: true })
    const start = performance.now()
    await wllama.loadModel([...(document.querySelector('input')?.files ?? [])], { n_threads: threads, n_gpu_layers: 0, n_ctx: prompt + generated + 1, n_parallel: 1, seed: 1 })
    const load_s = (performance.now() - start) / 1000
    if (wllama.getNumThreads() !== threads) throw new Error(`it runs on ${wllama.getNumThreads()} threads instead of ${threads}`)
    const run = async (/** @type {number} */ letters, /** @type {number} */ n, /** @type {number} */ from) => {
      const text = Array.from({ length: letters }, (_, i) => String.fromCharCode(65 + (from + i * 7919 + (i >> 3)) % 26)).join('')
      /** @type {any} */
      let timings
      await wllama.createCompletion({
        prompt: text, max_tokens: n, n_predict: n, temperature: 0, top_k: 1, samplers: ['top_k'], ignore_eos: true, cache_prompt: false, stream: true, timings_per_token: true,
        onData: (/** @type {any} */ chunk) => { timings = chunk.timings ?? timings },
      })
      if (!timings) throw new Error('it gives no timings')
      return timings
    }
    await run(Math.min(32, prompt), Math.min(8, generated), 1)
    const t = await run(prompt, generated + 1, 2)
    if (Math.abs(t.prompt_n - prompt) > 1) throw new Error(`asked for ${prompt} tokens of prompt, it evaluated ${t.prompt_n}`)
    return { load_s, threads, prefill_tps: t.prompt_per_second, decode_tps: t.predicted_per_second }
  }, task)
  return { ...result, program: `wllama ${version}, ${browser}`, memory }
}

/** @typedef {{read_s: number, load_s: number, first_s: number}} Start */

/**
 * A start from a file that the page keeps (OPFS): the seconds to read it, to load it, and to the first token.
 * @param {string} chromium @param {string} file @param {number} threads @returns {Promise<Start>}
 */
export async function startInChromium(chromium, file, threads) {
  const { result } = await inBrowser({ chromium, file, routes: {} }, async (threads) => {
    const at = (/** @type {string} */ path) => path
    const picked = /** @type {File} */ (/** @type {HTMLInputElement} */ (document.querySelector('input')).files?.[0])
    const kept = await (await navigator.storage.getDirectory()).getFileHandle('model.gguf', { create: true })
    await picked.stream().pipeTo(await kept.createWritable())
    const source = await kept.getFile()
    const reading = performance.now()
    const reader = source.stream().getReader({ mode: 'byob' })
    for (let piece = new Uint8Array(1 << 20); ;) {
      const { done, value } = await reader.read(piece)
      if (done) break
      piece = new Uint8Array(value.buffer)
    }
    const start = performance.now()
    const { load } = await import(at('/client.js'))
    const model = await load(source, { wasm: '/', threads, contextLength: 512 })
    await model.completions.create({ prompt: [5], max_tokens: 1, temperature: 0 })
    const end = performance.now()
    const { load_s } = model
    await model.dispose()
    return { read_s: (start - reading) / 1000, load_s, first_s: (end - start) / 1000 }
  }, threads)
  return result
}
