/**
 * Markup in which everything that is put in is escaped, unless it is markup itself.
 */

/** Text that is markup. */
export class Markup {
  /** @param {string} text */
  constructor(text) {
    this.text = text
  }

  toString() {
    return this.text
  }
}

/** @type {Record<string, string>} */
const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

/**
 * Text as markup shows it. Controls, and characters that turn the direction of what follows, become pictures or U+FFFD: the text of a model or
 * the name of a tensor must not rearrange a page.
 * @param {string} text
 */
export const escape = (text) => text
  .replace(/[\0-\x08\v\f\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, (c) => {
    const code = c.charCodeAt(0)
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? '\u2421' : '\ufffd'
  })
  .replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd')
  .replace(/[&<>"']/g, (c) => ENTITIES[c])

/** @typedef {Markup | string | number | boolean | null | undefined} One @typedef {One | (One | (One | One[])[])[]} Part */

/** @param {Part} part @returns {string} */
function write(part) {
  if (part instanceof Markup) return part.text
  if (Array.isArray(part)) return part.map(write).join('')
  return part === null || part === undefined || part === false || part === true ? '' : escape(String(part))
}

/** @param {TemplateStringsArray} strings @param {...Part} parts */
export const html = (strings, ...parts) => new Markup(strings.reduce((text, string, i) => text + write(parts[i - 1]) + string))

/** Ends of lines as signs, for text in a line. @param {string} text */
export const inLine = (text) => text.replace(/\r?\n/g, '\u23ce').replace(/\t/g, '\u21e5')

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`
  const unit = Math.min(3, Math.floor(Math.log10(bytes) / 3))
  const n = bytes / 1000 ** unit
  return `${n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0)} ${['B', 'kB', 'MB', 'GB'][unit]}`
}

/** @param {number} n */
export const count = (n) => (n < 1e6 ? n.toLocaleString('en') : n < 1e9 ? `${(n / 1e6).toPrecision(3)} M` : `${(n / 1e9).toPrecision(3)} B`)

/** Of three digits. @param {number} x */
export function figure(x) {
  if (x === 0 || !Number.isFinite(x)) return String(x)
  const size = Math.abs(x)
  return (size >= 1000 ? Math.round(x).toLocaleString('en') : size >= 1e-3 ? x.toPrecision(3) : x.toExponential(1)).replace(/-/g, '\u2212')
}

/**
 * A value and its error, of which two digits are given.
 * @param {number} value @param {number} error
 * @returns {[string, string]}
 */
export function withError(value, error) {
  const digits = error > 0 ? 1 - Math.floor(Math.log10(error)) : 9
  if (digits > 7 || digits < 0) return [figure(value), figure(error)]
  return [value.toFixed(digits).replace('-', '\u2212'), error.toFixed(digits)]
}

/** @param {number} x @param {number} [digits] */
export const percent = (x, digits = 2) => `${(100 * x).toFixed(digits).replace('-', '\u2212')} %`

/** With its sign. @param {number} x @param {number} [digits] */
export const change = (x, digits = 2) => (x >= 0 ? '+' : '') + percent(x, digits)

/** @param {number} s */
export function seconds(s) {
  if (s < 1) return `${Math.round(1000 * s)} ms`
  if (s < 90) return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`
  const minutes = Math.round(s / 60)
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
