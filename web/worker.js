/**
 * The engine's side of web/client.js: one worker holds one model. Loaded as a module worker; see protocol.js for what it is told.
 */
import { NibbleError } from '../js/errors.js'
import { estimate, load, loadTokenizer } from '../js/index.js'
import { PROTOCOL, packError, unpackError } from './protocol.js'

/** Milliseconds between messages of progress, and between those of a fast stream. */
const PROGRESS_EVERY = 50
const CHUNKS_EVERY = 8
/** Bytes asked of a source in the page at once. */
const READ = 256 << 10

/** @type {import('../js/model.js').Model | undefined} */
let model
/** @type {import('../js/tokenizer.js').Tokenizer | undefined} */
let tokenizer

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
const answer = (message, transfer) => post({ ...message, wasm_bytes: model?.engine.heap.byteLength ?? 0 }, transfer)

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

/** @param {unknown} source @returns {any} */
function openSource(source) {
  if (Array.isArray(source)) return source.map(openSource)
  return source !== null && typeof source === 'object' && 'part' in source ? pageStream(Number(source.part)) : source
}

/** Tells of progress now and then, and of the last state. @param {number} id */
function reporter(id) {
  let last = -Infinity
  /** @type {unknown} */
  let held
  return {
    onProgress: (/** @type {import('../js/load.js').Progress} */ progress) => {
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

function loaded() {
  if (!model) throw new NibbleError('E_INTERNAL', 'this worker has no model; report the bug')
  return model
}

/** Its own, or that of the model. */
const words = () => tokenizer ?? loaded().tokenizer

/** What does not change. @param {import('../js/tokenizer.js').Tokenizer} tokenizer */
const fields = ({ info, n_vocab, bos, eos, eot, addBos, addEos }) => ({ info, n_vocab, bos, eos, eot, addBos, addEos })

/** @typedef {{id: number, signal: AbortSignal}} Context */

/**
 * What can be asked. The arguments are those of the functions of the same names in js/, with the source and the options in the page's place.
 * @type {Record<string, (context: Context, ...args: any[]) => unknown>}
 */
const OPERATIONS = {
  async load({ id, signal }, source, options, wantsProgress) {
    const { onProgress, flush } = reporter(id)
    model = await load(openSource(source), { ...options, signal, ...(wantsProgress && { onProgress }) })
    flush()
    const { memory, ...info } = model.info
    return { info, contextLength: model.contextLength, load_s: model.load_s, tokenizer: fields(model.tokenizer) }
  },
  estimate: ({ signal }, source, options) => estimate(openSource(source), { ...options, signal }),
  async loadTokenizer({ signal }, source, options) {
    tokenizer = await loadTokenizer(openSource(source), { ...options, signal })
    return fields(tokenizer)
  },
  completions: ({ signal }, options) => loaded().completions.create({ ...options, signal }),
  chat: ({ signal }, options) => loaded().chat.completions.create({ ...options, signal }),
  encodeChat: (_, messages, variables) => loaded().chat.completions.encode(messages, variables),
  logits: ({ signal }, ids) => loaded().logits(ids, { signal }),
  score: ({ signal }, text) => loaded().score(text, { signal }),
  ...Object.fromEntries(['encode', 'encodePrompt', 'decode', 'piece', 'bytes', 'kind', 'isEog', 'specials'].map((name) =>
    [name, (/** @type {Context} */ _, /** @type {any[]} */ ...args) => /** @type {any} */ (words())[name](...args)])),
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
    const result = await OPERATIONS[op]({ id, signal: controller.signal }, ...args)
    if (result !== null && typeof result === 'object' && Symbol.asyncIterator in result) {
      entry.generator = /** @type {AsyncGenerator<unknown>} */ (result)
      answer({ id, result: null })
      return // it waits to be pulled
    }
    answer({ id, result }, result instanceof Float32Array ? [result.buffer] : undefined)
  } catch (error) {
    answer({ id, error: packError(error) })
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
    answer({ id, error: packError(error) })
  }
  entries.delete(id)
}

self.onmessage = ({ data }) => {
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
