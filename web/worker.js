/**
 * The engine's side of web/client.js: one worker holds one model. Loaded as a module worker; see protocol.js for what it is told.
 */
import { NibbleError } from '../js/errors.js'
import { estimate, load, loadTokenizer } from '../js/index.js'
import { Fetching } from './fetching.js'
import { openSource, reporter, serve } from './service.js'

/** @type {import('../js/model.js').Model | undefined} */
let model
/** @type {import('../js/tokenizer.js').Tokenizer | undefined} */
let tokenizer

function loaded() {
  if (!model) throw new NibbleError('E_INTERNAL', 'this worker has no model; report the bug')
  return model
}

/** Its own, or that of the model. */
const words = () => tokenizer ?? loaded().tokenizer

/**
 * What the page sent, with the worker that fetches at the other end of the port: this one asks nobody else.
 * @param {unknown} source @param {any} options @param {AbortSignal} signal @param {MessagePort} [port]
 */
function prepare(source, options, signal, port) {
  const fetching = port && new Fetching(port)
  const wasm = options.wasm instanceof WebAssembly.Module || !fetching ? options.wasm : (/** @type {string} */ name) => fetching.compile(name, options.wasm)
  return /** @type {const} */ ([openSource(source, fetching), { ...options, wasm, signal }])
}

/** What does not change. @param {import('../js/tokenizer.js').Tokenizer} tokenizer */
const fields = ({ info, n_vocab, bos, eos, eot, addBos, addEos }) => ({ info, n_vocab, bos, eos, eot, addBos, addEos })

/** @typedef {import('./service.js').Context} Context */

/** By the numbers that the page gave them. @type {Map<number, import('../js/session.js').Session>} */
const sessions = new Map()

/** What can be asked of a session. @type {Record<string, (session: import('../js/session.js').Session, signal: AbortSignal, ...args: any[]) => any>} */
const SESSION = {
  append: (session, signal, input) => session.append(input, { signal }),
  generate: (session, signal, options) => session.generate({ ...options, signal }),
  clone: async (session, _, id) => void sessions.set(id, await session.clone()),
  save: (session) => session.save(),
  restore: (session, _, bytes) => session.restore(bytes),
  measure: (session, _, input) => session.measure(input),
  truncate: (session, _, n) => session.truncate(n),
  tokens: (session) => session.tokens,
  state: () => {},
}

/**
 * What can be asked. The arguments are those of the functions of the same names in js/, with the source and the options in the page's place.
 * @type {import('./service.js').Operations}
 */
const OPERATIONS = {
  async load({ id, signal }, source, options, wantsProgress, port) {
    const { onProgress, flush } = reporter(id), [from, how] = prepare(source, options, signal, port)
    model = await load(from, { ...how, ...(wantsProgress && { onProgress }) })
    flush()
    const { memory, ...info } = model.info
    return { info, contextLength: model.contextLength, load_s: model.load_s, tokenizer: fields(model.tokenizer) }
  },
  estimate: ({ signal }, source, options, _, port) => estimate(...prepare(source, options, signal, port)),
  async loadTokenizer({ signal }, source, options, _, port) {
    tokenizer = await loadTokenizer(...prepare(source, options, signal, port))
    return fields(tokenizer)
  },
  completions: ({ signal }, options) => loaded().completions.create({ ...options, signal }),
  chat: ({ signal }, options) => loaded().chat.completions.create({ ...options, signal }),
  embeddings: ({ signal }, options) => loaded().embeddings.create({ ...options, signal }),
  encodeChat: (_, messages, variables) => loaded().chat.completions.encode(messages, variables),
  async session({ signal }, id, method, ...args) {
    if (method === 'open') sessions.set(id, loaded().session(args[0]))
    const session = sessions.get(id)
    if (method === 'dispose') {
      sessions.delete(id)
      return session?.dispose()
    }
    if (!session) throw new NibbleError('E_INTERNAL', 'this worker has no such session; report the bug')
    const value = method === 'open' ? undefined : await SESSION[method](session, signal, ...args)
    if (value && Symbol.asyncIterator in Object(value)) return value
    const { messages, length } = session
    return { value, messages, length }
  },
  logits: ({ signal }, ids) => loaded().logits(ids, { signal }),
  score: ({ signal }, text) => loaded().score(text, { signal }),
  ...Object.fromEntries(['encode', 'encodePrompt', 'decode', 'piece', 'bytes', 'kind', 'isEog', 'specials'].map((name) =>
    [name, (/** @type {Context} */ _, /** @type {any[]} */ ...args) => /** @type {any} */ (words())[name](...args)])),
}

serve(OPERATIONS, () => model?.engine.heap.byteLength ?? 0, () => (model ?? tokenizer)?.engine.dead)
