/**
 * Quantizing in a page: the work of js/quantize/quantize.js in a worker of its own, with threads where there are some, so that the page stays responsive.
 * The result goes to the browser's private file system where there is one (js/quantize/opfs.js), and into memory elsewhere; either way it is a File that
 * load() takes.
 */
import { NibbleError, isNibbleError } from '../js/errors.js'
import { abortError } from '../js/source.js'
import { Connection, absolute } from './connection.js'

export { NibbleError, isNibbleError }
export { deleteKept, keepsFiles, keptFiles, sweep } from '../js/quantize/opfs.js'

/**
 * @typedef {string | URL | Blob | ArrayBuffer | (string | URL | Blob)[]} QuantizeSource  a GGUF file, or the parts of a split one; or the files of a Hugging Face folder, as an
 *   `<input type="file" webkitdirectory>` gives them
 *
 * @typedef {object} OpenOptions
 * @property {string | URL | import('./client.js').TrustedScriptURL} [workerUrl]  where quantize-worker.js is, if not beside this file; must be of the page's origin
 * @property {URL | string} [wasm]  the folder of the .wasm files
 * @property {'auto' | number} [threads]  @property {import('../js/runtime.js').Variant | 'auto'} [variant]
 * @property {HeadersInit} [headers]  for URLs, which are read by ranges
 * @property {string} [folder]  the name of the folder, where the files do not tell: those that were dropped
 * @property {AbortSignal} [signal]
 *
 * @typedef {object} OpenedModel
 * @property {string} name  @property {string} architecture
 * @property {boolean} supported  whether this version runs it  @property {boolean} chats  it has a chat template
 * @property {number} parameters  @property {number} n_ctx
 * @property {number} weight_bytes  @property {number} bpw  bits per weight
 * @property {number} session_bytes  keys, values and working memory for talking with it
 * @property {string} type  of most weights  @property {boolean} floats  it is not quantized yet
 * @property {string[]} notes  what people should know of a folder that a GGUF file cannot say
 * @property {number} threads  @property {string} variant
 * @property {boolean} kept  results go to a file rather than into memory
 *
 * @typedef {object} QuantizeEstimate
 * @property {string} type  @property {number} file_bytes  @property {number} bpw  @property {number} seconds  @property {number} memory_bytes
 * @property {string[]} notes  what will be otherwise than asked for
 *
 * @typedef {Pick<import('../js/quantize/quantize.js').QuantizeOptions, 'type' | 'method' | 'tensorTypes' | 'outputTensorType' | 'tokenEmbeddingType' | 'pure' | 'allowRequantize'>} HowToQuantize
 * @typedef {import('../js/quantize/quantize.js').QuantizeProgress} QuantizeProgress
 * @typedef {import('../js/quantize/quantize.js').QuantizeResult} QuantizeResult
 */

const closed = () => new NibbleError('E_DISPOSED', 'the quantizer was closed; open the model again')

/** The files as they cross: what they are called in their folder does not in every browser. @param {File[]} list @param {string} [name] */
function packFolder(list, name = 'model') {
  const paths = list.map((file) => file.webkitRelativePath || file.name), folder = /^([^/]+)\//.exec(paths[0])?.[1]
  return { folder: folder ?? name, files: list.map((file, i) => ({ name: folder && paths[i].startsWith(`${folder}/`) ? paths[i].slice(folder.length + 1) : paths[i], file })) }
}

/** @param {QuantizeSource} source @param {string} [folder] */
function packSource(source, folder) {
  if (Array.isArray(source) && source.every((item) => item instanceof File) && source.some(({ name }) => !/\.gguf$/i.test(name))) return packFolder(source, folder)
  const pack = (/** @type {unknown} */ one) => (typeof one === 'string' || one instanceof URL ? absolute(one) : one)
  return { source: Array.isArray(source) ? source.map(pack) : pack(source) }
}

/** A model that is to become smaller. */
export class Quantizer {
  /** @param {Connection} connection @param {OpenedModel} model */
  constructor(connection, model) {
    this.connection = connection
    this.model = model
  }

  /**
   * What a type would take and give.
   * @param {HowToQuantize} options @param {{signal?: AbortSignal}} [more] @returns {Promise<QuantizeEstimate>}
   */
  estimate(options, { signal } = {}) {
    return this.connection.ask('estimate', [options], { signal })
  }

  /**
   * Does it. Cancelled or failed, it leaves nothing behind.
   * @param {HowToQuantize} options
   * @param {{name?: string, signal?: AbortSignal, onProgress?: (progress: QuantizeProgress) => void}} [more]  name: of the file; an older one of that name is replaced
   * @returns {Promise<{file: File, kept: boolean, result: QuantizeResult}>}  kept: in the browser's storage, until deleteKept() is told
   */
  quantize(options, { name = 'model.gguf', signal, onProgress } = {}) {
    return this.connection.ask('quantize', [options, name], { signal, onProgress: /** @type {any} */ (onProgress) })
  }

  /** Ends the worker. */
  close() {
    this.connection.close(closed())
  }
}

/**
 * Opens a model in a worker and looks at it: nothing but its header is read.
 * @param {QuantizeSource} source
 * @param {OpenOptions} [options]
 * @returns {Promise<Quantizer>}
 */
export async function openQuantizer(source, { signal, workerUrl, wasm, headers, folder, ...options } = {}) {
  if (signal?.aborted) throw abortError(undefined, signal)
  // The second form is what bundlers look for: it must stay as it is.
  const connection = new Connection(() => (workerUrl ? new Worker(/** @type {string} */ (workerUrl), { type: 'module' }) : new Worker(new URL('./quantize-worker.js', import.meta.url), { type: 'module' })))
  const onAbort = () => connection.close(abortError(undefined, signal))
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    const sent = { ...options, ...(headers && { headers: [...new Headers(headers)] }), ...(wasm && { wasm: absolute(wasm) }) }
    return new Quantizer(connection, await connection.ask('open', [packSource(source, folder), sent]))
  } catch (error) {
    connection.close(isNibbleError(error) ? error : closed())
    throw error
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}
