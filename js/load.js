/**
 * Loading: bytes from a source into the library's memory, hashed, checked and packed on the way.
 */
import { NibbleError, isNibbleError } from './errors.js'
import { Engine } from './runtime.js'
import { checkNames } from './options.js'
import { abortError, abortable, openPart } from './source.js'
import { readInfo } from './info.js'
import { Model } from './model.js'
import { loadTeam, loadTemplates, node } from './platform.js'
import { Tokenizer } from './tokenizer.js'

/**
 * @typedef {import('./source.js').Source} Source
 * @typedef {import('./info.js').ModelInfo} ModelInfo
 *
 * @typedef {object} Progress
 * @property {number} loaded  bytes of all parts so far
 * @property {number | undefined} total  bytes of this part and those before it, where known
 * @property {number} part  index of the part being read
 * @property {number | undefined} parts  how many there are, where known
 * @property {'network' | 'cache'} [from]  where these bytes came from, of URLs
 * @property {{code: string, message: string}} [warning]  why the file is not kept, where that was asked for: E_QUOTA as a rule
 *
 * @typedef {object} EngineOptions
 * @property {import('./runtime.js').Variant | 'auto'} [variant]
 * @property {WebAssembly.Module | URL | string} [wasm]  a compiled module, or the folder of the .wasm files
 * @property {AbortSignal} [signal]
 * @property {typeof globalThis.fetch} [fetch]
 * @property {HeadersInit} [headers]
 * @property {boolean | string} [cache]  keep what a URL gives, and read it from there the next time; a string: under that name, for addresses that change. Where only the header is
 *   read, nothing new is kept
 *
 * @typedef {object} LoadOnly
 * @property {(progress: Progress) => void} [onProgress]
 * @property {string | string[]} [integrity]  'sha256-<base64>' of the file; of a split model an array, one for each part
 * @property {number} [contextLength]  tokens of the context; default: what the model was trained on, at most 4096
 * @property {number} [batchSize]  prompt tokens evaluated together (default 32); the time between two looks at the signal grows with it
 * @property {boolean} [floatActivations]  multiply by floats instead of int8: slow, to measure what int8 costs
 * @property {string} [chatTemplate]  Jinja source instead of the file's own, or the name of a format: chatml, llama3, llama2, mistral, gemma, phi3, zephyr
 * @property {'auto' | number} [threads]  'auto' (the default): the fastest number on this machine, 1 where threads are not to be had
 * @typedef {EngineOptions & LoadOnly} LoadOptions
 */

const OPTIONS = new Set(['variant', 'wasm', 'signal', 'fetch', 'headers', 'onProgress', 'integrity', 'contextLength', 'batchSize', 'floatActivations', 'chatTemplate',
  'threads', 'cache'])

const HEADER_ONLY = 1 // NB_LOAD_HEADER_ONLY
const NO_HASH = 2 // NB_LOAD_NO_HASH
const STATE_HEADER = 0
const STATE_END = 2

/** @param {ArrayLike<number>} bytes */
const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('')
/** @param {Uint8Array} bytes */
const base64 = (bytes) => btoa(String.fromCharCode(...bytes))

/** The hash that a part must have. @param {LoadOptions['integrity']} integrity @param {number} part */
function wantedHash(integrity, part) {
  if (integrity === undefined) return undefined
  const list = [integrity].flat()
  if (part >= list.length) throw new NibbleError('E_ARGUMENT', `the model has more parts than integrity has hashes (${list.length}); give an array with one for each part`)
  return list[part]
}

/**
 * Feeds the loader from the source until its parts end, or its header does with headerOnly.
 * @param {Engine} engine
 * @param {number} loader
 * @param {Source} source
 * @param {LoadOptions & {headerOnly?: boolean, firstPartOnly?: boolean, onHeader?: (model: number) => void}} options
 * @returns {Promise<{sha256: string[], bytes: number}>} bytes: of all parts, as far as known
 */
