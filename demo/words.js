/** Numbers and failures in words. */

const number = (/** @type {number} */ value, /** @type {number} */ digits) => value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: 0 })

/** @param {number} n */
export function bytes(n) {
  if (n < 1e6) return `${number(n / 1e3, 0)} kB`
  if (n < 1e9) return `${number(n / 1e6, n < 1e7 ? 1 : 0)} MB`
  return `${number(n / 1e9, 2)} GB`
}

/** @param {number} n */
export function count(n) {
  if (n < 1e3) return String(n)
  if (n < 1e6) return `${number(n / 1e3, n < 1e5 ? 1 : 0)} thousand`
  if (n < 1e9) return `${number(n / 1e6, n < 1e8 ? 1 : 0)} million`
  return `${number(n / 1e9, 2)} billion`
}

/** @param {number} n @param {number} [digits] */
export const decimal = (n, digits = 1) => number(n, digits)

/** Tokens per second. @param {number} n */
export const rate = (n) => number(n, n < 100 ? 1 : 0)

/** How long something took. @param {number} s */
export const seconds = (s) => (s < 1 ? `${number(s * 1000, 0)} ms` : `${number(s, 1)} s`)

/** How long something will take, roughly. @param {number} s */
export function duration(s) {
  if (s < 90) return `${Math.max(1, Math.round(s))} s`
  if (s < 5400) return `${Math.round(s / 60)} min`
  return `${number(s / 3600, 1)} h`
}

/** What to do about a failure, where its message does not say so. @type {Record<string, string>} */
const ADVICE = {
  E_FORMAT: 'Choose a GGUF file, or download it again.',
  E_TRUNCATED: 'The file is not complete: download it again.',
  E_INTEGRITY: 'Download the file again.',
  E_NETWORK: 'Check the address and the connection. Some hosts do not let other sites read their files: then download it and choose the file here.',
  E_NOMEM: 'Choose a smaller model, or close other tabs.',
  E_CONTEXT: 'Begin a new chat, or write less.',
  E_UNSUPPORTED: 'Choose another model.',
  E_TEMPLATE: 'Try without a system prompt, or begin a new chat.',
}

const capital = (/** @type {string} */ text) => text.charAt(0).toUpperCase() + text.slice(1)

/** A message of the library as a sentence. @param {string} text */
export function sentence(text) {
  const begun = /^\w+:\/\/|^\w+(\.\w+)+/.test(text) ? text : capital(text)
  return /[.!?]$/.test(begun) ? begun : `${begun}.`
}

/**
 * A failure in a sentence or two, the last of which says what to do.
 * @param {unknown} error @returns {string}
 */
export function failure(error) {
  const { message = String(error), code = '', advice: own } = /** @type {{message?: string, code?: string, advice?: string}} */ (error ?? {})
  // What the message advises there is for programs.
  if (code === 'E_CONTEXT') return `${capital(message.replace(/;.*$/, ''))}. ${ADVICE[code]}`
  const advice = own ?? (/HTTP \d/.test(message) ? 'Check the address.' : ADVICE[code])
  return [sentence(message), advice].filter(Boolean).join(' ')
}
