/** Who takes part in the benchmark, and how a measurement of each is made. */
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium, currentNode, nativeCompiler } from '../../wasm/setup.mjs'
import { run, say } from '../../wasm/shell.mjs'
import { nibbleInChromium, wllamaInChromium } from './browser.mjs'
import { installPeers, modules } from './peers.mjs'
import { Missing, output, processors } from './process.mjs'

const here = dirname(fileURLToPath(import.meta.url))
/** Megabytes that each thread reads: several times a large cache. */
const READ_MB = 256
/** wllama is so slow that the whole task would take most of the time; its speed hardly depends on these lengths. @param {Task} task @returns {Task} */
export const shorter = (task) => ({ ...task, prompt: Math.ceil(task.prompt / 4), generated: Math.min(task.generated, Math.max(8, Math.ceil(task.generated / 4))) })

/** @typedef {import('./measure.js').Task} Task */
/** @typedef {Awaited<ReturnType<typeof import('./measure.js').measure>> & {program: string, memory?: {before?: number, peak?: number}}} Measurement */
/** @typedef {{label: string, measure: (file: string, task: Task) => Promise<Measurement>}} Contender */

/** All names, with what they are; those with `opt` take part only when they are named. @type {Record<string, {label: string, opt?: boolean}>} */
export const CONTENDERS = {
  chromium: { label: 'Nibble, Chromium' },
  'chromium-strict': { label: 'Nibble strict, Chromium' },
  node: { label: `Nibble, Node ${process.versions.node.split('.')[0]}` },
  'node-current': { label: 'Nibble, current Node' },
  'node-revectorize': { label: 'Nibble, current Node --experimental-wasm-revectorize', opt: true },
  wllama: { label: 'wllama, Chromium' },
  native: { label: 'llama.cpp, native' },
}

/** Compiles one of the C programs beside this file, where it is not. @param {string} cache @param {string} source @param {string} name @param {string[]} flags */
function compile(cache, source, name, flags) {
  const compiler = nativeCompiler(), target = join(cache, name), file = join(here, source)
  if (!compiler) return undefined
  if (existsSync(target) && statSync(target).mtimeMs >= statSync(file).mtimeMs) return target
  mkdirSync(cache, { recursive: true })
  run(compiler, [file, '-o', target, ...flags], { fail: `${source} cannot be compiled` })
  return target
}

/**
 * Gets everything ready that the chosen contenders need.
 * @param {string[]} names  of CONTENDERS @param {string} cache  a folder
 */
export function prepare(names, cache) {
  const linux = process.platform === 'linux', browser = names.some((n) => n.startsWith('chromium') || n === 'wllama') ? chromium() : undefined
  const node = currentNode()
  const gone = installPeers(names.includes('native') || names.includes('wllama'))
  const pin = linux && names.includes('native') ? compile(cache, 'pin.c', 'pin.so', ['-O2', '-shared', '-fPIC', '-ldl']) : undefined
  const reader = linux ? compile(cache, 'read.c', 'read', ['-O3', '-march=native', '-pthread']) : undefined
  if (names.includes('native') && !pin) say('llama.cpp\'s threads are not pinned to cores (that takes Linux and a C compiler): its figures with 2 threads may be too low')
  const cpus = processors().list

  const chromiumOr = () => {
    if (!browser) throw new Missing('there is no Chromium')
    return browser
  }
  const inNode = (/** @type {string | undefined} */ program, /** @type {string[]} */ flags = []) => async (/** @type {string} */ file, /** @type {Task} */ task) => {
    if (!program) throw new Missing('a current Node cannot be installed')
    return JSON.parse(await output(program, [...flags, join(here, 'nibble_child.mjs'), file, JSON.stringify(task)]))
  }
  /** @type {Record<string, Contender['measure']>} */
  const ways = {
    chromium: async (file, task) => nibbleInChromium(chromiumOr(), file, task),
    'chromium-strict': async (file, task) => nibbleInChromium(chromiumOr(), file, { ...task, variant: 'simd128' }),
    node: inNode(process.execPath),
    'node-current': inNode(node),
    'node-revectorize': inNode(node, ['--experimental-wasm-revectorize']),
    wllama: async (file, task) => {
      if (gone.wllama) throw new Missing(gone.wllama)
      return /** @type {any} */ (await wllamaInChromium(chromiumOr(), modules, file, shorter(task)))
    },
    native: async (file, task) => {
      if (gone.native) throw new Missing(gone.native)
      const env = pin ? { LD_PRELOAD: pin, NIBBLE_BENCH_CPUS: cpus.slice(0, task.threads).join(',') } : {}
      return JSON.parse(await output(process.execPath, [join(here, 'native_child.mjs'), modules, file, JSON.stringify(task)], { env }))
    },
  }
  // A current Node that is the running one is one contender, not two.
  const chosen = names.filter((name) => !(name === 'node' && node === process.execPath && names.includes('node-current')))
  return {
    /** @type {[string, Contender][]} */
    contenders: chosen.map((name) => [name, { label: CONTENDERS[name].label, measure: ways[name] }]),
    pinned: pin !== undefined,
    /**
     * How fast memory is read, GB/s.
     * @param {'native' | 'wasm'} kind @param {number} threads
     */
    async bandwidth(kind, threads) {
      if (kind === 'native' && !reader) throw new Missing('no C compiler, or not Linux')
      const text = await (kind === 'native' ? output(/** @type {string} */ (reader), [`${READ_MB}`, cpus.slice(0, threads).join(',')])
        : output(node ?? process.execPath, [join(here, 'read_wasm.mjs'), `${READ_MB}`, `${threads}`]))
      return Number(text)
    },
  }
}
