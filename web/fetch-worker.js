/**
 * The worker that fetches: models, which it keeps, and the engine, which it compiles. It hands both to the worker with the engine, over a port, and is never
 * told what is said to a model. What can be done with the files that are kept is done here, too.
 */
import { NibbleError } from '../js/errors.js'
import { keyOf, keptOf, makeCache, mend } from '../js/download/index.js'
import { findEntries, folderOf } from '../js/download/entry.js'
import { compile } from '../js/runtime.js'
import { openPart } from '../js/source.js'
import { open, openStore } from './cache/index.js'
import { packError } from './protocol.js'
import { reporter, serve } from './service.js'

/** Bytes sent at once of what is not kept. */
const PIECE = 1 << 20

/**
 * @typedef {{url: URL, cache: boolean | string, index: number, options: any}} Asked
 * @typedef {object} Opened
 * @property {Asked} asked
 * @property {() => Promise<Record<string, unknown>>} next  a chunk, and what became of the part
 * @property {() => Promise<void>} accept  @property {(why: unknown) => Promise<void>} close
 */

/** What is not kept: in pieces. @param {Asked} asked @returns {Promise<Opened & {fields: object}>} */
async function openPlain(asked) {
  const part = await openPart(asked.url, 0, { ...asked.options, integrity: undefined })
  return {
    asked,
    fields: { name: part.name, size: part.size, from: 'network' },
    async next() {
      const view = new Uint8Array(PIECE)
      const n = await part.read(view)
      return { bytes: n === 0 ? undefined : view.subarray(0, n), from: 'network' }
    },
    accept: async () => {},
    close: () => part.close(),
  }
}

/** Answers what the worker with the engine asks for. @param {MessagePort} port */
function answer(port) {
  /** @type {Map<number, Opened>} */
  const parts = new Map()
  let last = 0
  const opened = (/** @type {number} */ part) => {
    const found = parts.get(part)
    if (!found) throw new NibbleError('E_INTERNAL', 'the worker that fetches knows no such part; report the bug')
    return found
  }

  /** @type {Record<string, (...args: any[]) => Promise<unknown>>} */
  const OPERATIONS = {
    compile: (name, from) => compile(name, from),

    async open(address, index, { cache = false, ...options }) {
      const url = new URL(address), asked = { url, cache, index, options }, part = last++
      const found = cache === false || !/^https?:$/.test(url.protocol) ? undefined : await open(url, cache, index, options)
      if (!found) {
        const { fields, ...plain } = await openPlain(asked)
        parts.set(part, plain)
        return { part, ...fields }
      }
      const { kept } = found
      if (kept) {
        const store = await openStore()
        parts.set(part, { asked, next: async () => ({}), accept: async () => {}, close: found.close })
        return { part, name: found.name, kept, file: await store?.file(`${kept.id}.data`, found.name) }
      }
      parts.set(part, {
        asked,
        async next() {
          const bytes = await found.next()
          return { bytes, size: found.size, from: found.from, warning: found.warning }
        },
        accept: found.accept,
        close: found.close,
      })
      return { part, name: found.name, size: found.size, from: found.from }
    },

    next: (part) => opened(part).next(),
    accept: (part) => opened(part).accept(),

    async close(part, code) {
      const { close } = opened(part)
      parts.delete(part)
      await close(code && new NibbleError(code, 'the reader failed'))
    },

    async mend(part, i) {
      const { url, cache, index, options: { headers } } = opened(part).asked
      const store = await openStore(), key = keyOf(url, cache, index)
      const found = store && (await findEntries(store, await folderOf(key))).find(({ journal }) => journal.complete)
      if (!store || !found) throw new NibbleError('E_NETWORK', `${url.href} is not kept any more; load it again`)
      const bytes = await mend(store, found, i, { fetch: fetch.bind(globalThis), headers, conditional: url.origin === location.origin })
      return { bytes, file: await store.file(`${keptOf(found).id}.data`, found.journal.name) }
    },
  }

  port.onmessage = async ({ data: { id, op, args } }) => {
    try {
      const result = /** @type {any} */ (await OPERATIONS[op](...args))
      port.postMessage({ id, result }, result?.bytes ? [result.bytes.buffer] : [])
    } catch (error) {
      port.postMessage({ id, error: packError(error) })
    }
  }
}

const kept = makeCache(openStore)

/** What the page asks for. */
serve({
  connect: (_, port) => answer(port),
  list: () => kept.list(),
  async put({ id, signal }, file) {
    const { onProgress, flush } = reporter(id)
    const entry = await kept.put(file, { signal, onProgress })
    flush()
    return entry
  },
  file: (_, key) => kept.file(key),
  delete: (_, key) => kept.delete(key),
  export: (_, key) => kept.export(key),
}, () => 0)
