/**
 * The threads of an engine: how many there should be, starting them, and finding the number that is fastest on this machine.
 */
import { NibbleError } from './errors.js'
import { turn } from './generate.js'
import { cores, startThread } from './platform.js'

/** More have brought nothing yet, and each has a stack. */
const MOST = 16
const STACK = 128 << 10

/** Milliseconds in which threads must have begun; they are slow to begin where many pages do at once. */
const PATIENCE = 20_000

/**
 * Memory can be shared, and waited for, under Node and in the workers of pages that are isolated from others (COOP and COEP).
 * @param {import('./load.js').LoadOptions['threads']} wanted @param {import('./load.js').EngineOptions['wasm']} wasm
 */
async function chooseThreads(wanted, wasm) {
  const shares = typeof SharedArrayBuffer !== 'undefined', isolated = globalThis.crossOriginIsolated
  const why = isolated && !shares ? 'this browser has no memory that threads can share' : !shares || isolated === false ? 'the page must be served with the headers COOP and COEP'
    : typeof document === 'object' ? "a page's main thread may not wait for others; use nibble-llm/web" : ''
  if (wanted === 'auto') return why || wasm instanceof WebAssembly.Module ? 1 : Math.min(MOST, await cores())
  if (why) throw new NibbleError('E_UNSUPPORTED', `threads cannot be had: ${why}; or ask for one with threads: 1`)
  return wanted ?? 1
}

/**
 * An engine with as many threads as are wanted.
 * @param {typeof import('./runtime.js').Engine} Engine  handed over: in bundles this file stands by itself
 * @param {import('./load.js').LoadOptions} options
 */
export async function createEngine(Engine, { threads: wanted = 'auto', ...options }) {
  const threads = await chooseThreads(wanted, options.wasm)
  try {
    return await Engine.create({ ...options, threads })
  } catch (error) {
    // Not asked for, and not allowed by a page's policy: info.threads tells.
    if (threads > 1 && wanted === 'auto' && /** @type {any} */ (error).code === 'E_UNSUPPORTED') return Engine.create(options)
    throw error
  }
}

/**
 * Starts n - 1 threads beside this one and makes them the engine's team.
 * @param {import('./runtime.js').Engine} engine  of a module with threads
 * @param {WebAssembly.Module} module
 * @param {number} n
 */
export async function startTeam(engine, module, n) {
  engine.team = engine.ptr('nb_team_new', n)
  if (!engine.team) throw new NibbleError('E_NOMEM', 'not enough memory for threads')
  /** @type {import('./platform.js').Thread[]} */
  const threads = []
  engine.endThreads = ender(threads)
  finalizer.register(engine, engine.endThreads)
  const { memory } = engine.heap
  try {
    await Promise.all(Array.from({ length: n - 1 }, async (_, i) => {
      // A stack grows down from its end.
      const stack = engine.alloc(STACK + 16) + STACK & ~15
      const thread = await startThread({ module, memory, team: engine.team, index: i + 1, stack: stack >>> 0 })
      threads.push(thread)
      await thread.ready
    }))
    const start = performance.now()
    while (engine.call('nb_team_present', engine.team) < n - 1) {
      if (performance.now() - start > PATIENCE) throw new Error('they do not begin')
      await turn()
    }
  } catch (error) {
    engine.endThreads()
    throw new NibbleError('E_UNSUPPORTED', `threads cannot be started here: ${/** @type {Error} */ (error).message}; ask for one with threads: 1`, { cause: error })
  }
  engine.threads = n
}

/** What ends threads, apart from what knows the engine: the finalizer holds it. @param {import('./platform.js').Thread[]} threads */
const ender = (threads) => () => {
  for (const thread of threads.splice(0)) thread.end()
}

/** Threads of engines that were forgotten; those that are disposed of end theirs. @type {FinalizationRegistry<() => void>} */
const finalizer = new FinalizationRegistry((end) => end())

/**
 * Tries how many threads evaluate single tokens fastest, and keeps that number: hyper-threads are no cores, and small models are done before
 * a thread wakes up.
 * @param {import('./model.js').Model} model  with nothing evaluated yet
 */
export async function tune({ engine, main, info }) {
  const all = engine.threads
  const candidates = [all]
  if (all > 2) candidates.push(Math.ceil(all / 2))
  if (info.weight_bytes < 64e6) candidates.push(1) // larger ones gain by a second thread on every machine
  if (candidates.length === 1) return
  let best = all, least = Infinity
  for (const n of candidates) {
    engine.useThreads(n)
    for (let i = 0; i < 4; i++) {
      main.truncate(0)
      main.push([0])
      const start = performance.now()
      await main.evaluate()
      main.logitsPtr(0)
      const time = performance.now() - start
      if (i > 0 && time < least) [best, least] = [n, time] // the first one touches memory
    }
  }
  main.truncate(0)
  engine.useThreads(best)
}
