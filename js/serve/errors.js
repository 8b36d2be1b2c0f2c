/**
 * Errors as clients of OpenAI's interface know them: a status, and {error: {message, type, param, code}}.
 */
import { isNibbleError } from '../errors.js'

/** Refused, with what the client is told. */
export class HttpError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   * @param {{param?: string | null, code?: string | null, headers?: Record<string, string>}} [more]
   */
  constructor(status, message, { param = null, code = null, headers = {} } = {}) {
    super(message)
    this.status = status
    this.param = param
    this.code = code
    this.headers = headers
  }
}

/** @param {number} status */
const typeOf = (status) => (status === 401 ? 'authentication_error' : status === 429 ? 'rate_limit_error' : status >= 500 ? 'server_error' : 'invalid_request_error')

/** The field of a request that a sentence of the library speaks of: the first word in it that is one. @param {string} message @param {Record<string, unknown>} body */
function paramOf(message, body) {
  for (const [word] of message.matchAll(/\w+/g)) {
    if (Object.hasOwn(body, word)) return word
    if (word === 'max_tokens' && Object.hasOwn(body, 'max_completion_tokens')) return 'max_completion_tokens'
  }
  return null
}

/**
 * What a client is told of anything that was thrown.
 * @param {unknown} error
 * @param {Record<string, unknown>} [body]  of the request
 * @returns {HttpError}
 */
export function asHttpError(error, body = {}) {
  if (error instanceof HttpError) return error
  if (!isNibbleError(error)) return new HttpError(500, 'the server failed; its terminal says more')
  const { code, message } = error
  if (code === 'E_ARGUMENT' || code === 'E_TEMPLATE') return new HttpError(400, message, { param: paramOf(message, body) })
  if (code === 'E_UNSUPPORTED') return new HttpError(400, message, { param: paramOf(message, body), code: 'unsupported_value' })
  if (code === 'E_CONTEXT') return new HttpError(400, message, { param: ['messages', 'prompt', 'input'].find((name) => Object.hasOwn(body, name)), code: 'context_length_exceeded' })
  if (code === 'E_ABORTED' || code === 'E_DISPOSED') return new HttpError(503, 'the server is shutting down')
  return new HttpError(500, message, { code })
}

/** @param {HttpError} error */
export const errorBody = ({ status, message, param, code }) => ({ error: { message, type: typeOf(status), param, code } })
