/**
 * A worker's side of protocol.js: takes what the page asks for, hands out streams, reads sources that live in the page, tells that it lives.
 */
import { PROTOCOL, packError, unpackError } from './protocol.js'

/** Milliseconds between messages of progress, and between those of a fast stream. */
const PROGRESS_EVERY = 50
const CHUNKS_EVERY = 8
/** Bytes asked of a source in the page at once. */
const READ = 256 << 10

/**
 * What can be asked for, by its name.
 * @typedef {{id: number, signal: AbortSignal}} Context
 * @typedef {Record<string, (context: Context, ...args: any[]) => unknown>} Operations
 * @type {Operations}
 */
let operations
/** Bytes of the engine's memory. @type {() => number} */
let memory
/** What the engine died of. @type {() => Error | null | undefined} */
let died

/**
 * Work under way: how to end it, and for streams how many chunks their reader takes.
 * @typedef {{controller: AbortController, room: number, wake: () => void, generator?: AsyncGenerator<unknown>}} Entry
 * @type {Map<number, Entry>}
 */
const entries = new Map()
/** Reads of sources in the page that wait for their answer. @type {Map<number, {resolve: (bytes: Uint8Array | undefined) => void, reject: (error: Error) => void}>} */
const reads = new Map()

/** @param {Record<string, unknown>} message @param {Transferable[]} [transfer] */
const post = (message, transfer = []) => self.postMessage(message, { transfer })
/** @param {Record<string, unknown>} message @param {Transferable[]} [transfer] */
const answer = (message, transfer) => post({ ...message, wasm_bytes: memory() }, transfer)

/** @param {number} id @param {unknown} error */
function fail(id, error) {
  answer({ id, error: packError(error) })
  const dead = died()
  if (dead) post({ dead: packError(dead) })
}

/** A source that lives in the page, as a stream. @param {number} part */
function pageStream(part) {
  return new ReadableStream({
    async pull(controller) {
      /** @type {Uint8Array | undefined} */
      const bytes = await new Promise((resolve, reject) => {
        reads.set(part, { resolve, reject })
        post({ part, read: READ })
      })
      if (bytes) controller.enqueue(bytes)
      else controller.close()
    },
  })
}

/**
 * A source as the page sent it. Addresses are opened by the worker that fetches, where there is one.
 * @param {unknown} source @param {import('./fetching.js').Fetching} [fetching] @returns {any}
 */
export function openSource(source, fetching) {
  if (Array.isArray(source)) return source.map((one) => openSource(one, fetching))
  if (typeof source === 'string' && fetching) return fetching.source(source)
  return source !== null && typeof source === 'object' && 'part' in source ? pageStream(Number(source.part)) : source
}

/** Tells of progress now and then, and of the last state. @param {number} id */
export function reporter(id) {
  let last = -Infinity
  /** @type {unknown} */
  let held
  return {
    onProgress: (/** @type {unknown} */ progress) => {
      held = progress
      const now = performance.now()
      if (now - last < PROGRESS_EVERY) return
      last = now
      held = undefined
      post({ id, progress })
    },
    flush: () => {
      if (held) post({ id, progress: held })
    },
  }
}

/**
 * Hands out a stream as far as its reader takes it. A chunk that comes late goes at once; those of a fast model go together.
 * @param {number} id @param {Entry} entry @param {AsyncGenerator<unknown>} generator
 */
async function stream(id, entry, generator) {
  /** @type {unknown[]} */
  let chunks = []
  let last = -Infinity
  const flush = () => {
    if (chunks.length > 0) answer({ id, chunks })
    chunks = []
    last = performance.now()
  }
  try {
    for await (const chunk of generator) {
      chunks.push(chunk)
      entry.room--
      if (performance.now() - last >= CHUNKS_EVERY || entry.room <= 0) flush()
      while (entry.room <= 0 && !entry.controller.signal.aborted) await new Promise((resolve) => { entry.wake = () => resolve(undefined) })
    }
  } finally {
    flush()
  }
}

/** @param {number} id @param {string} op @param {unknown[]} args */
async function work(id, op, args) {
  const controller = new AbortController()
  /** @type {Entry} */
  const entry = { controller, room: 0, wake: () => {} }
  entries.set(id, entry)
  try {
    const result = await operations[op]({ id, signal: controller.signal }, ...args)
    if (result !== null && typeof result === 'object' && Symbol.asyncIterator in result) {
      entry.generator = /** @type {AsyncGenerator<unknown>} */ (result)
      answer({ id, result: null })
      return // it waits to be pulled
    }
    answer({ id, result }, [result, /** @type {any} */ (result)?.value].flatMap((bytes) => (ArrayBuffer.isView(bytes) ? [/** @type {ArrayBuffer} */ (bytes.buffer)] : [])))
  } catch (error) {
    fail(id, error)
  }
  entries.delete(id)
}

/** @param {number} id @param {Entry} entry @param {number} more */
async function pull(id, entry, more) {
  entry.room += more
  entry.wake()
  const { generator } = entry
  if (!generator) return
  entry.generator = undefined // it runs from here on
  try {
    await stream(id, entry, generator)
    answer({ id, end: true })
  } catch (error) {
    fail(id, error)
  }
  entries.delete(id)
}

/** @param {{data: any}} event */
function receive({ data }) {
  if ('op' in data) return void work(data.id, data.op, data.args)
  if ('part' in data) {
    const read = reads.get(data.part)
    reads.delete(data.part)
    if (data.error) read?.reject(unpackError(data.error))
    else read?.resolve(data.bytes)
    return
  }
  const entry = entries.get(data.id)
  if (!entry) return // it ended while the message was on its way
  if ('pull' in data) return void pull(data.id, entry, data.pull)
  entry.controller.abort()
  entry.wake()
}

/**
 * Begins to serve.
 * @param {Operations} offered @param {() => number} bytes  of the engine's memory
 * @param {() => Error | null | undefined} [dead]  why the engine does nothing any more
 */
export function serve(offered, bytes, dead = () => null) {
  operations = offered
  memory = bytes
  died = dead
  self.onmessage = receive
  // The page asks for the same lock, and gets it when this worker is gone: nothing else tells of a worker that the browser ended.
  const lock = `nibble-${Date.now()}-${Math.random()}`
  const greet = (/** @type {string} */ lock) => post({ hello: PROTOCOL, lock })
  if (!navigator.locks) greet('')
  else {
    navigator.locks.request(lock, () => {
      greet(lock)
      return new Promise(() => {})
    }).catch(() => greet('')) // refused where the page has no storage
  }
}
