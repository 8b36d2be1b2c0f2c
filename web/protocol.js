/**
 * What the page and the worker say to each other. Both sides are of the same build: nothing here is for other readers.
 *
 * Page to worker
 *   {id, op, args}                    asks for work: op is a name of OPERATIONS in worker.js. An AbortSignal in the options stays behind.
 *   {id, pull}                        the reader of a stream takes that many more chunks
 *   {id, cancel: true}                the caller gave up: end as soon as possible
 *   {part, bytes} | {part, error}     answers a read; no bytes mean the end
 *
 * Worker to page
 *   {hello, lock}                     the first message: PROTOCOL of the worker's build, and the name of the Web Lock it holds while it lives
 *   {id, progress}                    of loading
 *   {id, chunks, wasm_bytes}          of a stream
 *   {id, result, wasm_bytes}          work is done; for a stream: it may be pulled
 *   {id, end: true, wasm_bytes}       a stream is over
 *   {id, error, wasm_bytes}           work failed, or a stream broke off
 *   {dead}                            the engine has trapped, and why: nothing more can be done here
 *   {part, read}                      wants at most that many bytes of a source that lives in the page
 *
 * Between the worker with the engine and the one that fetches, over a port of their own (fetching.js)
 *   {id, op, args}                    compile, open, next, accept, close, mend
 *   {id, result} | {id, error}
 *
 * id and part are numbers of the page's choice. Sources that the worker can open by itself (URLs, Blobs) cross as they are; all others are
 * {part} there, and the page reads them: streams cannot be transferred in every browser, and an ArrayBuffer would be held twice.
 */
import { NibbleError, isNibbleError } from '../js/errors.js'

/** To be raised with every change of the messages: a page must not talk to the worker of another version. */
export const PROTOCOL = 2

/** Most chunks of a stream that the worker is ahead of its reader. */
export const WINDOW = 256

/** @typedef {{code: import('../js/errors.js').ErrorCode, message: string, cause?: string}} PackedError */

/** @param {unknown} error @returns {PackedError} */
export function packError(error) {
  const { message, cause } = error instanceof Error ? error : { message: String(error), cause: undefined }
  if (!isNibbleError(error)) return { code: 'E_INTERNAL', message: `the engine's code failed: ${message}; load the model again, and report the bug` }
  return { code: error.code, message, ...(cause !== undefined && { cause: cause instanceof Error ? cause.message : String(cause) }) }
}

/** @param {PackedError} packed */
export const unpackError = ({ code, message, cause }) => new NibbleError(code, message, cause === undefined ? undefined : { cause: new Error(cause) })