async function feed(engine, loader, source, options) {
  const { signal, onProgress, headerOnly } = options
  const sha256 = []
  let done = 0 // bytes of the parts before this one
  let known = 0
  let headerSeen = false
  for (let index = 0, more = true; more; index++) {
    const wanted = headerOnly ? undefined : wantedHash(options.integrity, index)
    const part = await openPart(source, index, options)
    const hash = wanted === undefined ? undefined : (await node?.())?.createHash('sha256') // Node's own is several times as fast as the library's
    /** @type {unknown} */
    let failure
    try {
      for (;;) {
        if (signal?.aborted) throw abortError(undefined, signal)
        const window = engine.ptr('nb_loader_window', loader, engine.out)
        const room = engine.heap.u32(engine.out, 1)[0]
        const n = await part.read(engine.heap.bytes(window, room))
        if (n === 0) break
        hash?.update(engine.heap.bytes(window, n)) // before the loader rearranges it
        engine.check('nb_loader_commit', loader, n)
        const state = engine.call('nb_loader_state', loader)
        if (!headerSeen && state !== STATE_HEADER) {
          headerSeen = true
          options.onHeader?.(engine.ptr('nb_loader_model', loader))
        }
        if (headerOnly && state === STATE_END) break
        if (onProgress) {
          const fileBytes = engine.call('nbw_loader_file_bytes', loader), position = engine.call('nbw_loader_position', loader)
          // The header does not count what pads the end.
          const partBytes = part.size ?? (fileBytes && Math.max(fileBytes, position))
          onProgress({ loaded: done + position, total: partBytes ? done + partBytes : undefined, part: index, parts: Array.isArray(source) ? source.length : undefined,
            ...(part.from && { from: part.from }), ...(part.warning && { warning: part.warning }) })
        }
      }
      known += engine.call('nbw_loader_file_bytes', loader)
      done += engine.call('nbw_loader_position', loader)
      if (options.firstPartOnly && engine.call('nb_loader_state', loader) === STATE_END) break
      engine.heap.bytes(engine.out, 64).fill(0)
      engine.check('nb_loader_end_file', loader, engine.out, engine.out + 32)
      more = engine.heap.bytes(engine.out, 1)[0] !== 0
      if (wanted !== undefined) {
        const digest = hash?.digest() ?? engine.heap.bytes(engine.out + 32, 32)
        const got = `sha256-${base64(digest)}`
        if (got !== wanted) throw new NibbleError('E_INTEGRITY', `${part.name} has the hash ${got} instead of ${wanted}; it is damaged or another file`)
        sha256.push(hex(digest))
      }
      await part.accept?.()
    } catch (error) {
      failure = error
      throw error
    } finally {
      await part.close(failure)
    }
  }
  return { sha256, bytes: known }
}

/**
 * Creates an engine with a loader in it, uses them, and leaves nothing behind when that fails.
 * @template T
 * @param {EngineOptions & {threads?: LoadOptions['threads']}} options
 * @param {number} flags
 * @param {(engine: Engine, loader: number) => Promise<T>} use
 * @returns {Promise<T>}
 */
async function withLoader(options, flags, use) {
  if (options.signal?.aborted) throw abortError(undefined, options.signal)
  const creating = options.threads === 1 ? Engine.create({ ...options, threads: 1 }) : loadTeam().then(({ createEngine }) => createEngine(Engine, options))
  const engine = await abortable(creating, options.signal).catch((error) => {
    creating.then((late) => late.close()).catch(() => {})
    throw error
  })
  const loader = engine.ptr('nb_loader_new', flags)
  if (!loader) throw new NibbleError('E_NOMEM', 'not enough memory to begin')
  try {
    return await use(engine, loader)
  } catch (error) {
    engine.close()
    if (isNibbleError(error) || !options.signal?.aborted) throw error
    throw abortError(error, options.signal)
  } finally {
    if (!engine.dead) engine.call('nb_loader_free', loader)
  }
}

/** A session that cannot be must fail before the model's bytes are fetched. @param {Engine} engine @param {number} model @param {LoadOptions} options */
function reserveSession(engine, model, { contextLength = 0, batchSize = 0 }) {
  engine.check('nbw_session_check', model, contextLength, batchSize)
  const bytes = engine.call('nbw_session_bytes', model, contextLength, batchSize)
  const ptr = bytes < 2 ** 32 ? engine.ptr('malloc', bytes) : 0
  if (!ptr) {
    throw new NibbleError('E_NOMEM', `the weights fit, but not the ${(bytes / 2 ** 20).toFixed(0)} MiB that the context needs; ask for a shorter contextLength`)
  }
  engine.free(ptr)
}

/** What conversations need is here before a model is: from then on nothing is fetched. */
async function templates() {
  try {
    await loadTemplates()
  } catch (error) {
    throw new NibbleError('E_NETWORK', 'the code for chat templates (template.js) cannot be read; deploy it with the other files, or try again', { cause: error })
  }
}

