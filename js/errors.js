/**
 * The one error type that callers meet.
 */

/** What each code means. Codes are stable: programs may rely on them, not on messages. */
export const ERROR_CODES = /* @__PURE__ */ Object.freeze({
  E_FORMAT: 'the bytes break the rules of their format, or are damaged',
  E_UNSUPPORTED: 'well-formed, but of a kind that this version or this engine does not run',
  E_TRUNCATED: 'the input ended before it was complete',
  E_INTEGRITY: 'the bytes are not those that were promised',
  E_CHANGED: 'the file at the source is not the one a download began with',
  E_NETWORK: 'a source could not be read',
  E_QUOTA: 'the browser grants no more storage',
  E_NOMEM: 'memory could not be had',
  E_CONTEXT: 'more tokens than the context holds',
  E_ABORTED: 'the caller cancelled the work',
  E_TEMPLATE: 'the chat template is missing, fails, or goes beyond its limits',
  E_GRAMMAR: 'the grammar or schema is malformed, or goes beyond its limits',
  E_ARGUMENT: 'a value given by the caller is not usable',
  E_DISPOSED: 'the model was disposed of',
  E_INTERNAL: 'a bug in this library; the model must be loaded again',
})

/** @typedef {keyof typeof ERROR_CODES} ErrorCode */

export class NibbleError extends Error {
  /**
   * @param {ErrorCode} code
   * @param {string} message  a sentence that says what is wrong and what to do
   * @param {{cause?: unknown}} [options]
   */
  constructor(code, message, options) {
    super(message, options)
    this.name = 'NibbleError'
    this.code = code
  }
}

/**
 * Also true for errors of another copy of this module, such as one that came from a worker.
 * @param {unknown} error
 * @returns {error is NibbleError}
 */
export const isNibbleError = (error) => error instanceof Error && error.name === 'NibbleError' && 'code' in error
