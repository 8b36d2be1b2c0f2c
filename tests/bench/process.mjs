/** Processes of the benchmark: running one measurement in a child, what it took of memory, and the machine's processors. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

/** @param {string} path */
function text(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/**
 * Resident memory of a process, now and at its highest, in bytes; undefined where the system does not tell.
 * @param {number | 'self'} pid
 * @returns {{now: number, peak: number} | undefined}
 */
export function resident(pid) {
  const status = text(`/proc/${pid}/status`)
  const field = (/** @type {string} */ name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? NaN) * 1024
  const memory = { now: field('VmRSS'), peak: field('VmHWM') }
  return Number.isNaN(memory.peak) ? undefined : memory
}

/** The processors that may be used: one of each core first, then their siblings. */
export function processors() {
  const allowed = /^Cpus_allowed_list:\s+(\S+)/m.exec(text('/proc/self/status'))?.[1]
  const list = allowed === undefined ? Array.from({ length: availableParallelism() }, (_, i) => i)
    : allowed.split(',').flatMap((range) => {
      const [from, to = from] = range.split('-').map(Number)
      return Array.from({ length: to - from + 1 }, (_, i) => from + i)
    })
  const cores = new Set(), first = [], rest = []
  for (const cpu of list) {
    const core = text(`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`) || `${cpu}`
    if (cores.has(core)) rest.push(cpu)
    else first.push(cpu)
    cores.add(core)
  }
  return { cores: first.length, list: [...first, ...rest] }
}

/** What keeps a measurement from being made; its sentence goes into the table. */
export class Missing extends Error {}

/** The last line that says something. @param {string} output */
function lastWords(output) {
  const lines = output.split('\n').map((line) => line.trim())
  return lines.find((line) => /^(\w*Error|Missing)\b.*: ./.test(line)) ?? lines.filter(Boolean).at(-1)
}

/**
 * Runs a program to its end and gives what it prints.
 * @param {string} command @param {string[]} args @param {{env?: NodeJS.ProcessEnv, seconds?: number}} [options]  seconds: the longest it may take
 * @returns {Promise<string>}
 */
export function output(command, args, { env = {}, seconds = 900 } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'], timeout: seconds * 1000, killSignal: 'SIGKILL' })
    let out = '', err = ''
    child.stdout.setEncoding('utf8').on('data', (s) => { out += s })
    child.stderr.setEncoding('utf8').on('data', (s) => { err = (err + s).slice(-10_000) })
    child.on('error', (error) => reject(new Missing(`${command} cannot be started: ${error.message}`)))
    child.on('close', (code, signal) => {
      if (code === 0) resolve(out)
      else if (child.killed) reject(new Missing(`took longer than ${seconds} s`))
      else reject(new Missing(lastWords(err) ?? `ended with ${code ?? signal}`))
    })
  })
}

/** @param {unknown} error */
export function sentence(error) {
  const message = error instanceof Error ? error.message : String(error)
  return message.split('\n')[0].replace(/^(page\.evaluate: )?((Uncaught )?(Error|NibbleError|TypeError|RuntimeError|Missing): )*/, '')
}