/** @param {LoadOptions} options */
function checkOptions(options) {
  checkNames(options, (name) => OPTIONS.has(name))
  const { contextLength = 0, batchSize = 0, integrity, chatTemplate, threads = 'auto', cache = false } = options
  for (const [name, value] of Object.entries({ contextLength, batchSize })) {
    if (!Number.isInteger(value) || value < 0 || value > 2 ** 20) throw new NibbleError('E_ARGUMENT', `${name} must be a whole number up to ${2 ** 20}, not ${value}`)
  }
  for (const hash of integrity === undefined ? [] : [integrity].flat()) {
    if (!/^sha256-[A-Za-z0-9+/]{43}=$/.test(hash)) throw new NibbleError('E_ARGUMENT', `integrity '${hash}' is not of the form sha256-<base64>`)
  }
  if (chatTemplate !== undefined && typeof chatTemplate !== 'string') throw new NibbleError('E_ARGUMENT', 'chatTemplate must be a string')
  if (threads !== 'auto' && !(Number.isInteger(threads) && threads > 0 && threads <= 64)) throw new NibbleError('E_ARGUMENT', `threads must be 'auto' or a whole number up to 64, not ${threads}`)
  if (typeof cache !== 'boolean' && (typeof cache !== 'string' || cache === '' || cache.length > 1000 || /^(local|https?):/i.test(cache))) {
    throw new NibbleError('E_ARGUMENT', `cache must be true, false, or a name that is no address, not ${JSON.stringify(cache)}`)
  }
}

/**
 * Loads a model: a GGUF file given as a path (Node), URL, File or Blob, ReadableStream, Response, ArrayBuffer, or an array of these for
 * the parts of a split model (naming the first part's path or URL is enough).
 * @param {Source} source
 * @param {LoadOptions} [options]
 * @returns {Promise<Model>}
 */
export async function load(source, options = {}) {
  checkOptions(options)
  const start = performance.now()
  return withLoader(options, node || options.integrity === undefined ? NO_HASH : 0, async (engine, loader) => {
    /** @type {Promise<void> | undefined} */
    let interpreter
    let tokenizer = 0
    const onHeader = (/** @type {number} */ model) => {
      tokenizer = engine.make('nbw_tokenizer_new', model) // one that does not run here must fail now, too
      reserveSession(engine, model, options)
      if (!(options.chatTemplate ?? readInfo(engine, model).chat_template)) return
      interpreter = templates()
      interpreter.catch(() => {}) // told below
    }
    const { sha256, bytes } = await feed(engine, loader, source, { ...options, onHeader })
    if (interpreter) await abortable(interpreter, options.signal)
    const model = engine.make('nb_loader_take', loader)
    const info = readInfo(engine, model, { tensors: true })
    const ready = new Model(engine, model, tokenizer, { ...info, ...(options.integrity !== undefined && { sha256 }), file_bytes: bytes }, options, (performance.now() - start) / 1000)
    if (engine.team && (options.threads ?? 'auto') === 'auto') await (await loadTeam()).tune(ready)
    return ready
  })
}

/**
 * Reads the headers only: what the model is, and what running it here would need.
 * @param {Source} source
 * @param {EngineOptions & {contextLength?: number, batchSize?: number}} [options]
 * @returns {Promise<ModelInfo & {file_bytes: number, tensors: import('./info.js').TensorInfo[], memory_estimate: MemoryEstimate}>}
 *
 * @typedef {object} MemoryEstimate
 * @property {number} n_ctx  tokens of the context it is for
 * @property {number} weights  bytes
 * @property {number} session  bytes of keys, values and working memory; 0 where this version does not run the architecture
 * @property {number} total  bytes of WebAssembly memory, with what the header and tokenizer take
 * @property {boolean} fits  whether that is within what WebAssembly can address
 */
export async function estimate(source, options = {}) {
  checkOptions(options)
  return withLoader({ ...options, threads: 1 }, HEADER_ONLY, async (engine, loader) => {
    const { bytes } = await feed(engine, loader, source, { ...options, headerOnly: true })
    const model = engine.make('nb_loader_take', loader)
    const info = readInfo(engine, model, { tensors: true })
    const runs = info.supported
    const n_ctx = runs ? options.contextLength || Math.min(info.n_ctx, 4096) : 0
    const session = runs ? engine.call('nbw_session_bytes', model, options.contextLength ?? 0, options.batchSize ?? 0) : 0
    const weights = info.weight_bytes
    const total = Math.max(engine.heap.byteLength, engine.call('nbw_memory_used') + weights + session)
    return { ...info, tensors: info.tensors ?? [], file_bytes: bytes, memory_estimate: { n_ctx, weights, session, total, fits: total < 2 ** 32 } }
  })
}

/**
 * Loads the tokenizer alone; a file that holds nothing but a vocabulary will do.
 * @param {Source} source
 * @param {EngineOptions} [options]
 * @returns {Promise<Tokenizer>}
 */
export async function loadTokenizer(source, options = {}) {
  checkOptions(options)
  return withLoader({ ...options, threads: 1 }, HEADER_ONLY, async (engine, loader) => {
    await feed(engine, loader, source, { ...options, headerOnly: true, firstPartOnly: true })
    const model = engine.make('nb_loader_take', loader)
    return new Tokenizer(engine, engine.make('nbw_tokenizer_new', model), { info: readInfo(engine, model) })
  })
}
