/**
 * What commands of the command line share in doing their work: files, models, progress, figures.
 */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { NibbleError } from '../errors.js'
import { load } from '../load.js'
import { loadOptions } from './options.js'

/** Milliseconds that work may take before its progress is shown. */
const PATIENCE = 300

/**
 * Text of models and files must not steer a terminal: control characters but tabs and line ends become pictures of themselves.
 * @param {string} text
 */
export const harmless = (text) => text.replace(/[\0-\x08\v\f\x0e-\x1f\x7f-\x9f]|\r(?!\n)/g, (c) => {
  const code = c.charCodeAt(0)
  return String.fromCharCode(code < 0x20 ? 0x2400 + code : code === 0x7f ? 0x2421 : 0xfffd)
})

/** A line for people. @param {string} text */
export const say = (text) => void process.stderr.write(`${harmless(text)}\n`)
/** Text on standard output: for people where that is a terminal, as it is for files and pipes. @param {string} text */
export const print = (text) => void process.stdout.write(process.stdout.isTTY ? harmless(text) : text)

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`
  const unit = Math.min(3, Math.floor(Math.log10(bytes) / 3))
  return `${(bytes / 1000 ** unit).toFixed(unit > 1 ? 1 : 0)} ${['B', 'kB', 'MB', 'GB'][unit]}`
}

/** @param {number} n */
export function count(n) {
  if (n < 1e4) return String(n)
  return n < 1e6 ? `${(n / 1e3).toFixed(0)}k` : n < 1e9 ? `${(n / 1e6).toFixed(n < 1e7 ? 1 : 0)}M` : `${(n / 1e9).toFixed(2)}B`
}

/**
 * A progress bar on standard error: only on a terminal, and only for work that takes a while.
 * @param {string} what
 * @returns {{update: (done: number, total: number | undefined, detail?: string) => void, end: () => void}}
 */
export function progressBar(what) {
  const start = performance.now()
  let last = 0
  const visible = process.stderr.isTTY === true
  return {
    update(done, total, detail = '') {
      const now = performance.now()
      if (!visible || now - start < PATIENCE || now - last < 100) return
      last = now
      const part = total ? Math.min(1, done / total) : 0
      const bar = total ? `${'█'.repeat(Math.round(part * 24)).padEnd(24, '░')} ${(part * 100).toFixed(0).padStart(3)} %` : '…'
      process.stderr.write(`\r\x1b[K${what} ${bar} ${detail}`)
    },
    end() {
      if (last) process.stderr.write('\r\x1b[K')
    },
  }
}

/**
 * Loads the model of a command, showing progress.
 * @param {string} source @param {import('./options.js').Values} values @param {AbortSignal} signal
 */
export async function loadModel(source, values, signal) {
  const bar = progressBar('loading')
  let warned = ''
  try {
    return await load(source, {
      ...loadOptions(values), signal,
      onProgress({ loaded, total, warning }) {
        if (warning) warned = `nibble: ${warning.message} (${warning.code})`
        bar.update(loaded, total, total ? `${size(loaded)} of ${size(total)}` : size(loaded))
      },
    })
  } finally {
    bar.end()
    if (warned) say(warned)
  }
}

/** The model that comes with Nibble (demo/model): what commands run on where none is named. */
export const EMBEDDED = fileURLToPath(new URL('../../demo/model/Llama-Nibble-Stories-5M-Q4_0.gguf', import.meta.url))

/** Whether an argument names a model rather than being a prompt. @param {string} text */
const namesModel = (text) => /\.gguf$/i.test(text) || /^https?:\/\//i.test(text) || existsSync(text)

/**
 * The arguments of a command that takes `[MODEL] ["text"]`: a single one is the text, unless it names a model.
 * @param {string[]} args @returns {[source: string, words: string | undefined]}
 */
export function modelAndText([first, second]) {
  if (first === undefined) return [EMBEDDED, undefined]
  return second !== undefined || namesModel(first) ? [first, second] : [EMBEDDED, first]
}

/** A text file; '-' is standard input. @param {string} path @returns {Promise<string>} */
export async function readText(path) {
  try {
    if (path !== '-') return await readFile(path, 'utf8')
    const chunks = []
    for await (const chunk of process.stdin) chunks.push(chunk)
    return Buffer.concat(chunks).toString('utf8')
  } catch (error) {
    const { code, message } = /** @type {NodeJS.ErrnoException} */ (error)
    throw new NibbleError('E_ARGUMENT', code === 'ENOENT' ? `there is no file ${path}` : `${path} cannot be read: ${message}`, { cause: error })
  }
}

/** @param {string} path */
export async function readJson(path) {
  const text = await readText(path)
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new NibbleError('E_ARGUMENT', `${path} is not JSON: ${/** @type {Error} */ (error).message}`, { cause: error })
  }
}

/** Seconds, tokens and bytes of a generation, in a line for people. @param {import('../completions.js').Timings} t @param {number} bytes */
export const speedLine = (t, bytes) =>
  `${t.prompt_n} prompt tokens at ${t.prefill_tps.toFixed(1)}/s, ${t.decode_n} generated at ${t.decode_tps.toFixed(1)}/s, ${size(bytes)} of memory`
